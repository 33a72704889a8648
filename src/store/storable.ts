/**
 * What may be stored. The same rules for every store, so that records can be moved from one to another: those of the file's
 * schema. Reading and writing hold them, so what one process writes no other one chokes on.
 */
import { HkaError } from '../lib/errors.ts';
import { formatViolations } from '../lib/validate.ts';
import { rowOf } from './file/emit.ts';
import { normalizeRecord, rowViolations, type CheckHash } from './file/format.ts';
import type { CredentialRecord } from './record.ts';

/** Frozen copies. Throws HKA_USAGE with every fault, and shows no value. */
export function assertStorable(
  records: readonly CredentialRecord[],
  checkHash: CheckHash,
): CredentialRecord[] {
  const copies = records.map(normalizeRecord);
  const violations = rowViolations(copies.map(rowOf), checkHash);
  if (violations.length > 0) {
    throw new HkaError('HKA_USAGE', `this can't be stored:\n${formatViolations(violations)}`, {
      details: { violations },
    });
  }
  return copies;
}
