/**
 * Secrets in memory, so that a request on the hot path finds them without waiting.
 *
 * The life of a value, by the time since it was read: fresh (used as it is; replaced in the background shortly before its
 * end, if in use) → being revalidated (used once more while a new one is fetched) → awaited (the caller waits for the new
 * one). In an outage a value is used up to `staleIfErrorMs`, then its requests fail. An answer of Vault that the secret is
 * gone or forbidden ends it at once.
 *
 * A value under a lease lives as long as the lease: it is renewed ahead of its end while it is in use, and replaced, still
 * ahead of it, when renewing has come to its end. It is never used past its lease, nor past the token that it was made with,
 * whatever Vault's state.
 *
 * Invariants: a value is never replaced by an error; no value is used past the larger of `revalidateMs` and
 * `staleIfErrorMs`, none under a lease past its end; one fetch at a time for each secret; values are in memory only.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../lib/clock.ts';
import { HkaError, toHkaError, type ErrorCode } from '../lib/errors.ts';
import { describeError, type Logger } from '../lib/logger.ts';
import { OutageBreaker } from './breaker.ts';
import { backoffMs, isAnswer } from './outage.ts';
import { PreviousValue, type Verdict } from './previous-value.ts';
import type { SecretName, SecretReference } from './reference.ts';
import type { SecretData } from './secret-data.ts';
import type { FetchedSecret, Lease } from './secret-reader.ts';
import type { Cancel, Random, Timers } from './timers.ts';

export interface SecretCacheOptions {
  readonly freshMs: number;
  readonly revalidateMs: number;
  readonly staleIfErrorMs: number;
  readonly maxEntries: number;
  /** How long after a change the previous value is kept, for {@link SecretCache.refused}; 0 keeps none. */
  readonly previousMs: number;
}

export interface SecretCacheDependencies {
  readonly fetch: (reference: SecretReference) => Promise<FetchedSecret>;
  /** Rejects with an answer (`isAnswer`) when the lease has come to its end. */
  readonly renew: (reference: SecretReference, lease: Lease) => Promise<Lease>;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
}

/** What is known of one secret; nothing of it is secret. */
export interface SecretAge {
  readonly reference: string;
  /** The reference as it is configured: with placeholders where the secret is a consumer's. */
  readonly pattern: string;
  /** Seconds since its value was read; absent when there is none. */
  readonly ageSeconds?: number;
  /** KV version 2's number of it. */
  readonly version?: number;
  /** Seconds until its lease must be renewed or replaced; absent when it has none. */
  readonly leaseSeconds?: number;
  /** Whether the value before the last change is in use, since an upstream has refused the new one. */
  readonly previousInUse?: true;
  /** What the last attempt to read it met. */
  readonly error?: ErrorCode;
}

/** Read again in the background when this part of its fresh time has passed, plus up to a tenth more by chance. */
const REFRESH_AT = 0.75;
const REFRESH_SPREAD = 0.1;
const MIN_REFRESH_MS = 250;
/** A lease is renewed, or replaced, when this part of what remains has passed, plus up to a tenth more by chance. */
const RENEW_AT = 0.6;
const MIN_RENEWAL_MS = 1000;
/** A lease this near to its end counts as ended, unless it is short as a whole: then a tenth of that. */
const MAX_MARGIN_MS = 60_000;
const MARGIN_SHARE = 0.1;
/** A renewal that grants less than this part of the first term has met the lease's maximum. */
const FULL_RENEWAL = 0.9;
/** After Vault has replaced a value by itself, it is read this much later. */
const CHANGE_MARGIN_MS = 500;

/** Requests that have got a value may still be on their way with it, and workers give it out for a second. */
const IN_FLIGHT_MS = 30_000;

const ANSWER_BACKOFF_BASE_MS = 1000;
const ANSWER_BACKOFF_MAX_MS = 30_000;
const RENEWAL_BACKOFF_MAX_MS = 60_000;

interface HeldLease extends Lease {
  /** Of the first term. */
  readonly fullTtlMs: number;
  readonly usableUntil: number;
  readonly atMaximum: boolean;
}

interface Value {
  readonly data: SecretData;
  readonly version: number | undefined;
  /** When the call that brought the value was sent; so an age is never told too low. */
  readonly readAt: number;
  readonly changesAt: number;
  lease: HeldLease | undefined;
}

