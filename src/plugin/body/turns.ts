/**
 * Large bodies, one after another. To look into one takes a good part of a second where it is made for that, and nothing else
 * goes on meanwhile: a hundred in a row would keep the process from telling that it is alive, and Kong would repeat them all
 * on the next one. So in between, whatever else has come gets its turn; and who waits holds no body in memory.
 */
import type { Lifetime } from '../../lib/abortable.ts';

export class Turns {
  readonly #waiting = new Set<() => void>();
  #taken = false;

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Resolves with what ends the turn. Rejects with the reason of the lifetime's end if that comes first. */
  async take(lifetime: Lifetime): Promise<() => void> {
    if (this.#taken) await this.#wait(lifetime);
    this.#taken = true;
    // What follows in this very moment belongs to the turn; then everybody else's events come first.
    return () => void setImmediate(() => this.#pass());
  }

  #pass(): void {
    const [next] = this.#waiting;
    if (next === undefined) this.#taken = false;
    else next();
  }

  /** The turn is handed over by the one that ends. */
  #wait(lifetime: Lifetime): Promise<void> {
    if (lifetime.endReason !== undefined) return Promise.reject(lifetime.endReason);
    return new Promise((resolve, reject) => {
      const start = (): void => {
        forget();
        this.#waiting.delete(start);
        resolve();
      };
      const forget = lifetime.onEnd((reason) => {
        this.#waiting.delete(start);
        reject(reason);
      });
      this.#waiting.add(start);
    });
  }
}
