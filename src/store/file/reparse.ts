/**
 * Reading a new version of the file when most of it is known: entries whose text is that of a record in memory are taken
 * from there, and only the others are parsed. One key more in a file of ten thousand then costs milliseconds in front
 * of traffic, not the tenth of a second that all of the YAML takes.
 *
 * Invariant: gives what parsing the whole gives. Where that is not plain to see (another layout, anything wrong, a
 * duplicate), the whole is parsed, which also gets the positions in messages right.
 */
import { publicIdsOf, type CredentialRecord } from '../record.ts';
import { formatRecord, LIST_HEAD, readHead } from './emit.ts';
import { parseCredentials, parseFile, type CheckHash } from './format.ts';
import { Snapshot } from './snapshot.ts';

const ENTRY = /^(?= {2}- id: )/m;

/** All of a version of the file. Throws HKA_STORE_CORRUPT. */
export function readSnapshot(text: string, path: string, known: Snapshot, checkHash: CheckHash): Snapshot {
  const records = fromKnown(text, path, known, checkHash);
  const peppers = records === undefined ? undefined : readHead(text)?.peppers;
  if (records !== undefined && peppers !== undefined) return new Snapshot(records, peppers);
  const parsed = parseFile(text, path, checkHash);
  return new Snapshot(parsed.records, parsed.peppers);
}

/** The records of it. Throws HKA_STORE_CORRUPT. */
export function reparse(
  text: string,
  path: string,
  known: Snapshot,
  checkHash: CheckHash,
): CredentialRecord[] {
  return fromKnown(text, path, known, checkHash) ?? parseCredentials(text, path, checkHash);
}

function fromKnown(
  text: string,
  path: string,
  known: Snapshot,
  checkHash: CheckHash,
): CredentialRecord[] | undefined {
  const head = known.records.size === 0 ? undefined : readHead(text);
  if (head === undefined || head.length === text.length) return undefined;
  const entries = text.slice(head.length).split(ENTRY);
  // An entry in our own layout ends where a less indented line begins, whatever stands in the entries around it.
  if (!entries.every((entry) => entry.startsWith('  - id: ') && entry.endsWith('\n'))) return undefined;
  const records = entries.map((entry) => knownRecord(entry, known));
  const fresh = entries.filter((_entry, at) => records[at] === undefined);
  if (fresh.length > entries.length / 2) return undefined;
  try {
    const rest = fresh.length === 0 ? undefined : parseFile(LIST_HEAD + fresh.join(''), path, checkHash);
    const parsed = rest?.records ?? [];
    // Check values of peppers may also stand below the credentials.
    if (parsed.length !== fresh.length || (rest?.peppers.size ?? 0) > 0) return undefined;
    const merged = records.map((record) => record ?? parsed.shift());
    const complete = merged.filter((record) => record !== undefined);
    return hasDuplicates(complete) ? undefined : complete;
  } catch {
    return undefined;
  }
}

const UUID_LENGTH = 36;

function knownRecord(entry: string, known: Snapshot): CredentialRecord | undefined {
  const start = '  - id: "'.length;
  const record = known.records.get(entry.slice(start, start + UUID_LENGTH));
  return record !== undefined && formatRecord(record) === entry ? record : undefined;
}

function hasDuplicates(records: readonly CredentialRecord[]): boolean {
  const ids = new Set(records.map(({ id }) => id));
  const publicIds = records.flatMap(publicIdsOf);
  return ids.size < records.length || new Set(publicIds).size < publicIds.length;
}
