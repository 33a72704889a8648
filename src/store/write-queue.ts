/**
 * Changes of a store that is written as a whole: those that come in while one is being written become one, and each caller is
 * told what became of its own. `Draft` is what a change is applied to.
 *
 * Invariant: a caller is answered after its change is written, or refused; one change that is refused costs no other.
 */
export interface PendingWrite<Draft> {
  /** Applies it, and returns what then tells the caller. */
  readonly apply: (draft: Draft) => () => void;
  readonly fail: (error: unknown) => void;
}

export type Batch<Draft> = readonly PendingWrite<Draft>[];

export interface WriteQueueOptions<Draft> {
  /** Writes a batch as one, and gives what tells its callers. What it throws is told to all of them. */
  readonly commit: (batch: Batch<Draft>) => Promise<readonly (() => void)[]>;
  /** How many changes are written as one; any number unless told. */
  readonly atOnce?: number;
  /** Whether a batch that failed with this may be too large: its changes are then written one by one. */
  readonly mayBeTooMany?: (error: unknown) => boolean;
}

export class WriteQueue<Draft> {
  readonly #options: WriteQueueOptions<Draft>;
  readonly #waiting: PendingWrite<Draft>[] = [];
  #writing: Promise<void> | undefined;

  constructor(options: WriteQueueOptions<Draft>) {
    this.#options = options;
  }

  /** Resolves with what `change` has returned, once that is written. */
  write<T>(change: (draft: Draft) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        apply: (draft) => {
          try {
            const result = change(draft);
            return () => resolve(result);
          } catch (error) {
            return () => reject(error);
          }
        },
        fail: reject,
      });
      this.#writing ??= this.#writeWaiting();
    });
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    await this.#writing;
  }

  async #writeWaiting(): Promise<void> {
    const { atOnce = Infinity, mayBeTooMany } = this.#options;
    try {
      while (this.#waiting.length > 0) {
        const batch = this.#waiting.splice(0, atOnce);
        await this.#commit(batch, async (error) => {
          if (batch.length > 1 && mayBeTooMany?.(error) === true) {
            for (const pending of batch) await this.#commit([pending], pending.fail);
          } else {
            for (const { fail } of batch) fail(error);
          }
        });
      }
    } finally {
      // In the same turn as the last look at `#waiting`: a change in between would be forgotten.
      this.#writing = undefined;
    }
  }

  async #commit(batch: Batch<Draft>, failed: (error: unknown) => void | Promise<void>): Promise<void> {
    try {
      for (const answer of await this.#options.commit(batch)) answer();
    } catch (error) {
      await failed(error);
    }
  }
}
