/**
 * When keys were used: `usage/<id>`, apart from the credentials, since a use is no change. Written with check-and-set, so
 * that gateways don't undo each other's. Losing these entries loses no key; one that can't be read is begun anew.
 *
 * Who used the key that a rotation has replaced is kept together with which key that was. So after the next rotation, or
 * the end of the overlap, it counts no longer, without anything having to be written for that.
 */
import { createHash } from 'node:crypto';
import type { CredentialRecord } from '../record.ts';
import type { Usage, Use } from '../store.ts';
import { isRecord } from './entries.ts';
import { inParallel, type KvRecords } from './kv.ts';

const USAGE = 'usage';
/** Clients that are kept of a key that a rotation has replaced; the latest ones. */
const MAX_CLIENTS = 100;
const ATTEMPTS = 10;
/** Writes in flight at once: uses must not stand in the way of changes. */
const WRITES = 8;

interface StoredUsage {
  readonly last: number;
  readonly clients: ReadonlyMap<string, number>;
}

export class VaultUsage {
  readonly #kv: KvRecords;

  constructor(kv: KvRecords) {
    this.#kv = kv;
  }

  /** Of what is not among `records` nothing is kept. One read and one write for each credential that was used. */
  async record(uses: readonly Use[], records: ReadonlyMap<string, CredentialRecord>): Promise<void> {
    const byId = new Map<string, Use[]>();
    for (const use of uses) byId.set(use.id, [...(byId.get(use.id) ?? []), use]);
    await inParallel(
      [...byId],
      async ([id, own]) => {
        const record = records.get(id);
        if (record !== undefined) await this.#merge(record, own);
      },
      WRITES,
    );
  }

  async #merge(record: CredentialRecord, uses: readonly Use[]): Promise<void> {
    const path = `${USAGE}/${record.id}`;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const found = await this.#kv.read(path);
      const stored = parse(found?.data, record);
      const clients = new Map(stored?.clients);
      let last = stored?.last ?? 0;
      for (const { at, retiringClient } of uses) {
        last = Math.max(last, at);
        if (retiringClient !== undefined) {
          clients.set(retiringClient, Math.max(at, clients.get(retiringClient) ?? 0));
        }
      }
      const kept = byTime(clients).slice(0, MAX_CLIENTS);
      const data = { last, of: retiringKey(record), clients: Object.fromEntries(kept) };
      if ((await this.#kv.write(path, data, found?.version ?? 0)) !== undefined) return;
    }
    // Others write it all the time, so it is known to be in use.
  }

  async of(records: readonly CredentialRecord[]): Promise<ReadonlyMap<string, Usage>> {
    const found = await inParallel(records, async (record): Promise<readonly [string, Usage] | undefined> => {
      const stored = parse((await this.#kv.read(`${USAGE}/${record.id}`))?.data, record);
      if (stored === undefined) return undefined;
      const retiringClients = byTime(stored.clients).map(([client, at]) => ({ client, at }));
      return [record.id, { lastUsedAt: stored.last, retiringClients }];
    });
    return new Map(found.filter((item) => item !== undefined));
  }

  /** Ids of credentials that may have been used. */
  async ids(): Promise<ReadonlySet<string>> {
    return new Set(await this.#kv.list(USAGE));
  }

  async forget(id: string): Promise<void> {
    await this.#kv.remove(`${USAGE}/${id}`);
  }
}

function parse(
  data: Readonly<Record<string, unknown>> | undefined,
  record: CredentialRecord,
): StoredUsage | undefined {
  if (data === undefined || typeof data['last'] !== 'number') return undefined;
  const { last, of, clients } = data;
  const same = of === retiringKey(record) && isRecord(clients);
  const times = same ? Object.entries(clients) : [];
  return {
    last,
    clients: new Map(times.filter((time): time is [string, number] => typeof time[1] === 'number')),
  };
}

function byTime(clients: ReadonlyMap<string, number>): [string, number][] {
  return [...clients].toSorted(([, a], [, b]) => b - a);
}

/** Tells the keys that were replaced apart. Of a salted hash, it says nothing about the key. */
function retiringKey({ previous }: CredentialRecord): string {
  if (previous === undefined) return '';
  return createHash('sha256').update(previous.hash).digest('hex').slice(0, 16);
}
