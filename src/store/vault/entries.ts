/**
 * What entries hold: `credentials/<id>.<n>` one credential, or the fact that it was removed. `n` is the number of the change
 * that added it, so a name is never used twice, not even for a credential that comes back under its old id.
 *
 * Whoever may write to this path in Vault controls all of it; nothing is used before it has been checked.
 */
import { HkaError } from '../../lib/errors.ts';
import { rowOf } from '../file/emit.ts';
import { parseRow, type CheckHash } from '../file/format.ts';
import type { CredentialRecord } from '../record.ts';

export const CREDENTIALS = 'credentials';

export type EntryState =
  | { readonly kind: 'live'; readonly record: CredentialRecord }
  | { readonly kind: 'removed'; readonly at: number };

/** The state of an entry as of a change. */
export interface Entry {
  readonly name: string;
  readonly sequence: number;
  readonly state: EntryState;
}

const NAME = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([1-9]\d{0,14})$/;

export function nameOf(id: string, sequence: number): string {
  return `${id}.${sequence}`;
}

/** The credential's id; undefined for what is no name of an entry. */
export function idOf(name: string): string | undefined {
  return NAME.exec(name)?.[1];
}

/** As JSON. Undone by {@link parseEntry}. */
export function entryData({ sequence, state }: Entry): object {
  return state.kind === 'live'
    ? { sequence, credential: rowOf(state.record) }
    : { sequence, removed_at: new Date(state.at).toISOString() };
}

/** Throws HKA_STORE_CORRUPT. */
export function parseEntry(
  name: string,
  data: Readonly<Record<string, unknown>>,
  checkHash: CheckHash,
): Entry {
  const place = `${CREDENTIALS}/${name}`;
  const id = idOf(name);
  if (id === undefined) throw malformed(place, 'has no name of a credential');
  const { sequence, credential, removed_at: removedAt } = data;
  if (!isCount(sequence) || sequence === 0) throw malformed(place, 'has no number of its change');
  if (typeof removedAt === 'string') {
    const at = Date.parse(removedAt);
    if (Number.isNaN(at)) throw malformed(place, 'has a removed_at that is no time');
    return { name, sequence, state: { kind: 'removed', at } };
  }
  const record = parseRow(credential, place, checkHash);
  if (record.id !== id) throw malformed(place, 'holds a credential with another id');
  return { name, sequence, state: { kind: 'live', record } };
}

/** The number of the change that an entry is of; 0 when it does not say. */
export function sequenceOf(data: Readonly<Record<string, unknown>> | undefined): number {
  const sequence = data?.['sequence'];
  return isCount(sequence) ? sequence : 0;
}

export function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(place: string, what: string): HkaError {
  return new HkaError('HKA_STORE_CORRUPT', `${place} ${what}`);
}
