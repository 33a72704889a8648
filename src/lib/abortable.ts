/** Waiting that ends early. Like an AbortSignal, at a fraction of its cost: every request that has to wait needs one. */

export interface Lifetime {
  /** Why it is over; undefined as long as it isn't. */
  readonly endReason: Error | undefined;
  /** Calls `listener` when it ends. Returns what takes that back. Nothing is called for one that is over already. */
  onEnd(listener: (reason: Error) => void): () => void;
}

/** A lifetime that somebody ends. */
export class Ending implements Lifetime {
  #reason: Error | undefined;
  #listeners: Set<(reason: Error) => void> | undefined;

  get endReason(): Error | undefined {
    return this.#reason;
  }

  onEnd(listener: (reason: Error) => void): () => void {
    if (this.#reason !== undefined) return () => undefined;
    const listeners = (this.#listeners ??= new Set());
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  end(reason: Error): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    const listeners = this.#listeners;
    this.#listeners = undefined;
    for (const listener of listeners ?? []) listener(reason);
  }
}

/** `work`, or the reason of the lifetime's end if that comes first. The work itself goes on. */
export function abortable<T>(work: Promise<T>, lifetime: Lifetime): Promise<T> {
  if (lifetime.endReason !== undefined) {
    work.catch(() => undefined);
    return Promise.reject(lifetime.endReason);
  }
  return new Promise((resolve, reject) => {
    const forget = lifetime.onEnd(reject);
    work.then(
      (value) => {
        forget();
        resolve(value);
      },
      (error: Error) => {
        forget();
        reject(error);
      },
    );
  });
}
