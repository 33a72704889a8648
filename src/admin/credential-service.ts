/**
 * What operators do with credentials, the same for the command line and the HTTP service. Every change is written to the
 * audit log before and after; keys leave once, in the result of the call that made them, and are in nothing that is kept.
 */
import type { Clock } from '../lib/clock.ts';
import { HkaError, isHkaError, toHkaError } from '../lib/errors.ts';
import { describeError, type Logger } from '../lib/logger.ts';
import type { Secret } from '../lib/secret.ts';
import type { KeyHasher } from '../keys/hasher.ts';
import { importHash, issueKey, makeKey, recordGenerated } from '../keys/issue.ts';
import { notePepper } from '../keys/pepper-checks.ts';
import type { PepperRing, PepperVersion } from '../keys/pepper.ts';
import { assertVersion, notFound, taken } from '../store/changes.ts';
import { MAX_CANDIDATES } from '../keys/verifier.ts';
import {
  indexToken,
  stateOf,
  type ConsumerRef,
  type CredentialRecord,
  type KeyRecord,
} from '../store/record.ts';
import type { CredentialPatch, CredentialQuery, CredentialStore, Page, Usage } from '../store/store.ts';
import type { Actor, AuditLog } from './audit-log.ts';

export interface IssueRequest {
  readonly consumer: ConsumerRef;
  /** A UUID; made when absent. The same one twice gives the same credential, and its key only the first time. */
  readonly id?: string;
  readonly name?: string;
  readonly tags?: readonly string[];
  /** Milliseconds since the Unix epoch. */
  readonly expiresAt?: number;
}

export interface RotateRequest {
  /** How long the key before stays good, in milliseconds; 0: no longer. */
  readonly overlapMs: number;
  /** The version that the caller has seen: HKA_CONFLICT when it is another by now. */
  readonly version?: number;
  /** Public id of the new key, in place of a random one: so a repeated request can be told. */
  readonly publicId?: string;
}

export interface Issued {
  readonly record: CredentialRecord;
  /** The only copy there will ever be. */
  readonly key: Secret;
}

export interface CredentialServiceDeps {
  readonly store: CredentialStore;
  readonly peppers: () => Promise<PepperRing>;
  readonly hasher: KeyHasher;
  /** What issued keys begin with. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly audit: AuditLog;
  readonly logger: Logger;
}

/** Look-ups at once. */
const PARALLEL = 8;
export const MAX_OVERLAP_MS = 365 * 86_400_000;

export class CredentialService {
  readonly #deps: CredentialServiceDeps;

  constructor(deps: CredentialServiceDeps) {
    this.#deps = deps;
  }

  /** Throws HKA_USAGE, HKA_CREDENTIAL_EXISTS. */
  issue(actor: Actor, request: IssueRequest): Promise<Issued> {
    const { consumer, id, name, tags, expiresAt } = request;
    return this.#audited(
      actor,
      'issue',
      id,
      { consumer, name, tags, expires_at: iso(expiresAt) },
      async () => {
        const { store, hasher, prefix, clock } = this.#deps;
        const now = clock.now();
        if (expiresAt !== undefined && expiresAt <= now) {
          throw new HkaError('HKA_USAGE', 'the expiry lies in the past');
        }
        const current = await this.#currentPepper();
        const issued = await issueKey({ ...request, createdAt: now }, prefix, current, hasher);
        await store.insert([issued.record]);
        return { target: issued.record.id, result: issued };
      },
    );
  }

