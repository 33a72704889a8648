/**
 * Which change each gateway has acted upon: `gateways/<id>`, apart from the credentials, written by that gateway alone, with
 * check-and-set. Losing these entries loses no key: gateways write them again within seconds.
 *
 * A change is named by its number and by whom it was made (journal.ts): after a backup was put back, numbers are given anew.
 * Times are Vault's own. Who may write here can make gateways up, or hide them.
 */
import { HkaError } from '../../lib/errors.ts';
import { isUuid } from '../../lib/uuid.ts';
import { isLive, isStale, type GatewayRef } from '../acknowledgements.ts';
import { isCount } from './entries.ts';
import { CHANGES } from './journal.ts';
import { inParallel, type KvRecords } from './kv.ts';

export const GATEWAYS = 'gateways';
const ATTEMPTS = 5;

export interface ActedUpon {
  readonly sequence: number;
  readonly by: string;
}

export interface Said {
  readonly gateway: GatewayRef;
  /** Undefined where it can't be read. */
  readonly change: ActedUpon | undefined;
}

export class VaultAcknowledgements {
  readonly #kv: KvRecords;
  /** The version of the entry of each gateway in this process: one, and a second one while a configuration is replaced. */
  readonly #versions = new Map<string, number>();

  constructor(kv: KvRecords) {
    this.#kv = kv;
  }

  async write({ id, name, aloneMs }: GatewayRef, { sequence, by }: ActedUpon): Promise<void> {
    const path = `${GATEWAYS}/${id}`;
    const data = { name, sequence, by, alone_ms: aloneMs };
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const written = await this.#kv.write(path, data, this.#versions.get(id) ?? 0);
      if (written !== undefined) {
        this.#versions.set(id, written);
        return;
      }
      // An answer was lost, or somebody has removed it.
      this.#versions.set(id, (await this.#kv.read(path))?.version ?? 0);
    }
    throw new HkaError('HKA_STORE_LOCKED', `${this.#kv.place}/${path} is written by others all the time`);
  }

  async remove({ id }: GatewayRef): Promise<void> {
    this.#versions.delete(id);
    await this.#kv.remove(`${GATEWAYS}/${id}`);
  }

  /** What gateways have said that may still let somebody in. Removes what is of no use any more. */
  async read(): Promise<readonly Said[]> {
    const names = (await this.#kv.list(GATEWAYS)).filter(isUuid);
    const entries = await inParallel(names, async (id) => ({
      id,
      entry: await this.#kv.read(`${GATEWAYS}/${id}`),
    }));
    const times = entries.map(({ entry }) => entry?.writtenAt ?? 0);
    const now = Math.max((await this.#kv.read(CHANGES))?.writtenAt ?? 0, ...times);
    const said: Said[] = [];
    const stale: string[] = [];
    for (const { id, entry } of entries) {
      if (entry?.data === undefined) continue;
      const one = parse(entry.data, id);
      // Without a time it may be of now.
      const { writtenAt = now } = entry;
      if (isLive(writtenAt, one.gateway.aloneMs, now)) said.push(one);
      else if (isStale(writtenAt, one.gateway.aloneMs, now)) stale.push(id);
    }
    // Who may not remove them leaves them to others.
    await inParallel(stale, (id) => this.#kv.remove(`${GATEWAYS}/${id}`)).catch(() => undefined);
    return said.toSorted((a, b) => (a.gateway.name < b.gateway.name ? -1 : 1));
  }
}

/** What can't be read counts as a gateway that has acted upon nothing: better waited for in vain than forgotten. */
function parse(data: Readonly<Record<string, unknown>>, id: string): Said {
  const { name, sequence, by, alone_ms: aloneMs } = data;
  if (typeof name !== 'string' || !/^[ -~]{1,512}$/.test(name) || !isCount(aloneMs)) {
    return { gateway: { id, name: id, aloneMs: 0 }, change: undefined };
  }
  const gateway = { id, name, aloneMs };
  return { gateway, change: isCount(sequence) && typeof by === 'string' ? { sequence, by } : undefined };
}
