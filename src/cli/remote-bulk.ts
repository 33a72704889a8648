/**
 * `keys bulk` on an admin service, which makes the keys. Each row's request has a name of its own (`Idempotency-Key`), made of
 * a random one for the run and the row's number, and kept beside the results until all rows are done. So a run that goes on
 * after an interruption asks for the same again: what was made is not made a second time, and where its key went nowhere, a
 * rotation without overlap makes the one that is written down.
 *
 * Invariant: what is in the results is good, and no row has a second good key. The names are worth nothing without the token.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { assertSameRows, type BulkReport } from '../admin/bulk-issue.ts';
import type { BulkResult } from '../admin/bulk-file.ts';
import type { IssueRequest } from '../admin/credential-service.ts';
import { readPrivateFile, writeFileDurably } from '../lib/atomic-file.ts';
import { HkaError, isHkaError } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';
import { isUuid } from '../lib/uuid.ts';
import type { BulkWork } from './credentials.ts';

/** What the admin service makes of a request. */
export interface NamedIssue {
  readonly id: string;
  /** Undefined for a repeat. */
  readonly key: string | undefined;
}

export interface RemoteIssuer {
  readonly adminUrl: string;
  issueNamed(request: IssueRequest, name: string): Promise<NamedIssue>;
  /** Gives the new key; the one before is refused at once. */
  replaceKey(id: string): Promise<string>;
}

/** Requests in flight at once, whose results are written down together. */
const AT_ONCE = 8;
/** Of waits for the service's rate limit, for one row. */
const MAX_PAUSES = 120;

interface Run {
  readonly name: string;
  /** From when on lives count, so that a repeat asks for the same. */
  readonly began: number;
}

export async function issueRemotely(
  issuer: RemoteIssuer,
  { rows, requests, results, out, onProgress }: BulkWork,
): Promise<BulkReport> {
  assertSameRows(rows, results.written);
  const before = results.written.length;
  const place = `${out}.run`;
  let issued = 0;
  if (before < rows.length) {
    const run = await runAt(place, issuer.adminUrl);
    const wanted = requests(run.began);
    for (let at = before; at < rows.length; at += AT_ONCE) {
      const part = rows.slice(at, at + AT_ONCE);
      const outcomes = await Promise.allSettled(
        part.map(async ({ row, consumer }): Promise<BulkResult> => {
          const request = wanted[row - 1];
          if (request === undefined) throw new HkaError('HKA_INTERNAL', `there is no row ${row}`);
          return { row, consumer, ...(await issueRow(issuer, request, `bulk-${run.name}-${row}`)) };
        }),
      );
      const failed = outcomes.findIndex(({ status }) => status === 'rejected');
      // In the order of the rows. Those behind one that failed are asked for again by the next run.
      const done = outcomes
        .slice(0, failed === -1 ? undefined : failed)
        .flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
      if (done.length > 0) await results.add(done);
      issued += done.length;
      onProgress(before + issued);
      const outcome = outcomes[failed];
      if (outcome?.status === 'rejected') throw ofRow(part[failed]?.row ?? 0, outcome.reason);
    }
  }
  await rm(place, { force: true });
  return { issued, before };
}

async function issueRow(
  issuer: RemoteIssuer,
  request: IssueRequest,
  name: string,
): Promise<Pick<BulkResult, 'id' | 'key'>> {
  const { id, key } = await patiently(() => issuer.issueNamed(request, name));
  return { id, key: new Secret(key ?? (await patiently(() => issuer.replaceKey(id)))) };
}

/** Again when the service says that there were too many. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let pauses = 0; ; pauses += 1) {
    try {
      return await work();
    } catch (error) {
      if (!isHkaError(error) || error.code !== 'HKA_RATE_LIMITED' || pauses >= MAX_PAUSES) throw error;
      const { retryAfter } = error.details;
      await delay((typeof retryAfter === 'number' ? retryAfter : 1) * 1000);
    }
  }
}

/** The run that was begun, or a new one, on disk. Throws HKA_USAGE for one that was begun on another service. */
async function runAt(place: string, adminUrl: string): Promise<Run> {
  if (!existsSync(place)) {
    const run = { name: randomUUID(), began: Date.now() };
    const stored = {
      format: 1,
      run: run.name,
      began_at: new Date(run.began).toISOString(),
      admin_url: adminUrl,
    };
    await writeFileDurably(place, `${JSON.stringify(stored)}\n`);
    return run;
  }
  const text = readPrivateFile(place, 'what an earlier run has noted', 'HKA_USAGE');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const stored = (typeof value === 'object' && value !== null ? value : {}) as Readonly<
    Record<string, unknown>
  >;
  const { format, run: name, began_at: beganAt, admin_url: url } = stored;
  const began = Date.parse(String(beganAt));
  if (format !== 1 || typeof name !== 'string' || !isUuid(name) || Number.isNaN(began)) {
    throw new HkaError('HKA_USAGE', `${place} is there, and is no note of a bulk issue; name another --out`);
  }
  if (url !== adminUrl) {
    throw new HkaError(
      'HKA_USAGE',
      `${place}: this was begun with another --admin-url; go on with that one, and the same token, or rows may get two keys`,
    );
  }
  return { name, began };
}

function ofRow(row: number, error: unknown): Error {
  if (!isHkaError(error)) return error instanceof Error ? error : new Error(String(error));
  return new HkaError(error.code, `row ${row}: ${error.message}`, { details: error.details });
}
