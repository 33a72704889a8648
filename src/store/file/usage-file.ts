/**
 * When keys were used, beside the credentials file and apart from it: that one may be kept in Git, and a use is no change.
 * Losing this file loses no key; one that can't be read is begun anew.
 */
import { readFile } from 'node:fs/promises';
import { withFileLock, writeFileDurably } from '../../lib/atomic-file.ts';
import { errnoOf } from '../../lib/errors.ts';
import type { Usage, Use } from '../store.ts';

/** Clients that are kept of a key that a rotation has replaced; the latest ones. */
const MAX_CLIENTS = 100;

interface StoredUsage {
  last: number;
  /** Address to time. */
  retiring?: Record<string, number>;
}

export class UsageFile {
  readonly #path: string;

  /** `credentials` is the credentials file. */
  constructor(credentials: string) {
    this.#path = `${credentials}.usage`;
  }

  /** `exists`: of what else nothing is kept. */
  async record(uses: readonly Use[], exists: (id: string) => boolean): Promise<void> {
    await withFileLock(this.#path, async () => {
      const stored = await this.#read();
      for (const id of stored.keys()) if (!exists(id)) stored.delete(id);
      for (const { id, at, retiringClient } of uses) {
        if (!exists(id)) continue;
        const usage = stored.get(id) ?? { last: 0 };
        usage.last = Math.max(usage.last, at);
        if (retiringClient !== undefined) {
          const clients = { ...usage.retiring, [retiringClient]: at };
          usage.retiring = Object.fromEntries(
            Object.entries(clients)
              .toSorted(([, a], [, b]) => b - a)
              .slice(0, MAX_CLIENTS),
          );
        }
        stored.set(id, usage);
      }
      await writeFileDurably(
        this.#path,
        `${JSON.stringify({ format: 1, usage: Object.fromEntries(stored) })}\n`,
      );
    });
  }

  /** Whoever used the replaced key of an earlier rotation is of no interest after the next one. */
  async forgetRetiring(id: string): Promise<void> {
    await withFileLock(this.#path, async () => {
      const stored = await this.#read();
      const usage = stored.get(id);
      if (usage?.retiring === undefined) return;
      stored.set(id, { last: usage.last });
      await writeFileDurably(
        this.#path,
        `${JSON.stringify({ format: 1, usage: Object.fromEntries(stored) })}\n`,
      );
    });
  }

  async usage(): Promise<ReadonlyMap<string, Usage>> {
    return new Map(
      [...(await this.#read())].map(([id, { last, retiring = {} }]) => [
        id,
        {
          lastUsedAt: last,
          retiringClients: Object.entries(retiring)
            .map(([client, at]) => ({ client, at }))
            .toSorted((a, b) => b.at - a.at),
        },
      ]),
    );
  }

  async #read(): Promise<Map<string, StoredUsage>> {
    try {
      const document: unknown = JSON.parse(await readFile(this.#path, 'utf8'));
      const usage = (document as { usage?: unknown }).usage;
      if (typeof usage !== 'object' || usage === null) return new Map();
      return new Map(
        Object.entries(usage).filter((entry): entry is [string, StoredUsage] => isUsage(entry[1])),
      );
    } catch (error) {
      if (error instanceof SyntaxError || errnoOf(error) === 'ENOENT') return new Map();
      throw error;
    }
  }
}

function isUsage(value: unknown): value is StoredUsage {
  if (typeof value !== 'object' || value === null || !('last' in value)) return false;
  if (typeof value.last !== 'number') return false;
  if (!('retiring' in value)) return true;
  const { retiring } = value;
  return typeof retiring === 'object' && retiring !== null && Object.values(retiring).every(Number.isFinite);
}
