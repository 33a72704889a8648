/**
 * All records of one version of the file, in memory, found by id, public id or index in constant time.
 *
 * Invariant: never changes after it was made. A new version of the file is a new snapshot, so a reader that holds one sees
 * all of it as it was.
 */
import { indexToken, keysOf, type CredentialRecord, type KeyRecord } from '../record.ts';
import type { IndexLength, StoreChange } from '../store.ts';
import { formatRecord, NO_PEPPERS, type PepperChecks } from './emit.ts';

type Mutable<T> = { -readonly [Name in keyof T]: T[Name] };

export class Snapshot {
  static readonly empty = new Snapshot([]);

  readonly records: ReadonlyMap<string, CredentialRecord>;
  readonly peppers: PepperChecks;
  readonly indexLengths: readonly IndexLength[];
  readonly #byPublicId = new Map<string, CredentialRecord>();
  readonly #byIndex = new Map<string, CredentialRecord[]>();

  /** In the order of the file. */
  constructor(records: Iterable<CredentialRecord>, peppers: PepperChecks = NO_PEPPERS) {
    this.peppers = peppers;
    const byId = new Map<string, CredentialRecord>();
    const lengths = new Map<string, Mutable<IndexLength>>();
    for (const record of records) {
      byId.set(record.id, record);
      for (const key of keysOf(record)) this.#note(key, record, lengths);
    }
    this.records = byId;
    this.indexLengths = [...lengths.values()];
  }

  #note(key: KeyRecord, record: CredentialRecord, lengths: Map<string, Mutable<IndexLength>>): void {
    const { lookup, pepper } = key;
    if (lookup.kind === 'issued') {
      this.#byPublicId.set(lookup.publicId, record);
      return;
    }
    const token = indexToken(lookup.bits, lookup.index);
    const bucket = this.#byIndex.get(token);
    if (bucket === undefined) this.#byIndex.set(token, [record]);
    else if (!bucket.includes(record)) bucket.push(record);
    const { bits, start } = lookup;
    const slot = `${bits} ${start ?? ''} ${pepper}`;
    const length = lengths.get(slot);
    if (length === undefined)
      lengths.set(slot, { bits, pepper, count: 1, ...(start === undefined ? {} : { start }) });
    else length.count += 1;
  }

  findByPublicId(publicId: string): CredentialRecord | undefined {
    return this.#byPublicId.get(publicId);
  }

  findByIndex(tokens: readonly string[], limit: number): CredentialRecord[] {
    const found: CredentialRecord[] = [];
    for (const token of new Set(tokens)) {
      for (const record of this.#byIndex.get(token) ?? []) {
        if (found.length >= limit) return found;
        found.push(record);
      }
    }
    return found;
  }
}

/** What differs between two versions, and how many were added, changed and removed. */
export interface Difference {
  readonly change: StoreChange & { readonly kind: 'some' };
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
}

export function difference(before: Snapshot, after: Snapshot): Difference | undefined {
  const ids: string[] = [];
  let added = 0;
  let removed = 0;
  for (const [id, record] of after.records) {
    const old = before.records.get(id);
    if (old === record || (old !== undefined && formatRecord(old) === formatRecord(record))) continue;
    if (old === undefined) added += 1;
    ids.push(id);
  }
  const changed = ids.length - added;
  for (const id of before.records.keys()) {
    if (after.records.has(id)) continue;
    removed += 1;
    ids.push(id);
  }
  if (ids.length === 0) return undefined;
  return { change: { kind: 'some', ids, added: added > 0 }, added, changed, removed };
}
