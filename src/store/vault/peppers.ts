/**
 * The entry `peppers`: check values of the pepper versions that credentials were made with. Written under check-and-set, and
 * only ever added to, so it is no part of the changes of credentials.
 */
import { HkaError } from '../../lib/errors.ts';
import { isRecord } from './entries.ts';
import type { KvRecords } from './kv.ts';

const PEPPERS = 'peppers';
const ATTEMPTS = 20;
const CHECK = /^[0-9a-f]{32}$/;

interface Noted {
  readonly checks: ReadonlyMap<string, string>;
  readonly version: number;
}

/** Rejects with HKA_VAULT_*, and HKA_STORE_CORRUPT for what is none of these. */
export async function readPeppers(kv: KvRecords): Promise<Noted> {
  const found = await kv.read(PEPPERS);
  if (found === undefined) return { checks: new Map(), version: 0 };
  const { version, data } = found;
  if (data === undefined) return { checks: new Map(), version };
  const entries = isRecord(data['checks']) ? Object.entries(data['checks']) : undefined;
  if (entries?.every((entry): entry is [string, string] => CHECK.test(String(entry[1]))) !== true) {
    throw new HkaError('HKA_STORE_CORRUPT', `${kv.place}/${PEPPERS} does not hold check values of peppers`);
  }
  return { checks: new Map(entries), version };
}

export async function notePepperCheck(kv: KvRecords, id: string, check: string): Promise<string> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const { checks, version } = await readPeppers(kv);
    const known = checks.get(id);
    if (known !== undefined) return known;
    const data = { checks: Object.fromEntries([...checks, [id, check]]) };
    if ((await kv.write(PEPPERS, data, version)) !== undefined) return check;
  }
  throw new HkaError('HKA_STORE_LOCKED', `${kv.place}/${PEPPERS} is written by others all the time`);
}
