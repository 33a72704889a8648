/**
 * Whether the configured peppers are those that the store's records were made with. A record can't tell: to a wrong pepper
 * every good key looks like a wrong one. So the store keeps the check value of each version from before its first record.
 *
 * Invariants: no record is made under a version whose check value in the store is another one, or that was retired; a
 * version's id is never used for a second pepper, not even after it was retired.
 */
import { HkaError } from '../lib/errors.ts';
import type { CredentialStore } from '../store/store.ts';
import type { PepperRing, PepperVersion } from './pepper.ts';

/**
 * Before a record is made under `pepper`. Throws
 * HKA_PEPPER_MISMATCH, HKA_PEPPER_RETIRED, and what the store throws.
 */
export async function notePepper(store: CredentialStore, pepper: PepperVersion): Promise<void> {
  const { id } = pepper;
  const known = (await store.pepperChecks()).get(id);
  const { check, retired } = known ?? (await store.notePepper(id, pepper.check));
  if (check !== pepper.check) throw mismatch([id]);
  if (!retired) return;
  throw new HkaError(
    'HKA_PEPPER_RETIRED',
    `pepper version "${id}" was retired, so nothing may be made under it any more; it is still the current one here: give this machine the versions that the others use`,
    { details: { version: id } },
  );
}

/** Throws HKA_PEPPER_MISMATCH, naming each version, and what the store throws. */
export async function assertPeppersMatch(store: CredentialStore, ring: PepperRing): Promise<void> {
  const stored = await store.pepperChecks();
  const wrong = ring.ids.filter((id) => {
    const note = stored.get(id);
    return note !== undefined && note.check !== ring.get(id).check;
  });
  if (wrong.length > 0) throw mismatch(wrong);
}

function mismatch(ids: readonly string[]): HkaError {
  const versions = ids.map((id) => `"${id}"`).join(', ');
  return new HkaError(
    'HKA_PEPPER_MISMATCH',
    `the configured pepper of version ${versions} is not the one that the store's credentials were made with: every good key would be refused. Put the former pepper back in its place (docs/pepper.md), or correct store or pepper if they do not belong together; a new pepper needs a new id`,
    { details: { versions: ids } },
  );
}
