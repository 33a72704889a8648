/**
 * `migrate verify`: every credential of the source makes a request through the plugin server's socket and has to come out as
 * the same credential of the same consumer. What was accepted is in the journal with the version of its record, so a run that
 * was cut off goes on, and a later one asks only for what has changed since.
 */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { isHkaError, messageOf } from '../lib/errors.ts';
import type { CredentialRecord } from '../store/record.ts';
import { classify, indexAgrees, type ClassifyDeps } from './classify.ts';
import type { Journal } from './journal.ts';
import type { KnownConsumer, KongPeer, PeerAnswer } from './kong-peer.ts';
import { createPace, eachAtOnce } from './pace.ts';
import { Twins } from './plan.ts';
import type { CredentialSource, SourceConsumer, SourceCredential } from './source.ts';

export interface VerifyFailure {
  readonly id: string | undefined;
  readonly where: string;
  readonly problem: string;
}

export interface VerifyReport {
  /** Accepted now. */
  readonly verified: number;
  /** Accepted by an earlier run, and unchanged since. */
  readonly before: number;
  /** Expired at the source: no request is made with them. */
  readonly expired: number;
  /** Rotated or revoked here since the switch: nobody needs the key at the source any more. */
  readonly ended: number;
  readonly failed: readonly VerifyFailure[];
  /** Ids of all that were accepted; of more than {@link MAX_LISTED} only the first. */
  readonly ids: readonly string[];
}

export interface VerifyOptions {
  readonly concurrency: number;
  readonly rate?: number;
  /** Ask for all of them, whatever earlier runs have found. */
  readonly anew?: boolean;
  readonly onProgress?: (done: number) => void;
}

const MAX_LISTED = 100_000;
const BATCH = 256;
const BUSY_ATTEMPTS = 12;

export async function runVerify(
  source: CredentialSource,
  deps: Omit<ClassifyDeps, 'imported' | 'weakExpiresAt'> & {
    readonly journal: Journal;
    readonly peer: KongPeer;
  },
  options: VerifyOptions,
): Promise<VerifyReport> {
  const { journal, peer } = deps;
  const { imported, weakExpiresAt, verified: accepted } = journal.state;
  const classifyDeps: ClassifyDeps = { ...deps, imported, weakExpiresAt };
  const pace = createPace(options.rate);
  const seen = new Twins();
  const failed: VerifyFailure[] = [];
  const ids: string[] = [];
  let fresh: [string, number][] = [];
  let verified = 0;
  let before = 0;
  let expired = 0;
  let ended = 0;
  let done = 0;
  const keep = async (least: number): Promise<void> => {
    if (fresh.length < least) return;
    const rows = fresh;
    fresh = [];
    await journal.append({ type: 'verified', rows });
  };
  const list = (id: string): void => {
    if (ids.length < MAX_LISTED) ids.push(id);
  };

  await eachAtOnce(source.pages(), options.concurrency, async (credential) => {
    if (seen.isRepeated(credential)) return;
    const { id, where, expiresAt } = credential;
    const fail = (problem: string): void => void failed.push({ id, where, problem });
    done += 1;
    options.onProgress?.(done);
    if (expiresAt !== undefined && expiresAt <= deps.now()) {
      expired += 1;
      return;
    }
    const record = await recordOf(credential, classifyDeps, journal.state.switchDone !== undefined);
    if (record === undefined) {
      ended += 1;
      return;
    }
    if (typeof record === 'string') {
      fail(record);
      return;
    }
    const unchanged =
      accepted.get(record.id) === record.version &&
      (await indexAgrees(record, credential.key.reveal(), deps.peppers));
    if (unchanged && options.anew !== true) {
      before += 1;
      list(record.id);
      return;
    }
    await pace.turn();
    const problem = await tryKey(credential, record, peer);
    if (problem !== undefined) {
      fail(problem);
      return;
    }
    verified += 1;
    list(record.id);
    fresh.push([record.id, record.version]);
    await keep(BATCH);
  });
  await keep(1);
  // What could not even be read can't be verified.
  for (const { where, problem } of source.problems()) failed.push({ id: undefined, where, problem });
  await journal.append({ type: 'verify-done', verified: verified + before, failed: failed.length });
  return { verified, before, expired, ended, failed, ids };
}

/** Its record; a text when there is none that could be good, nothing when none has to be. */
async function recordOf(
  credential: SourceCredential,
  deps: ClassifyDeps,
  switched: boolean,
): Promise<CredentialRecord | string | undefined> {
  const found = await classify(credential, deps);
  switch (found.action) {
    case 'import':
    case 'expired':
      return 'it is not imported';
    case 'new key':
      return 'its key was changed at the source since the import';
    case 'new consumer':
      return 'it was given to another consumer at the source since the import';
    case 'refuse':
      return found.reason;
    case 'keep ours': {
      // While the overlap of a rotation lasts, its holder gets in with the key that the source has.
      const { previous, revokedAt } = found.record;
      const former = previous !== undefined && previous.until > deps.now() && revokedAt === undefined;
      if (former && (await indexAgrees(previous, credential.key.reveal(), deps.peppers))) return found.record;
      return switched ? undefined : found.reason;
    }
    case 'unchanged':
    case 'update':
      return found.record;
  }
}

async function tryKey(
  { key, consumer }: SourceCredential,
  record: CredentialRecord,
  peer: KongPeer,
): Promise<string | undefined> {
  const owner = consumer === undefined ? undefined : known(consumer);
  let answer: PeerAnswer | undefined;
  for (let attempt = 1; ; attempt += 1) {
    try {
      answer = await peer.request(key, (id, byUsername) => namedConsumer(owner, id, byUsername));
    } catch (error) {
      if (!isHkaError(error) || error.code !== 'HKA_SOCKET') throw error;
      if (attempt >= BUSY_ATTEMPTS) return messageOf(error);
      answer = undefined;
    }
    const busy =
      answer === undefined || (answer.kind === 'answered' && (answer.status === 429 || answer.status >= 500));
    if (!busy) break;
    if (attempt >= BUSY_ATTEMPTS) break;
    await delay(Math.min(2000, 25 * 2 ** attempt) * (0.5 + Math.random()));
  }
  if (answer === undefined) return 'no answer';
  if (answer.kind === 'answered') return `a request with it is answered ${answer.status}`;
  if (answer.consumerId !== owner?.id) return 'a request with it comes out as another consumer';
  if (answer.credentialId !== record.id)
    return `a request with it comes out as credential ${answer.credentialId}`;
  return undefined;
}

/** As Kong would find it: by id, or by what may be either. Another one than the expected is not known here. */
function namedConsumer(
  owner: KnownConsumer | undefined,
  text: string,
  byUsername: boolean,
): KnownConsumer | undefined {
  if (owner === undefined) return undefined;
  if (text === owner.id || (byUsername && text === owner.username)) return owner;
  return undefined;
}

/**
 * A consumer that a file names without an id gets one from Kong when the file is loaded; until then any stands for it. Only
 * for a server of this process: see {@link mustStayPrivate}.
 */
function known(consumer: SourceConsumer): KnownConsumer {
  if (consumer.id !== undefined) return { ...consumer, id: consumer.id };
  const hex = createHash('sha256')
    .update(`consumer ${consumer.username ?? ''}`)
    .digest('hex');
  const id = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  return { ...consumer, id };
}

/** Whether what is told about consumers must not reach a server that serves true requests: it remembers them. */
export function mustStayPrivate(source: CredentialSource): boolean {
  return source.kind === 'file';
}
