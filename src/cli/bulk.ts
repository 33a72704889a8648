/** `keys bulk FILE --out RESULTS`: a key for each row of a CSV file. */
import { createHash } from 'node:crypto';
import { SingleBar } from 'cli-progress';
import { BulkResults, parseHashes, parseRequests, type BulkRow } from '../admin/bulk-file.ts';
import type { IssueRequest } from '../admin/credential-service.ts';
import { withFileLock } from '../lib/atomic-file.ts';
import { HkaError, messageOf } from '../lib/errors.ts';
import { readText } from '../lib/read-text.ts';
import { parsePhc } from '../keys/phc.ts';
import { parseConsumer, parseCredentialId, parseDuration, parseTags } from './arguments.ts';
import { TAKEN_AS_GIVEN } from './keys.ts';
import type { Io, Output } from './output.ts';
import type { CredentialSession } from './credentials.ts';

const MAX_FAULTS = 20;

export async function bulkIssue(
  session: CredentialSession,
  output: Output,
  io: Io,
  file: string,
  { out }: { readonly out: string },
): Promise<number> {
  const rows = parseRequests(readText(file, 'HKA_USAGE'), file);
  const requests = (now: number): readonly IssueRequest[] => toRequests(rows, file, now, () => ({}));
  requests(Date.now());
  // Two runs on the same results would overwrite each other's keys.
  return withFileLock(out, () => issueRows(session, output, io, { rows, requests, out }));
}

interface Work {
  readonly rows: readonly BulkRow[];
  readonly requests: (now: number) => readonly IssueRequest[];
  readonly out: string;
}

async function issueRows(
  session: CredentialSession,
  output: Output,
  io: Io,
  { rows, requests, out }: Work,
): Promise<number> {
  // Opened only now: what an earlier run has stored must be seen.
  const credentials = await session.credentials();
  if (credentials.checksConsumers === false) output.note(TAKEN_AS_GIVEN);
  const results = await BulkResults.open(out);
  const bar =
    output.json || io.stderr.isTTY !== true
      ? undefined
      : new SingleBar({
          format: 'issuing {bar} {value}/{total}, {eta_formatted} left',
          stream: process.stderr,
        });
  bar?.start(rows.length, 0);
  try {
    const onProgress = (done: number): void => bar?.update(done);
    const report = await credentials.issueInBulk({ rows, requests, results, out, onProgress });
    bar?.stop();
    output.result(
      { ...report, results: out },
      `${report.issued} keys issued${report.before === 0 ? '' : `, ${report.before} were there already`}. They are in ${out}, in plain text: hand them out and delete it.`,
    );
    return 0;
  } catch (error) {
    bar?.stop();
    output.note(`Interrupted: the same command again goes on where it stopped (with --out ${out}).`);
    throw error;
  } finally {
    await results.close();
  }
}

/** `keys import-hashes FILE`: argon2id hashes that were made elsewhere. */
export async function importHashes(
  session: CredentialSession,
  output: Output,
  file: string,
  { dryRun }: { readonly dryRun?: boolean },
): Promise<number> {
  const rows = parseHashes(readText(file, 'HKA_USAGE'), file);
  const requests = toRequests(rows, file, Date.now(), ({ consumer, id, hash, keyStart }) => {
    // Said before anything is done, and without the hash.
    parsePhc(hash);
    return { id: id === '' ? idOf(consumer, hash) : parseCredentialId(id), hash, start: keyStart };
  });
  if (dryRun !== true) {
    const credentials = await session.credentials();
    if (credentials.checksConsumers === false) output.note(TAKEN_AS_GIVEN);
    await credentials.importHashes(requests);
  }
  output.result(
    { dry_run: dryRun === true, imported: requests.length },
    `${requests.length} hashes ${dryRun === true ? 'would be imported' : 'imported'}. Each is replaced by one with the pepper when its key is used.`,
  );
  return 0;
}

/**
 * The id of a row without one: a UUID of version 8 (RFC 9562) that follows from the row, so that the same file once more is
 * refused, and makes nothing twice. Of a salted hash, it says nothing about the key.
 */
function idOf(consumer: string, phc: string): string {
  const hex = createHash('sha256')
    .update(JSON.stringify(['import', consumer, phc]))
    .digest('hex');
  const variant = '89ab'.charAt(Number.parseInt(hex.charAt(16), 16) % 4);
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    variant + hex.slice(17, 20),
    hex.slice(20, 32),
  ].join('-');
}

/** All faults of all rows together, before anything is made. */
function toRequests<Row extends BulkRow, Extra extends object>(
  rows: readonly Row[],
  file: string,
  now: number,
  extra: (row: Row) => Extra,
): (IssueRequest & Extra)[] {
  const faults: string[] = [];
  const requests = rows.flatMap((row): (IssueRequest & Extra)[] => {
    try {
      const request: IssueRequest = {
        consumer: parseConsumer(row.consumer, 'consumer'),
        tags: parseTags(row.tags === '' ? undefined : row.tags, 'tags'),
        ...(row.name === '' ? {} : { name: row.name }),
        ...(row.expiresIn === '' ? {} : { expiresAt: now + parseDuration('expires_in', row.expiresIn) }),
      };
      return [{ ...request, ...extra(row) }];
    } catch (error) {
      faults.push(`row ${row.row}: ${messageOf(error)}`);
      return [];
    }
  });
  if (rows.length === 0) faults.push('there is no row below the heading');
  if (faults.length > 0) {
    const more = faults.length > MAX_FAULTS ? `\n  and ${faults.length - MAX_FAULTS} more` : '';
    throw new HkaError(
      'HKA_USAGE',
      `${file}: nothing was done\n  ${faults.slice(0, MAX_FAULTS).join('\n  ')}${more}`,
    );
  }
  return requests;
}
