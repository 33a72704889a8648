/** Lets something be done a few times at once, and then less and less often: 1, 2, 4 … times a pause apart. */
export interface BrakeOptions {
  /** How often it may be done without a pause. */
  readonly free: number;
  /** The pause after that, in milliseconds; twice as long each further time, up to `maxMs`. */
  readonly baseMs: number;
  readonly maxMs: number;
  /** When it was not done for so long, in milliseconds, it is as if it had never been. */
  readonly forgetMs: number;
}

export class Brake {
  readonly #options: BrakeOptions;
  #times = 0;
  #at = -Infinity;

  constructor(options: BrakeOptions) {
    this.#options = options;
  }

  /** Whether it may be done at `now`, a time in milliseconds. */
  allows(now: number): boolean {
    return now - this.#at >= this.#pauseMs;
  }

  /** Says that it is done. */
  done(now: number): void {
    this.#times = now - this.#at > this.#options.forgetMs ? 1 : this.#times + 1;
    this.#at = now;
  }

  /** Takes back all that was done: it was of use. */
  release(): void {
    this.#times = 0;
    this.#at = -Infinity;
  }

  get #pauseMs(): number {
    const { free, baseMs, maxMs } = this.#options;
    return this.#times < free ? 0 : Math.min(maxMs, baseMs * 2 ** (this.#times - free));
  }
}
