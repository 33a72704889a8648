/** What the store asks of a key-value store with check-and-set. src/vault/kv-records.ts has it on top of Vault's KV v2. */

export interface KvEntry {
  /** Counts the writes to this path, from 1, deletions by hand included. */
  readonly version: number;
  /** Undefined when the latest version was deleted. */
  readonly data: Readonly<Record<string, unknown>> | undefined;
  /** When it was written, by the clock of whoever keeps it; clocks of its clients differ. */
  readonly writtenAt?: number;
}

/** All reject with HKA_VAULT_*, whose message names the path; none shows what was read or written. */
export interface KvRecords {
  /** For messages: where entries lie. */
  readonly place: string;
  /** Rejects with HKA_CONFIG_INVALID where check-and-set is not to be had: another mount, KV version 1. */
  prepare(): Promise<void>;
  /** Undefined when nothing was ever there. */
  read(path: string): Promise<KvEntry | undefined>;
  /**
   * Writes only while the version is `expected` (0: nothing is there), and gives the new version. Undefined when it was
   * another one, and nothing is written.
   */
  write(path: string, data: object, expected: number): Promise<number | undefined>;
  /** Removes all versions, and the counting of them: a write with `expected` 0 is taken again. */
  remove(path: string): Promise<void>;
  /** Names in a folder; those of folders in it end with a slash. */
  list(folder: string): Promise<readonly string[]>;
}

/** Calls in flight at once, of one load or one change. */
const PARALLEL = 32;

/** `work` on each item, some at a time, results in order. Rejects with the first fault and begins nothing after it. */
export async function inParallel<T, R>(
  items: readonly T[],
  work: (item: T) => Promise<R>,
  parallel = PARALLEL,
): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  let failed = false;
  await Promise.all(
    Array.from({ length: Math.min(parallel, items.length) }, async () => {
      for (const [at, item] of queue) {
        if (failed) return;
        try {
          results[at] = await work(item);
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    }),
  );
  return results;
}
