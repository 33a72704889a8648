/** Who wants to hear of changes of a store. One that throws keeps nobody else from hearing. */
import { describeError, type Logger } from '../lib/logger.ts';
import type { StoreChange } from './store.ts';

export class ChangeListeners {
  readonly #logger: Logger;
  readonly #listeners = new Set<(change: StoreChange) => void>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Returns what ends it. The same function may be added twice. */
  add(listener: (change: StoreChange) => void): () => void {
    const own = (change: StoreChange): void => listener(change);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  announce(change: StoreChange): void {
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        this.#logger.error({ err: describeError(error) }, 'a listener to changes of the credentials failed');
      }
    }
  }
}
