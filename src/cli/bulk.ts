/** `keys bulk FILE --out RESULTS`: a key for each row of a CSV file. */
import { SingleBar } from 'cli-progress';
import { BulkResults, parseHashes, parseRequests, type BulkRow } from '../admin/bulk-file.ts';
import { issueInBulk } from '../admin/bulk-issue.ts';
import type { IssueRequest } from '../admin/credential-service.ts';
import { withFileLock } from '../lib/atomic-file.ts';
import { HkaError, messageOf } from '../lib/errors.ts';
import { readText } from '../lib/read-text.ts';
import { parsePhc } from '../keys/phc.ts';
import { parseConsumer, parseCredentialId, parseDuration, parseTags } from './arguments.ts';
import type { Io, Output } from './output.ts';
import type { CliSession } from './session.ts';

const MAX_FAULTS = 20;

export async function bulkIssue(
  session: CliSession,
  output: Output,
  io: Io,
  file: string,
  { out }: { readonly out: string },
): Promise<number> {
  const rows = parseRequests(readText(file, 'HKA_USAGE'), file);
  const requests = toRequests(rows, file, () => ({}));
  // Two runs on the same results would overwrite each other's keys.
  return withFileLock(out, () => issueRows(session, output, io, { rows, requests, out }));
}

interface Work {
  readonly rows: readonly BulkRow[];
  readonly requests: readonly IssueRequest[];
  readonly out: string;
}

async function issueRows(
  session: CliSession,
  output: Output,
  io: Io,
  { rows, requests, out }: Work,
): Promise<number> {
  // Opened only now: what an earlier run has stored must be seen.
  const service = await session.service();
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
    const report = await issueInBulk(service, session.actor, rows, requests, results, {
      prefix: session.config.keys.prefix,
      onProgress: (done) => bar?.update(done),
    });
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
  session: CliSession,
  output: Output,
  file: string,
  { dryRun }: { readonly dryRun?: boolean },
): Promise<number> {
  const rows = parseHashes(readText(file, 'HKA_USAGE'), file);
  const requests = toRequests(rows, file, ({ id, hash, keyStart }) => {
    // Said before anything is done, and without the hash.
    parsePhc(hash);
    return { ...(id === '' ? {} : { id: parseCredentialId(id) }), hash, start: keyStart };
  });
  if (dryRun !== true) await (await session.service()).importHashes(session.actor, requests);
  output.result(
    { dry_run: dryRun === true, imported: requests.length },
    `${requests.length} hashes ${dryRun === true ? 'would be imported' : 'imported'}. Each is replaced by one with the pepper when its key is used.`,
  );
  return 0;
}

/** All faults of all rows together, before anything is made. */
function toRequests<Row extends BulkRow, Extra extends object>(
  rows: readonly Row[],
  file: string,
  extra: (row: Row) => Extra,
): (IssueRequest & Extra)[] {
  const faults: string[] = [];
  const requests = rows.flatMap((row): (IssueRequest & Extra)[] => {
    try {
      const request: IssueRequest = {
        consumer: parseConsumer(row.consumer),
        tags: parseTags(row.tags === '' ? undefined : row.tags),
        ...(row.name === '' ? {} : { name: row.name }),
        ...(row.expiresIn === ''
          ? {}
          : { expiresAt: Date.now() + parseDuration('expires_in', row.expiresIn) }),
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
