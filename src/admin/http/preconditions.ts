/**
 * ETag and If-Match (RFC 9110, 13.1.1): the version of a credential in quotes. Who has seen version 3 changes version 3 or
 * nothing; of two who change it at once, the second one is told.
 */
import { HkaError, isHkaError } from '../../lib/errors.ts';
import type { CredentialRecord } from '../../store/record.ts';
import { invalidField } from './problems.ts';

export function etagOf({ version }: CredentialRecord): string {
  return `"${version}"`;
}

/** Throws HKA_PRECONDITION_FAILED unless `ifMatch`, when it is given, names the record's version. */
export function assertMatch(ifMatch: string | undefined, record: CredentialRecord): void {
  if (ifMatch === undefined || ifMatch.trim() === '*') return;
  const tags = ifMatch.match(/(?:W\/)?"[^"]*"/g);
  if (tags === null) throw invalidField('if-match', 'is no list of ETags and not *');
  // A weak tag never matches: RFC 9110 wants the strong comparison here.
  if (!tags.includes(etagOf(record))) throw failed(record.version);
}

/** What a store reports when somebody else was faster is a failed precondition to one who has named a version. */
export async function underPrecondition<T>(ifMatch: string | undefined, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const version = isHkaError(error) && error.code === 'HKA_CONFLICT' ? error.details['version'] : undefined;
    if (ifMatch === undefined || ifMatch.trim() === '*' || typeof version !== 'number') throw error;
    throw failed(version);
  }
}

function failed(version: number): HkaError {
  return new HkaError(
    'HKA_PRECONDITION_FAILED',
    `the credential has version ${version}, and If-Match names another`,
  );
}
