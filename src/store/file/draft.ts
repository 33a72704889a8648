/**
 * The changes that a store can make, applied to a copy of its records. Each is checked as a whole before anything of it is
 * done, so one that is refused leaves no trace, and others of the same write go on.
 *
 * Invariant: a draft only ever holds records that the file format takes; what a caller hands in is not trusted to.
 */
import { assertNoneRetired, assertVersion, notFound, patched, rehashed, rotated, taken } from '../changes.ts';
import { keysOf, publicIdsOf, type CredentialRecord } from '../record.ts';
import type { CredentialPatch, HashReplacement, KeyRotation, PepperNote } from '../store.ts';
import { assertStorable } from '../storable.ts';
import type { CheckHash } from './format.ts';
import type { Snapshot } from './snapshot.ts';

export class Draft {
  readonly records: Map<string, CredentialRecord>;
  readonly peppers: Map<string, PepperNote>;
  readonly #checkHash: CheckHash;
  readonly #publicIds = new Map<string, string>();
  #changed = false;

  /** `peppers`: where they are not in the snapshot. */
  constructor(base: Snapshot, checkHash: CheckHash, peppers: ReadonlyMap<string, PepperNote> = base.peppers) {
    this.records = new Map(base.records);
    this.peppers = new Map(peppers);
    this.#checkHash = checkHash;
    for (const record of base.records.values()) this.#note(record);
  }

  get changed(): boolean {
    return this.#changed;
  }

  insert(records: readonly CredentialRecord[]): void {
    const ids = new Set<string>();
    const publicIds = new Set<string>();
    for (const record of records) {
      const { id } = record;
      if (ids.has(id) || this.records.has(id)) throw taken(id, 'this id');
      ids.add(id);
      for (const publicId of publicIdsOf(record)) {
        if (publicIds.has(publicId) || this.#publicIds.has(publicId)) throw taken(id, 'its public id');
        publicIds.add(publicId);
      }
    }
    this.#assertNoneRetired(records.flatMap((record) => keysOf(record).map(({ pepper }) => pepper)));
    this.#put(records);
  }

  update(id: string, patch: CredentialPatch, expectedVersion?: number): CredentialRecord {
    const old = this.#existing(id);
    assertVersion(old, expectedVersion);
    return this.#replace(patched(old, patch));
  }

  rotate(id: string, rotation: KeyRotation, expectedVersion?: number): CredentialRecord {
    const old = this.#existing(id);
    assertVersion(old, expectedVersion);
    this.#assertNoneRetired([rotation.pepper]);
    return this.#replace(rotated(old, rotation));
  }

  remove(id: string, expectedVersion?: number): void {
    const record = this.#existing(id);
    assertVersion(record, expectedVersion);
    this.records.delete(id);
    for (const publicId of publicIdsOf(record)) this.#publicIds.delete(publicId);
    this.#changed = true;
  }

  replaceHash(replacement: HashReplacement): boolean {
    const old = this.records.get(replacement.id);
    if (old === undefined || old.hash !== replacement.oldHash) return false;
    this.#assertNoneRetired([replacement.pepper]);
    this.#replace(rehashed(old, replacement));
    return true;
  }

  notePepper(id: string, check: string): PepperNote {
    const known = this.peppers.get(id);
    if (known !== undefined) return known;
    const note = { check, retired: false };
    this.peppers.set(id, note);
    this.#changed = true;
    return note;
  }

  retirePepper(id: string, check: string, retired: boolean): void {
    const known = this.notePepper(id, check);
    if (known.retired === retired) return;
    this.peppers.set(id, { ...known, retired });
    this.#changed = true;
  }

  #assertNoneRetired(peppers: readonly string[]): void {
    const retired = [...this.peppers].filter(([, note]) => note.retired).map(([id]) => id);
    assertNoneRetired(new Set(retired), peppers);
  }

  #existing(id: string): CredentialRecord {
    const record = this.records.get(id);
    if (record === undefined) throw notFound(id);
    return record;
  }

  /** Throws HKA_CREDENTIAL_EXISTS when somebody else has its public id. */
  #replace(record: CredentialRecord): CredentialRecord {
    for (const publicId of publicIdsOf(record)) {
      const owner = this.#publicIds.get(publicId);
      if (owner !== undefined && owner !== record.id) throw taken(record.id, 'its public id');
    }
    const old = this.records.get(record.id);
    const [stored = record] = this.#put([record]);
    const kept = new Set(publicIdsOf(stored));
    for (const publicId of old === undefined ? [] : publicIdsOf(old)) {
      if (!kept.has(publicId)) this.#publicIds.delete(publicId);
    }
    return stored;
  }

  /** Throws HKA_USAGE for what the file could not be read back with. */
  #put(records: readonly CredentialRecord[]): CredentialRecord[] {
    const copies = assertStorable(records, this.#checkHash);
    for (const copy of copies) {
      this.records.set(copy.id, copy);
      this.#note(copy);
      this.#changed = true;
    }
    return copies;
  }

  #note(record: CredentialRecord): void {
    for (const publicId of publicIdsOf(record)) this.#publicIds.set(publicId, record.id);
  }
}