interface Entry {
  readonly reference: SecretReference;
  value: Value | undefined;
  readonly previous: PreviousValue;
  usedAt: number;
  fetching: Promise<SecretData> | undefined;
  /** Set while the last fetch ended in an answer that is no secret. */
  refusal: { readonly error: HkaError; readonly attempts: number; readonly retryAt: number } | undefined;
  /** Set while a field that is asked for is not in the value. */
  lacking: { readonly attempts: number; readonly retryAt: number } | undefined;
  lastError: HkaError | undefined;
  cancel: Cancel;
}

export class SecretCache {
  readonly #options: SecretCacheOptions;
  readonly #deps: SecretCacheDependencies;
  readonly #breaker: OutageBreaker;
  readonly #entries: LRUCache<string, Entry>;
  #generation = 0;
  #closed = false;

  constructor(options: SecretCacheOptions, deps: SecretCacheDependencies) {
    this.#options = options;
    this.#deps = deps;
    this.#breaker = new OutageBreaker(deps.clock, deps.random);
    this.#entries = new LRUCache({
      max: options.maxEntries,
      dispose: (entry) => entry.cancel(),
    });
  }

  /**
   * The secret at once where it may be used, else a promise. A value without one of `fields` is looked for again, since it
   * may have been mended. Throws or rejects with HKA_VAULT_* and HKA_REFERENCE_INVALID.
   */
  get(reference: SecretReference, fields: readonly string[] = []): SecretData | Promise<SecretData> {
    if (this.#closed) throw new HkaError('HKA_DRAINING', 'the connection to Vault is closed');
    const entry = this.#entries.get(reference.text) ?? this.#add(reference);
    entry.usedAt = this.#deps.clock.now();
    const { value } = entry;
    if (value !== undefined && this.#isFresh(entry, value)) {
      return this.#inUse(entry, value, fields);
    }
    const fetching = this.#fetch(entry);
    if (fetching === undefined) return this.#withoutVault(entry);
    if (value !== undefined && this.#mayRevalidate(entry, value)) {
      ignore(fetching);
      return entry.previous.choose(value.data, this.#deps.clock.now());
    }
    return fetching;
  }

  /**
   * An upstream has refused the value of this generation. Where it is a new one, the previous is used again, for the
   * requests that follow; see {@link PreviousValue}.
   */
  refused(reference: SecretName, generation: number): Verdict {
    const entry = this.#entries.peek(reference.text);
    if (entry?.value === undefined) return 'ignored';
    const verdict = entry.previous.refused(entry.value.data, generation, this.#deps.clock.now());
    if (verdict === 'previous') {
      this.#deps.logger.error(
        { reference: reference.text },
        'the upstream refuses the new value of the secret; the previous one is used again for a while: has the upstream been given the new one?',
      );
    } else if (verdict === 'current') {
      this.#deps.logger.error(
        { reference: reference.text },
        'the upstream refuses the previous value of the secret too; the new one is used',
      );
    }
    return verdict;
  }

  /** Vault is known to answer again: nobody needs to wait any longer. */
  vaultIsBack(): void {
    this.#breaker.succeeded();
  }

  /**
   * What is leased with the former token ends when that does, at `endsAt`: it is replaced where it is in use, and forgotten
   * where it is not. Resolves with the milliseconds after which the former token may be revoked; undefined when something
   * could not be replaced.
   */
  async replaceLeased(endsAt: number): Promise<number | undefined> {
    const all = await Promise.all(
      [...this.#entries.values()].map((entry) => this.#leaveToken(entry, endsAt)),
    );
    if (all.includes('in use')) return undefined;
    return all.includes('replaced') ? IN_FLIGHT_MS : 0;
  }

  /** The token has been revoked, and with it what was leased: none of that is used any more. */
  leasesLost(): void {
    for (const entry of this.#entries.values()) {
      if (entry.value?.lease === undefined) continue;
      entry.value = undefined;
      entry.previous.forget();
      entry.cancel();
    }
  }

  ages(): SecretAge[] {
    const now = this.#deps.clock.now();
    return [...this.#entries.values()].map((entry) => ({
      reference: entry.reference.text,
      pattern: entry.reference.pattern ?? entry.reference.text,
      ...(entry.value === undefined ? {} : { ageSeconds: this.#ageOf(entry.value) / 1000 }),
      ...(entry.value?.version === undefined ? {} : { version: entry.value.version }),
      ...(entry.value?.lease === undefined
        ? {}
        : { leaseSeconds: Math.max(0, endOf(entry.value.lease) - now) / 1000 }),
      ...(entry.previous.isInUse(now) ? { previousInUse: true } : {}),
      ...(entry.lastError === undefined ? {} : { error: entry.lastError.code }),
    }));
  }

  close(): void {
    this.#closed = true;
    this.#entries.clear();
  }

  #add(reference: SecretReference): Entry {
    const entry: Entry = {
      reference,
      value: undefined,
      previous: new PreviousValue(this.#options.previousMs),
      usedAt: 0,
      fetching: undefined,
      refusal: undefined,
      lacking: undefined,
      lastError: undefined,
      cancel: () => undefined,
    };
    this.#entries.set(reference.text, entry);
    return entry;
  }

  /** Infinity when the clock was set back: then it can't be told. */
  #ageOf({ readAt }: Value): number {
    const age = this.#deps.clock.now() - readAt;
    return age < 0 ? Infinity : age;
  }

  #isFresh(entry: Entry, value: Value): boolean {
    if (value.lease !== undefined) return this.#isLive(value, value.lease);
    if (this.#ageOf(value) >= this.#options.freshMs) return false;
    // Beyond its own change a value is asked for again; while that goes on, or fails, the usual bounds hold.
    return this.#deps.clock.now() < value.changesAt || entry.lastError !== undefined;
  }

  #isLive(value: Value, lease: HeldLease): boolean {
    return this.#deps.clock.now() < endOf(lease) && this.#ageOf(value) !== Infinity;
  }

  #mayRevalidate(entry: Entry, value: Value): boolean {
    return (
      value.lease === undefined &&
      this.#ageOf(value) < this.#options.revalidateMs &&
      this.#deps.clock.now() < value.changesAt &&
      this.#isUsable(entry)
    );
  }

  /** Whether the value may be used although it is not fresh. */
  #isUsable({ value, lastError }: Entry): boolean {
    if (value === undefined) return false;
    if (value.lease !== undefined) return this.#isLive(value, value.lease);
    // Before an attempt has failed, nothing is known against it.
    if (lastError === undefined && this.#breaker.error === undefined) return true;
    return this.#ageOf(value) < this.#options.staleIfErrorMs;
  }

  /** The value, or one that is read anew because this one lacks a field. */
  #inUse(entry: Entry, value: Value, fields: readonly string[]): SecretData | Promise<SecretData> {
    const { clock, random } = this.#deps;
    const now = clock.now();
    // Credentials under a lease would be other ones, with the same fields.
    if (value.lease === undefined && !fields.every((field) => value.data.has(field))) {
      if (now >= (entry.lacking?.retryAt ?? value.readAt + ANSWER_BACKOFF_BASE_MS)) {
        const attempts = (entry.lacking?.attempts ?? 0) + 1;
        const delay = backoffMs(attempts, ANSWER_BACKOFF_BASE_MS, ANSWER_BACKOFF_MAX_MS, random);
        entry.lacking = { attempts, retryAt: now + delay };
        const fetching = this.#fetch(entry);
        if (fetching !== undefined) return fetching;
      }
    }
    return entry.previous.choose(value.data, now);
  }

  /** For a caller while Vault is not asked: the old value within its bound, else what the last attempt met. */
  #withoutVault(entry: Entry): SecretData {
    if (entry.value !== undefined && this.#isUsable(entry)) {
      return entry.previous.choose(entry.value.data, this.#deps.clock.now());
    }
    this.#drop(entry);
    throw (
      entry.refusal?.error ??
      this.#breaker.error ??
      new HkaError('HKA_VAULT_UNAVAILABLE', `${entry.reference.text}: Vault is not asked at the moment`)
    );
  }

  /** The fetch under way, or a new one. Undefined while there must be none. */
  #fetch(entry: Entry): Promise<SecretData> | undefined {
    if (entry.fetching !== undefined) return entry.fetching;
    if (entry.refusal !== undefined && this.#deps.clock.now() < entry.refusal.retryAt) return undefined;
    if (!this.#breaker.tryEnter()) return undefined;
    entry.fetching = this.#read(entry).finally(() => {
      entry.fetching = undefined;
    });
    return entry.fetching;
  }

  async #read(entry: Entry): Promise<SecretData> {
    const { clock, fetch, logger } = this.#deps;
    const startedAt = clock.now();
    try {
      const fetched = await fetch(entry.reference);
      this.#breaker.succeeded();
      if (entry.lastError !== undefined) {
        logger.info({ reference: entry.reference.text }, 'the secret can be read again');
      }
      entry.refusal = undefined;
      entry.lastError = undefined;
      const value = this.#adopt(entry, fetched, startedAt);
      this.#planRefresh(entry);
      return entry.previous.choose(value.data, clock.now());
    } catch (error) {
      const fault = toHkaError(error);
      return isAnswer(fault) ? this.#refusedByVault(entry, fault) : this.#unreachable(entry, fault);
    }
  }

  #adopt(entry: Entry, fetched: FetchedSecret, readAt: number): Value {
    const old = entry.value;
    const unchanged = old !== undefined && old.data.equals(fetched.data);
    if (!unchanged) {
      this.#generation += 1;
      entry.lacking = undefined;
    }
    const value: Value = {
      data: unchanged ? old.data : fetched.data.as(this.#generation),
      version: fetched.version,
      readAt,
      changesAt:
        fetched.changesInMs === undefined ? Infinity : readAt + fetched.changesInMs + CHANGE_MARGIN_MS,
      lease: fetched.lease === undefined ? undefined : heldLease(fetched.lease, fetched.lease.ttlMs, readAt),
    };
    entry.value = value;
    if (old !== undefined && !unchanged) {
      entry.previous.keep(
        old.data,
        this.#deps.clock.now(),
        old.lease === undefined ? Infinity : endOf(old.lease),
      );
      this.#deps.logger.info(
        {
          reference: entry.reference.text,
          ...(value.version === undefined ? {} : { version: value.version }),
        },
        'the secret has changed; the new value is used',
      );
    }
    return value;
  }

  #refusedByVault(entry: Entry, error: HkaError): SecretData {
    const { clock, logger, random } = this.#deps;
    this.#breaker.succeeded();
    const attempts = (entry.refusal?.attempts ?? 0) + 1;
    const delay = backoffMs(attempts, ANSWER_BACKOFF_BASE_MS, ANSWER_BACKOFF_MAX_MS, random);
    if (entry.lastError?.code !== error.code) {
      logger.error({ err: describeError(error) }, 'the secret cannot be used; its requests are answered 503');
    }
    entry.refusal = { error, attempts, retryAt: clock.now() + delay };
    entry.lastError = error;
    this.#drop(entry);
    entry.cancel();
    throw error;
  }

  #unreachable(entry: Entry, error: HkaError): SecretData {
    const { clock, logger } = this.#deps;
    this.#breaker.failed(error);
    if (entry.lastError?.code !== error.code) {
      logger.warn(
        { err: describeError(error), usedUntilSeconds: this.#options.staleIfErrorMs / 1000 },
        'the secret could not be read; the last good value, if there is one, is used up to this age, or to the end of its lease',
      );
    }
    entry.lastError = error;
    this.#planRefresh(entry);
    const { value } = entry;
    if (value !== undefined) {
      if (this.#isFresh(entry, value) || this.#isUsable(entry))
        return entry.previous.choose(value.data, clock.now());
      this.#drop(entry);
    }
    throw error;
  }

  async #leaveToken(entry: Entry, endsAt: number): Promise<'nothing' | 'replaced' | 'in use'> {
    // What is under way may have begun with the former token.
    await entry.fetching?.catch(() => undefined);
    const { value } = entry;
    const lease = value?.lease;
    if (value === undefined || lease === undefined) return 'nothing';
    if (this.#isIdle(entry)) {
      this.#entries.delete(entry.reference.text);
      return 'nothing';
    }
    value.lease = { ...lease, usableUntil: Math.min(lease.usableUntil, endsAt) };
    await this.#replace(entry, 1);
    return entry.value === value ? 'in use' : 'replaced';
  }

  #drop(entry: Entry): void {
    entry.value = undefined;
    entry.previous.forget();
  }

  /** A value in use is read again before it is stale, so that no request waits and a rotation is seen in time. */
  #planRefresh(entry: Entry): void {
    const { clock, random, timers } = this.#deps;
    const { freshMs } = this.#options;
    entry.cancel();
    // Not for an entry that was pushed out while its fetch was under way.
    if (this.#closed || this.#entries.peek(entry.reference.text) !== entry) return;
    const { value } = entry;
    if (value?.lease !== undefined) {
      this.#plan(entry, this.#renewalIn(value.lease), MIN_RENEWAL_MS, () => this.#prolong(entry, 1));
      return;
    }
    const dueAt =
      this.#breaker.error === undefined
        ? Math.min(
            (value?.readAt ?? clock.now()) + freshMs * (REFRESH_AT + REFRESH_SPREAD * random()),
            value?.changesAt ?? Infinity,
          )
        : this.#breaker.retryAt + freshMs * REFRESH_SPREAD * random();
    entry.cancel = timers.schedule(
      () => this.#refreshIfUsed(entry),
      Math.max(MIN_REFRESH_MS, dueAt - clock.now()),
    );
  }

  #renewalIn(lease: HeldLease): number {
    const { clock, random } = this.#deps;
    const now = clock.now();
    if (this.#breaker.error !== undefined) return this.#breaker.retryAt - now;
    return (lease.usableUntil - now) * (RENEW_AT + REFRESH_SPREAD * random());
  }

  #plan(entry: Entry, delayMs: number, leastMs: number, step: () => Promise<void>): void {
    entry.cancel();
    entry.cancel = this.#deps.timers.schedule(() => ignore(step()), Math.max(leastMs, delayMs));
  }

  /** Renews the lease of a value that is in use, or replaces it where there is nothing to renew. */
  async #prolong(entry: Entry, attempt: number): Promise<void> {
    const { clock, logger, random, renew } = this.#deps;
    const { value } = entry;
    const lease = value?.lease;
    if (value === undefined || lease === undefined || this.#closed) return;
    if (this.#isIdle(entry)) {
      // It runs out, and whoever comes then gets new credentials.
      this.#plan(entry, lease.usableUntil - clock.now(), MIN_RENEWAL_MS, async () => {
        if (this.#isIdle(entry)) this.#entries.delete(entry.reference.text);
        else if (entry.value === value) await this.#fetch(entry);
      });
      return;
    }
    if (!lease.renewable || lease.atMaximum) {
      await this.#replace(entry, attempt);
      return;
    }
    const startedAt = clock.now();
    try {
      const renewed = await renew(entry.reference, lease);
      if (entry.value !== value || this.#closed) return;
      value.lease = heldLease(renewed, lease.fullTtlMs, startedAt);
      this.#planRefresh(entry);
    } catch (error) {
      if (entry.value !== value || this.#closed) return;
      const fault = toHkaError(error);
      logger.warn({ err: describeError(fault), attempt }, 'a lease could not be renewed');
      if (isAnswer(fault)) {
        value.lease = { ...lease, renewable: false };
        await this.#replace(entry, 1);
        return;
      }
      const left = lease.usableUntil - clock.now();
      const delay = Math.min(backoffMs(attempt, MIN_RENEWAL_MS, RENEWAL_BACKOFF_MAX_MS, random), left / 2);
      this.#plan(entry, delay, MIN_RENEWAL_MS, () => this.#prolong(entry, attempt + 1));
    }
  }

  /** New credentials in place of leased ones; the old are in use until the new are here. */
  async #replace(entry: Entry, attempt: number): Promise<void> {
    const { clock, random } = this.#deps;
    const old = entry.value;
    await this.#fetch(entry)?.catch(() => undefined);
    if (this.#closed || entry.value !== old || old?.lease === undefined) return;
    const left = old.lease.usableUntil - clock.now();
    if (left <= 0) return;
    const delay = Math.min(backoffMs(attempt, MIN_RENEWAL_MS, RENEWAL_BACKOFF_MAX_MS, random), left / 2);
    this.#plan(entry, delay, MIN_RENEWAL_MS, () => this.#replace(entry, attempt + 1));
  }

  #isIdle(entry: Entry): boolean {
    const { freshMs, revalidateMs } = this.#options;
    return this.#deps.clock.now() - entry.usedAt >= Math.max(freshMs, revalidateMs);
  }

  #refreshIfUsed(entry: Entry): void {
    const { timers } = this.#deps;
    const { freshMs, revalidateMs, staleIfErrorMs } = this.#options;
    if (!this.#isIdle(entry)) {
      const fetching = this.#fetch(entry);
      if (fetching !== undefined) ignore(fetching);
      else this.#planRefresh(entry);
      return;
    }
    // Not in use: kept while it could be, then forgotten.
    const ageMs = entry.value === undefined ? Infinity : this.#ageOf(entry.value);
    const keepMs = Math.max(freshMs, revalidateMs, staleIfErrorMs);
    if (ageMs >= keepMs) {
      this.#entries.delete(entry.reference.text);
      return;
    }
    entry.cancel = timers.schedule(() => this.#refreshIfUsed(entry), keepMs - ageMs);
  }
}

function heldLease(lease: Lease, fullTtlMs: number, since: number): HeldLease {
  const margin = Math.min(MAX_MARGIN_MS, lease.ttlMs * MARGIN_SHARE);
  return {
    ...lease,
    fullTtlMs,
    usableUntil: since + lease.ttlMs - margin,
    atMaximum: lease.ttlMs < fullTtlMs * FULL_RENEWAL,
  };
}

/** A token that could not be renewed takes its leases with it, however long they would last. */
function endOf({ usableUntil, tokenEnd }: HeldLease): number {
  return Math.min(usableUntil, tokenEnd?.() ?? Infinity);
}

/** Its outcome is kept in the entry. */
function ignore(outcome: Promise<unknown>): void {
  outcome.catch(() => undefined);
}
