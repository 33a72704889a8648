/**
 * Changes in the order in which they were made, each announced once. They are numbered without gaps, so a notification that
 * was lost, rows that were removed, or a database that came back from a backup are noticed: then everything may have changed.
 */
import type { StoreChange } from '../store.ts';

export interface Change {
  readonly sequence: number;
  /** When it was made, by the clock of whoever made it. */
  readonly at: number;
  readonly added: boolean;
  /** Undefined when they were too many to be listed. */
  readonly ids: readonly string[] | undefined;
}

export interface ChangeSource {
  /** The number of the last change. */
  sequence(): Promise<number>;
  /** Changes after that number, in order, at most so many as are read at once. */
  after(sequence: number): Promise<readonly Change[]>;
}

export class ChangeFeed {
  readonly #source: ChangeSource;
  readonly #announce: (change: StoreChange) => void;
  readonly #onDelay: (ms: number) => void;
  #seen: number | undefined;
  #running: Promise<void> | undefined;
  #again = false;

  /** `onDelay` is told how long each change took to get here, in milliseconds. */
  constructor(
    source: ChangeSource,
    announce: (change: StoreChange) => void,
    onDelay: (ms: number) => void = () => undefined,
  ) {
    this.#source = source;
    this.#announce = announce;
    this.#onDelay = onDelay;
  }

  /** The number of the last change that was announced. */
  get seen(): number {
    return this.#seen ?? 0;
  }

  /** Resolves when all changes that were there at the call are announced. Rejects when they can't be read. */
  refresh(): Promise<void> {
    this.#again = true;
    this.#running ??= this.#run();
    return this.#running;
  }

  async #run(): Promise<void> {
    try {
      while (this.#again) {
        this.#again = false;
        await this.#step();
      }
    } finally {
      // In the same turn as the last look at `#again`: a call in between would be forgotten.
      this.#running = undefined;
    }
  }

  async #step(): Promise<void> {
    const last = await this.#source.sequence();
    const seen = this.#seen;
    this.#seen ??= last;
    if (seen === undefined || last === seen) return;
    if (last < seen) {
      this.#seen = last;
      this.#announce({ kind: 'all' });
      return;
    }
    const changes = await this.#source.after(seen);
    const complete = changes.length > 0 && changes.every(({ sequence }, at) => sequence === seen + 1 + at);
    const end = changes.at(-1)?.sequence ?? last;
    this.#seen = complete ? end : Math.max(last, end);
    if (!complete || changes.some(({ ids, added }) => ids === undefined && !added)) {
      this.#announce({ kind: 'all' });
    } else {
      const ids = changes.flatMap((change) => change.ids ?? []);
      this.#announce({ kind: 'some', ids: [...new Set(ids)], added: changes.some(({ added }) => added) });
    }
    const now = Date.now();
    // Clocks differ; none of them makes a change arrive before it was made.
    for (const { at } of changes) this.#onDelay(Math.max(0, now - at));
    if (end < last) this.#again = true;
  }
}
