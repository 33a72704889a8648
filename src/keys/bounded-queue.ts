/**
 * Runs a bounded number of tasks at once and lets a bounded number wait for a bounded time. What does not fit is refused
 * at once (HKA_VERIFIER_BUSY), so a flood of expensive work turns into quick 503s instead of a growing backlog.
 */
import { HkaError } from '../lib/errors.ts';

export interface BoundedQueueOptions {
  /** Tasks at once. */
  readonly concurrency: number;
  /** Tasks that may wait. */
  readonly maxWaiting: number;
  /** How long a task may wait, in ms. */
  readonly maxWaitMs: number;
}

interface Waiting {
  start: () => void;
  refuse: (error: HkaError) => void;
  timer: NodeJS.Timeout;
}

export class BoundedQueue {
  readonly #options: BoundedQueueOptions;
  readonly #waiting = new Set<Waiting>();
  #running = 0;
  #refused = 0;

  constructor(options: BoundedQueueOptions) {
    this.#options = options;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Tasks that found no place, or none in time. Those that were given up by whoever asked are not among them. */
  get refused(): number {
    return this.#refused;
  }

  /** Runs `task` when a place is free. `signal` gives the place in the line back; a task that runs is not interrupted. */
  async run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted === true) throw busy('the request has ended');
    if (this.#running >= this.#options.concurrency) await this.#wait(signal);
    else this.#running += 1;
    try {
      return await task();
    } finally {
      this.#next();
    }
  }

  /** Resolves with a place taken; the place is handed over by the task that ends. */
  #wait(signal?: AbortSignal): Promise<void> {
    if (this.#waiting.size >= this.#options.maxWaiting) {
      this.#refused += 1;
      return Promise.reject(busy(`${this.#waiting.size} hashes are waiting already`));
    }
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(entry.timer);
        this.#waiting.delete(entry);
        signal?.removeEventListener('abort', abandon);
      };
      const abandon = (): void => entry.refuse(busy('the request has ended'));
      const entry: Waiting = {
        start: () => {
          leave();
          resolve();
        },
        refuse: (error) => {
          leave();
          reject(error);
        },
        timer: setTimeout(() => {
          this.#refused += 1;
          entry.refuse(busy(`a hash waited for ${this.#options.maxWaitMs} ms`));
        }, this.#options.maxWaitMs),
      };
      this.#waiting.add(entry);
      signal?.addEventListener('abort', abandon, { once: true });
    });
  }

  #next(): void {
    const [first] = this.#waiting;
    if (first === undefined) this.#running -= 1;
    else first.start();
  }
}

function busy(why: string): HkaError {
  return new HkaError('HKA_VERIFIER_BUSY', `no argon2 capacity: ${why}`);
}
