/** Issues keys for many consumers. Interrupted at any point, the next run goes on, and each row gets exactly one key. */
import { randomUUID } from 'node:crypto';
import { HkaError } from '../lib/errors.ts';
import { generateKey } from '../keys/format.ts';
import type { Actor } from './audit-log.ts';
import type { BulkResult, BulkResults, BulkRow } from './bulk-file.ts';
import type { CredentialService, IssueRequest } from './credential-service.ts';

export interface BulkOptions {
  readonly prefix: string;
  readonly onProgress: (done: number) => void;
}

export interface BulkReport {
  readonly issued: number;
  /** Rows that an earlier run had done. */
  readonly before: number;
}

/** Keys that are written down and stored together. No version may have fewer than one before it: see `lastMissing`. */
const BATCH = 64;

/** `requests` in the order of `rows`. Throws HKA_USAGE when the results are of other rows. */
export async function issueInBulk(
  service: CredentialService,
  actor: Actor,
  rows: readonly BulkRow[],
  requests: readonly IssueRequest[],
  results: BulkResults,
  { prefix, onProgress }: BulkOptions,
): Promise<BulkReport> {
  assertSameRows(rows, results.written);
  // Keys that were written down, and whose credential was not made any more: rows are made in their order, so they are among
  // the last ones. A credential that is missing further up was deleted by somebody.
  const last = results.written.slice(-BATCH);
  const done = await service.existing(last.map(({ id }) => id));
  const pending = lastMissing(last, done);
  const before = results.written.length - pending.length;
  let issued = 0;
  const make = async (part: readonly BulkResult[]): Promise<void> => {
    await service.issueGenerated(
      actor,
      part.map(({ row, id, key }) => {
        const request = requests[row - 1];
        if (request === undefined) throw new HkaError('HKA_INTERNAL', `there is no row ${row}`);
        return { ...request, id, key };
      }),
    );
    issued += part.length;
    onProgress(before + issued);
  };
  if (pending.length > 0) await make(pending);
  for (let at = results.written.length; at < rows.length; at += BATCH) {
    const part = rows.slice(at, at + BATCH).map(({ row, consumer }): BulkResult => {
      const { key } = generateKey(prefix);
      return { row, consumer, id: randomUUID(), key };
    });
    await results.add(part);
    await make(part);
  }
  return { issued, before };
}

/** The rows after the last one whose credential is there. */
function lastMissing(last: readonly BulkResult[], there: ReadonlySet<string>): readonly BulkResult[] {
  const at = last.findLastIndex(({ id }) => there.has(id));
  return last.slice(at + 1);
}

/** Throws HKA_USAGE. */
export function assertSameRows(rows: readonly BulkRow[], written: readonly BulkResult[]): void {
  for (const [at, { row, consumer }] of written.entries()) {
    if (row === at + 1 && rows[at]?.consumer === consumer) continue;
    throw new HkaError(
      'HKA_USAGE',
      `the results are of other rows than the request (row ${at + 1}): name another file for the results`,
    );
  }
}