  /** Makes the credentials of keys that were generated and written down before, all or none. */
  issueGenerated(
    actor: Actor,
    requests: readonly (IssueRequest & { readonly id: string; readonly key: Secret })[],
  ): Promise<void> {
    const ids = requests.map(({ id }) => id);
    return this.#audited(actor, 'issue', undefined, { count: requests.length, ids }, async () => {
      const { store, hasher, prefix, clock } = this.#deps;
      const current = await this.#currentPepper();
      const createdAt = clock.now();
      const records = await Promise.all(
        requests.map(({ key, ...request }) =>
          recordGenerated({ ...request, createdAt }, key, prefix, current, hasher),
        ),
      );
      await store.insert(records);
      return { target: ids.length === 1 ? (ids[0] ?? '') : `${ids.length} credentials`, result: undefined };
    });
  }

  /**
   * Takes over hashes that were made elsewhere, all or none. Throws HKA_HASH_INVALID, HKA_USAGE, HKA_CREDENTIAL_EXISTS.
   * `tellsCounts`: whether whoever asks may hear how many keys begin alike, also of consumers that are not theirs.
   */
  importHashes(
    actor: Actor,
    requests: readonly (IssueRequest & { readonly hash: string; readonly start: string })[],
    { tellsCounts = true }: { readonly tellsCounts?: boolean } = {},
  ): Promise<readonly CredentialRecord[]> {
    return this.#audited(actor, 'import hashes', undefined, { count: requests.length }, async () => {
      // Before the starts: a request that changes nothing in any case must not tell which starts there are.
      await this.#assertFree(requests.flatMap(({ id }) => id ?? []));
      const current = await this.#currentPepper();
      const createdAt = this.#deps.clock.now();
      const records = await Promise.all(
        requests.map(({ hash, start, ...request }) =>
          importHash({ ...request, createdAt }, hash, start, current),
        ),
      );
      await this.#assertFewShareAStart(records, tellsCounts);
      await this.#deps.store.insert(records);
      return { target: `${records.length} credentials`, result: records };
    });
  }

  /** Throws HKA_CREDENTIAL_EXISTS. That no other request takes one meanwhile is up to the store. */
  async #assertFree(ids: readonly string[]): Promise<void> {
    const seen = new Set<string>();
    for (const id of ids) {
      if (seen.has(id)) throw taken(id, 'this id');
      seen.add(id);
    }
    const [first] = await this.existing(ids);
    if (first !== undefined) throw taken(first, 'this id');
  }

  /** Stores what was hashed from keys that exist elsewhere, all or none. Throws HKA_CREDENTIAL_EXISTS, HKA_USAGE. */
  importRecords(actor: Actor, records: readonly CredentialRecord[]): Promise<void> {
    const [only] = records.length === 1 ? records : [];
    return this.#audited(actor, 'import keys', only?.id, { count: records.length }, async () => {
      await this.#deps.store.insert(records);
      return { target: only?.id ?? `${records.length} credentials`, result: undefined };
    });
  }

  /** The key of an imported credential was changed where it comes from: the one before ends at once. */
  replaceImported(actor: Actor, id: string, key: KeyRecord): Promise<void> {
    return this.#audited(actor, 'import keys', id, { replaces: true }, async () => {
      await this.#deps.store.rotate(id, { ...key, previousUntil: undefined });
      return { target: id, result: undefined };
    });
  }

  /** Of those that begin alike only so many are tried. */
  async #assertFewShareAStart(records: readonly CredentialRecord[], tellsCounts: boolean): Promise<void> {
    const counts = new Map<string, number>();
    for (const { lookup } of records) {
      if (lookup.kind !== 'imported') continue;
      const token = indexToken(lookup.bits, lookup.index);
      counts.set(token, (counts.get(token) ?? 0) + 1);
    }
    for (const [token, count] of counts) {
      const there = await this.#deps.store.findByIndex([token], MAX_CANDIDATES + 1);
      if (count + there.length <= MAX_CANDIDATES) continue;
      const many = tellsCounts ? count + there.length : 'too many';
      throw new HkaError(
        'HKA_USAGE',
        `${many} keys would begin with the same key_start, at most ${MAX_CANDIDATES} may: give more of their characters`,
      );
    }
  }

  /** Which of these ids have a credential. */
  async existing(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const found = new Set<string>();
    for (let at = 0; at < ids.length; at += PARALLEL) {
      const records = await Promise.all(ids.slice(at, at + PARALLEL).map((id) => this.#deps.store.get(id)));
      for (const record of records) if (record !== undefined) found.add(record.id);
    }
    return found;
  }

  /** Throws HKA_CREDENTIAL_NOT_FOUND. */
  async get(id: string): Promise<CredentialRecord> {
    const record = await this.#deps.store.get(id);
    if (record === undefined) throw notFound(id);
    return record;
  }

  find(query: CredentialQuery, page: { readonly after?: string; readonly limit: number }): Promise<Page> {
    return this.#deps.store.find(query, { ...page, now: this.#deps.clock.now() });
  }

  usage(ids: readonly string[]): Promise<ReadonlyMap<string, Usage>> {
    return this.#deps.store.usage(ids);
  }

  /** Name, tags, expiry, and the end of an overlap. Throws HKA_CREDENTIAL_NOT_FOUND, HKA_CONFLICT, HKA_USAGE. */
  update(
    actor: Actor,
    id: string,
    patch: Pick<CredentialPatch, 'name' | 'tags' | 'expiresAt' | 'previous'>,
    version?: number,
  ): Promise<CredentialRecord> {
    const { expiresAt, ...rest } = patch;
    const details = {
      ...rest,
      ...(expiresAt === undefined ? {} : { expires_at: expiresAt === null ? null : iso(expiresAt) }),
    };
    return this.#audited(actor, 'update', id, details, async () => ({
      target: id,
      result: await this.#deps.store.update(id, patch, version),
    }));
  }

  /**
   * A new key under the same id; the one before stays good for the overlap, then it is revoked by itself. Throws
   * HKA_CREDENTIAL_NOT_FOUND, HKA_CONFLICT (also for a credential that is revoked or expired), HKA_USAGE.
   */
  rotate(actor: Actor, id: string, { overlapMs, version, publicId }: RotateRequest): Promise<Issued> {
    return this.#audited(actor, 'rotate', id, { overlap_seconds: overlapMs / 1000 }, async () => {
      const { store, hasher, prefix, clock } = this.#deps;
      if (!Number.isSafeInteger(overlapMs) || overlapMs < 0 || overlapMs > MAX_OVERLAP_MS) {
        throw new HkaError('HKA_USAGE', `the overlap is ${overlapMs} ms; allowed are 0 to ${MAX_OVERLAP_MS}`);
      }
      const record = await this.get(id);
      const state = stateOf(record, clock.now());
      if (state !== 'active') {
        throw new HkaError('HKA_CONFLICT', `credential ${id} is ${state}; issue a new one in its place`);
      }
      const current = await this.#currentPepper();
      const { key, stored } = await makeKey(prefix, current, hasher, publicId);
      const previousUntil = overlapMs === 0 ? undefined : clock.now() + overlapMs;
      // Of two who rotate at once one wins: the other one's overlap would end a key that has just been handed out.
      const rotated = await store.rotate(id, { ...stored, previousUntil }, version ?? record.version);
      return { target: id, result: { record: rotated, key } };
    });
  }

  /** Once more, it changes nothing: the first reason and time stay. Throws HKA_CREDENTIAL_NOT_FOUND, HKA_CONFLICT. */
  revoke(actor: Actor, id: string, reason: string | undefined, version?: number): Promise<CredentialRecord> {
    return this.#audited(actor, 'revoke', id, { reason }, async () => {
      const record = await this.get(id);
      assertVersion(record, version);
      if (record.revokedAt !== undefined) return { target: id, result: record };
      const patch = {
        revokedAt: this.#deps.clock.now(),
        ...(reason === undefined ? {} : { revokedReason: reason }),
      };
      const revoked = await this.#deps.store.update(id, patch, version);
      return { target: id, result: revoked };
    });
  }

  /** Throws HKA_CREDENTIAL_NOT_FOUND, HKA_CONFLICT. */
  remove(actor: Actor, id: string, version?: number): Promise<void> {
    return this.#audited(actor, 'delete', id, {}, async () => ({
      target: id,
      result: await this.#deps.store.remove(id, version),
    }));
  }

  /** To make a record with. Throws HKA_PEPPER_MISMATCH where it is not the store's. */
  async #currentPepper(): Promise<PepperVersion> {
    const { current } = await this.#deps.peppers();
    await notePepper(this.#deps.store, current);
    return current;
  }

  async #audited<T>(
    actor: Actor,
    action: string,
    target: string | undefined,
    details: Readonly<Record<string, unknown>>,
    work: () => Promise<{ readonly target: string; readonly result: T }>,
  ): Promise<T> {
    const { audit } = this.#deps;
    const about = target === undefined ? {} : { target };
    const given = Object.fromEntries(Object.entries(details).filter(([, value]) => value !== undefined));
    const request = await audit.append(actor, { action, ...about, outcome: 'requested', details: given });
    let done: Awaited<ReturnType<typeof work>>;
    try {
      done = await work();
    } catch (error) {
      const { code, kind } = toHkaError(error);
      const outcome = isHkaError(error) && kind.status < 500 ? 'refused' : 'failed';
      // That it failed is what the caller must hear of, even if the log fails as well.
      await audit
        .append(actor, { action, ...about, outcome, details: { code }, request })
        .catch(() => undefined);
      throw error;
    }
    try {
      await audit.append(actor, { action, target: done.target, outcome: 'done', request });
    } catch (error) {
      // The change is made, and its request is in the log. Refused now, a key that exists would be lost.
      this.#deps.logger.error(
        { err: describeError(error), action },
        'the end of a change is not in the audit log',
      );
    }
    return done.result;
  }
}

function iso(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}
