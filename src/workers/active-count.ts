/**
 * How many workers take connections. One does as long as it keeps up: fewer processes that take turns on the same cores
 * answer sooner and cost less, and the others stand by. When it doesn't, one more is added; after a calm time one is
 * taken away again.
 */

/** A worker that uses more of a core than this has no room for a burst. */
const HOT = 0.75;
/** Beats in a row: a worker that compiles its code at the beginning is no hot one. */
const HOT_BEATS = 3;
/** The workers that remain must stay well below HOT with the load of the one that goes. */
const CALM = 0.45;
const CALM_MS = 30_000;

/**
 * The most that may take connections. Kong's workers need the same cores, and more of them than we do: on a machine of two, a
 * second process of ours costs what it brings, and every new connection wakes both.
 */
export function activeLimit(workers: number, min: number, cores: number): number {
  return Math.min(workers, Math.max(min, Math.floor(cores / 2), 1));
}

export class ActiveCount {
  readonly #min: number;
  readonly #max: number;
  #wanted: number;
  #hotBeats = 0;
  #busyAt = 0;

  /** `min` is at least 1. */
  constructor(min: number, max: number) {
    this.#min = Math.min(min, max);
    this.#max = max;
    this.#wanted = this.#min;
  }

  get wanted(): number {
    return this.#wanted;
  }

  /** Once a beat: `shares` says how much of a core each active worker used since the last one. `now` in milliseconds. */
  beat(shares: readonly number[], now: number): void {
    const used = shares.reduce((sum, share) => sum + share, 0);
    this.#hotBeats = used > HOT * this.#wanted ? this.#hotBeats + 1 : 0;
    if (this.#hotBeats >= HOT_BEATS && this.#wanted < this.#max) {
      this.#wanted += 1;
      this.#hotBeats = 0;
      this.#busyAt = now;
      return;
    }
    if (this.#wanted === this.#min || used > CALM * (this.#wanted - 1)) this.#busyAt = now;
    if (now - this.#busyAt < CALM_MS) return;
    this.#wanted -= 1;
    this.#busyAt = now;
  }
}
