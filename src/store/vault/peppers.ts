/**
 * The entry `peppers`: what is noted of the pepper versions that credentials were made with. Written under check-and-set, and
 * nothing is ever taken out of it, so it is no part of the changes of credentials.
 *
 * One that somebody has deleted says of no version that it is right: while there are credentials, that is for the verifier
 * to find out (keys/pepper-checks.ts), as where nothing was ever noted.
 */
import { HkaError } from '../../lib/errors.ts';
import type { PepperNote } from '../store.ts';
import { isRecord } from './entries.ts';
import type { KvRecords } from './kv.ts';

const PEPPERS = 'peppers';
const ATTEMPTS = 20;
const CHECK = /^[0-9a-f]{32}$/;

interface Noted {
  /** In the order of noting. */
  readonly notes: ReadonlyMap<string, PepperNote>;
  readonly version: number;
}

/** Rejects with HKA_VAULT_*, and HKA_STORE_CORRUPT for what is none of these. */
export async function readPeppers(kv: KvRecords): Promise<Noted> {
  const found = await kv.read(PEPPERS);
  if (found === undefined) return { notes: new Map(), version: 0 };
  const { version, data } = found;
  if (data === undefined) return { notes: new Map(), version };
  const corrupt = (): HkaError =>
    new HkaError('HKA_STORE_CORRUPT', `${kv.place}/${PEPPERS} does not hold check values of peppers`);
  const { checks, order = [], retired = [] } = data;
  if (!isRecord(checks) || !isIds(order) || !isIds(retired)) throw corrupt();
  // JSON objects keep no order of keys that are numbers.
  const notes = new Map<string, PepperNote>();
  for (const id of [...order, ...Object.keys(checks)]) {
    const check = checks[id];
    if (typeof check !== 'string' || !CHECK.test(check)) throw corrupt();
    notes.set(id, { check, retired: retired.includes(id) });
  }
  return { notes, version };
}

function isIds(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((id) => typeof id === 'string');
}

export async function notePepperCheck(kv: KvRecords, id: string, check: string): Promise<PepperNote> {
  return change(kv, id, (known) => known ?? { check, retired: false });
}

export async function retirePepper(
  kv: KvRecords,
  id: string,
  { check, retired }: PepperNote,
): Promise<PepperNote> {
  return change(kv, id, (known) => (known?.retired === retired ? known : { check, ...known, retired }));
}

async function change(
  kv: KvRecords,
  id: string,
  make: (known: PepperNote | undefined) => PepperNote,
): Promise<PepperNote> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const { notes, version } = await readPeppers(kv);
    const known = notes.get(id);
    const made = make(known);
    if (made === known) return known;
    const all = [...new Map(notes).set(id, made)];
    const data = {
      checks: Object.fromEntries(all.map(([each, { check }]) => [each, check])),
      order: all.map(([each]) => each),
      retired: all.filter(([, { retired }]) => retired).map(([each]) => each),
    };
    if ((await kv.write(PEPPERS, data, version)) !== undefined) return made;
  }
  throw new HkaError('HKA_STORE_LOCKED', `${kv.place}/${PEPPERS} is written by others all the time`);
}
