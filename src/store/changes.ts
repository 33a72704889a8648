/**
 * What a change makes of a record, the same for every store: each reads a record, makes the changed one here and writes it
 * in one step. Nothing here is written down anywhere, so a change that is refused leaves no trace.
 */
import { HkaError } from '../lib/errors.ts';
import type { CredentialRecord } from './record.ts';
import type { CredentialPatch, HashReplacement, KeyRotation } from './store.ts';

/**
 * For every new hash, in the transaction that writes it: who has asked before may have waited for a hasher since. `retired`:
 * the versions that are. Throws HKA_PEPPER_RETIRED.
 */
export function assertNoneRetired(retired: ReadonlySet<string>, peppers: Iterable<string>): void {
  for (const id of peppers) if (retired.has(id)) throw pepperRetired(id);
}

export function pepperRetired(id: string): HkaError {
  return new HkaError(
    'HKA_PEPPER_RETIRED',
    `pepper version "${id}" was retired, so nothing may be made under it any more; it is still the current one here: give this machine the versions that the others use`,
    { details: { version: id } },
  );
}

/** Throws HKA_CONFLICT. */
export function assertVersion(record: CredentialRecord, expected: number | undefined): void {
  if (expected === undefined || record.version === expected) return;
  throw new HkaError(
    'HKA_CONFLICT',
    `credential ${record.id} has version ${record.version}, not ${expected}: it was changed in the meantime`,
    { details: { id: record.id, version: record.version } },
  );
}

export function patched(old: CredentialRecord, patch: CredentialPatch): CredentialRecord {
  const { name: oldName, expiresAt: oldExpiry, previous, ...rest } = old;
  const name = patch.name === undefined ? oldName : patch.name;
  const expiresAt = patch.expiresAt === undefined ? oldExpiry : patch.expiresAt;
  return {
    ...rest,
    version: old.version + 1,
    ...(previous === undefined || patch.previous === null ? {} : { previous }),
    ...(name === undefined || name === null ? {} : { name }),
    ...(patch.tags === undefined ? {} : { tags: patch.tags }),
    ...(expiresAt === undefined || expiresAt === null ? {} : { expiresAt }),
    ...(patch.revokedAt === undefined ? {} : { revokedAt: patch.revokedAt }),
    ...(patch.revokedReason === undefined ? {} : { revokedReason: patch.revokedReason }),
  };
}

export function rotated(old: CredentialRecord, rotation: KeyRotation): CredentialRecord {
  const { previous: _ended, unpeppered, ...rest } = old;
  const { lookup, hash, pepper, previousUntil } = rotation;
  return {
    ...rest,
    version: old.version + 1,
    lookup,
    hash,
    pepper,
    ...(previousUntil === undefined
      ? {}
      : {
          previous: {
            lookup: old.lookup,
            hash: old.hash,
            pepper: old.pepper,
            until: previousUntil,
            ...(unpeppered === undefined ? {} : { unpeppered }),
          },
        }),
  };
}

export function rehashed(old: CredentialRecord, replacement: HashReplacement): CredentialRecord {
  const { newHash: hash, pepper, lookup } = replacement;
  const { unpeppered: _done, ...rest } = old;
  return { ...rest, version: old.version + 1, hash, pepper, lookup };
}

export function notFound(id: string): HkaError {
  return new HkaError('HKA_CREDENTIAL_NOT_FOUND', `no credential has the id ${id}`);
}

export function taken(id: string, what: 'this id' | 'its public id'): HkaError {
  return new HkaError('HKA_CREDENTIAL_EXISTS', `credential ${id}: ${what} is there already`, {
    details: { id },
  });
}
