/**
 * The changes that a store can make, applied to a copy of its records. Each is checked as a whole before anything of it is
 * done, so one that is refused leaves no trace, and others of the same write go on.
 *
 * Invariant: a draft only ever holds records that the file format takes; what a caller hands in is not trusted to.
 */
import { HkaError } from '../../lib/errors.ts';
import { formatViolations } from '../../lib/validate.ts';
import type { CredentialRecord } from '../record.ts';
import type { CredentialPatch, HashReplacement } from '../store.ts';
import { rowOf } from './emit.ts';
import { normalizeRecord, rowViolations, type CheckHash } from './format.ts';
import type { Snapshot } from './snapshot.ts';

export class Draft {
  readonly records: Map<string, CredentialRecord>;
  readonly #checkHash: CheckHash;
  readonly #publicIds = new Map<string, string>();
  #changed = false;

  constructor(base: Snapshot, checkHash: CheckHash) {
    this.records = new Map(base.records);
    this.#checkHash = checkHash;
    for (const record of base.records.values()) this.#note(record);
  }

  get changed(): boolean {
    return this.#changed;
  }

  insert(records: readonly CredentialRecord[]): void {
    const ids = new Set<string>();
    const publicIds = new Set<string>();
    for (const { id, lookup } of records) {
      if (ids.has(id) || this.records.has(id)) throw taken(id, 'this id');
      ids.add(id);
      if (lookup.kind !== 'issued') continue;
      if (publicIds.has(lookup.publicId) || this.#publicIds.has(lookup.publicId)) {
        throw taken(id, 'its public id');
      }
      publicIds.add(lookup.publicId);
    }
    this.#put(records);
  }

  update(id: string, patch: CredentialPatch, expectedVersion?: number): CredentialRecord {
    const old = this.#existing(id);
    if (expectedVersion !== undefined && old.version !== expectedVersion) {
      throw new HkaError(
        'HKA_CONFLICT',
        `credential ${id} has version ${old.version}, not ${expectedVersion}: it was changed in the meantime`,
        { details: { id, version: old.version } },
      );
    }
    const { name: oldName, expiresAt: oldExpiry, ...rest } = old;
    const name = patch.name === undefined ? oldName : patch.name;
    const expiresAt = patch.expiresAt === undefined ? oldExpiry : patch.expiresAt;
    return this.#replace({
      ...rest,
      version: old.version + 1,
      ...(name === undefined || name === null ? {} : { name }),
      ...(patch.tags === undefined ? {} : { tags: patch.tags }),
      ...(expiresAt === undefined || expiresAt === null ? {} : { expiresAt }),
      ...(patch.revokedAt === undefined ? {} : { revokedAt: patch.revokedAt }),
      ...(patch.revokedReason === undefined ? {} : { revokedReason: patch.revokedReason }),
    });
  }

  remove(id: string): void {
    const { lookup } = this.#existing(id);
    this.records.delete(id);
    if (lookup.kind === 'issued') this.#publicIds.delete(lookup.publicId);
    this.#changed = true;
  }

  replaceHash({ id, oldHash, newHash, pepper, lookup }: HashReplacement): boolean {
    const old = this.records.get(id);
    if (old === undefined || old.hash !== oldHash) return false;
    if (lookup.kind === 'issued') {
      const owner = this.#publicIds.get(lookup.publicId);
      if (owner !== undefined && owner !== id) throw taken(id, 'its public id');
    }
    this.#replace({ ...old, version: old.version + 1, hash: newHash, pepper, lookup });
    return true;
  }

  #existing(id: string): CredentialRecord {
    const record = this.records.get(id);
    if (record !== undefined) return record;
    throw new HkaError('HKA_CREDENTIAL_NOT_FOUND', `no credential has the id ${id}`);
  }

  #replace(record: CredentialRecord): CredentialRecord {
    const old = this.records.get(record.id);
    const [stored = record] = this.#put([record]);
    if (old?.lookup.kind === 'issued') {
      const { publicId } = old.lookup;
      const kept = stored.lookup.kind === 'issued' && stored.lookup.publicId === publicId;
      if (!kept) this.#publicIds.delete(publicId);
    }
    return stored;
  }

  /** Throws HKA_USAGE for what the file could not be read back with. */
  #put(records: readonly CredentialRecord[]): CredentialRecord[] {
    const copies = records.map(normalizeRecord);
    const violations = rowViolations(copies.map(rowOf), this.#checkHash);
    if (violations.length > 0) {
      throw new HkaError('HKA_USAGE', `this can't be stored:\n${formatViolations(violations)}`, {
        details: { violations },
      });
    }
    for (const copy of copies) {
      this.records.set(copy.id, copy);
      this.#note(copy);
      this.#changed = true;
    }
    return copies;
  }

  #note({ id, lookup }: CredentialRecord): void {
    if (lookup.kind === 'issued') this.#publicIds.set(lookup.publicId, id);
  }
}

function taken(id: string, what: string): HkaError {
  return new HkaError('HKA_CREDENTIAL_EXISTS', `credential ${id}: ${what} is there already`, {
    details: { id },
  });
}
