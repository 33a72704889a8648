/**
 * Secrets in memory, so that a request on the hot path finds them without waiting.
 *
 * The life of a value, by the time since it was read: fresh (used as it is; replaced in the background shortly before its
 * end, if in use) → being revalidated (used once more while a new one is fetched) → awaited (the caller waits for the new
 * one). In an outage a value is used up to `staleIfErrorMs`, then its requests fail. An answer of Vault that the secret is
 * gone or forbidden ends it at once.
 *
 * Invariants: a value is never replaced by an error; no value is used past the larger of `revalidateMs` and
 * `staleIfErrorMs`; one fetch at a time for each reference; values are in memory only.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../lib/clock.ts';
import { HkaError, toHkaError, type ErrorCode } from '../lib/errors.ts';
import { describeError, type Logger } from '../lib/logger.ts';
import type { Secret } from '../lib/secret.ts';
import { OutageBreaker } from './breaker.ts';
import type { SecretValue } from './kv.ts';
import { backoffMs, isAnswer } from './outage.ts';
import type { SecretReference } from './reference.ts';
import type { Cancel, Random, Timers } from './timers.ts';

export interface SecretCacheOptions {
  readonly freshMs: number;
  readonly revalidateMs: number;
  readonly staleIfErrorMs: number;
  readonly maxEntries: number;
}

export interface SecretCacheDependencies {
  readonly fetch: (reference: SecretReference) => Promise<SecretValue>;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
}

/** What is known of one reference; nothing of it is secret. */
export interface SecretAge {
  readonly reference: string;
  /** Seconds since its value was read; absent when there is none. */
  readonly ageSeconds?: number;
  /** KV version 2's number of it. */
  readonly version?: number;
  /** What the last attempt to read it met. */
  readonly error?: ErrorCode;
}

/** Read again in the background when this part of its fresh time has passed, plus up to a tenth more by chance. */
const REFRESH_AT = 0.75;
const REFRESH_SPREAD = 0.1;
const MIN_REFRESH_MS = 250;

const ANSWER_BACKOFF_BASE_MS = 1000;
const ANSWER_BACKOFF_MAX_MS = 30_000;

interface Entry {
  readonly reference: SecretReference;
  value: SecretValue | undefined;
  /** When the call that brought the value was sent; so an age is never told too low. */
  readAt: number;
  usedAt: number;
  fetching: Promise<Secret> | undefined;
  /** Set while the last fetch ended in an answer that is no secret. */
  refusal: { readonly error: HkaError; readonly attempts: number; readonly retryAt: number } | undefined;
  lastError: HkaError | undefined;
  cancel: Cancel;
}

export class SecretCache {
  readonly #options: SecretCacheOptions;
  readonly #deps: SecretCacheDependencies;
  readonly #breaker: OutageBreaker;
  readonly #entries: LRUCache<string, Entry>;
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

  /** The value at once where it may be used, else a promise. Throws or rejects with HKA_VAULT_* and HKA_REFERENCE_INVALID. */
  get(reference: SecretReference): Secret | Promise<Secret> {
    if (this.#closed) throw new HkaError('HKA_DRAINING', 'the connection to Vault is closed');
    const entry = this.#entries.get(reference.text) ?? this.#add(reference);
    entry.usedAt = this.#deps.clock.now();
    const ageMs = this.#ageOf(entry);
    const { freshMs, revalidateMs } = this.#options;
    if (entry.value !== undefined && ageMs < freshMs) return entry.value.value;

    const fetching = this.#fetch(entry);
    if (fetching === undefined) return this.#withoutVault(entry);
    const known = entry.value;
    if (known !== undefined && ageMs < revalidateMs && this.#usable(entry)) {
      ignore(fetching);
      return known.value;
    }
    return fetching;
  }

  /** Vault is known to answer again: nobody needs to wait any longer. */
  vaultIsBack(): void {
    this.#breaker.succeeded();
  }

  ages(): SecretAge[] {
    return [...this.#entries.values()].map((entry) => ({
      reference: entry.reference.text,
      ...(entry.value === undefined ? {} : { ageSeconds: this.#ageOf(entry) / 1000 }),
      ...(entry.value?.version === undefined ? {} : { version: entry.value.version }),
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
      readAt: 0,
      usedAt: 0,
      fetching: undefined,
      refusal: undefined,
      lastError: undefined,
      cancel: () => undefined,
    };
    this.#entries.set(reference.text, entry);
    return entry;
  }

  /** Infinity without a value, and when the clock was set back: then it can't be told. */
  #ageOf(entry: Entry): number {
    const age = this.#deps.clock.now() - entry.readAt;
    return entry.value === undefined || age < 0 ? Infinity : age;
  }

  /** Whether the value may be used although it is not fresh. */
  #usable(entry: Entry): boolean {
    if (entry.value === undefined) return false;
    // Before an attempt has failed, nothing is known against it.
    if (entry.lastError === undefined && this.#breaker.error === undefined) return true;
    return this.#ageOf(entry) < this.#options.staleIfErrorMs;
  }

  /** For a caller while Vault is not asked: the old value within its bound, else what the last attempt met. */
  #withoutVault(entry: Entry): Secret {
    if (entry.value !== undefined && this.#usable(entry)) return entry.value.value;
    entry.value = undefined;
    throw (
      entry.refusal?.error ??
      this.#breaker.error ??
      new HkaError('HKA_VAULT_UNAVAILABLE', `${entry.reference.text}: Vault is not asked at the moment`)
    );
  }

  /** The fetch under way, or a new one. Undefined while there must be none. */
  #fetch(entry: Entry): Promise<Secret> | undefined {
    if (entry.fetching !== undefined) return entry.fetching;
    if (entry.refusal !== undefined && this.#deps.clock.now() < entry.refusal.retryAt) return undefined;
    if (!this.#breaker.tryEnter()) return undefined;
    entry.fetching = this.#read(entry).finally(() => {
      entry.fetching = undefined;
    });
    return entry.fetching;
  }

  async #read(entry: Entry): Promise<Secret> {
    const { clock, fetch } = this.#deps;
    const startedAt = clock.now();
    try {
      const value = await fetch(entry.reference);
      this.#breaker.succeeded();
      if (entry.lastError !== undefined) {
        this.#deps.logger.info({ reference: entry.reference.text }, 'the secret can be read again');
      }
      entry.value = value;
      entry.readAt = startedAt;
      entry.refusal = undefined;
      entry.lastError = undefined;
      this.#planRefresh(entry);
      return value.value;
    } catch (error) {
      const fault = toHkaError(error);
      return isAnswer(fault) ? this.#refused(entry, fault) : this.#unreachable(entry, fault);
    }
  }

  #refused(entry: Entry, error: HkaError): never {
    const { clock, logger, random } = this.#deps;
    this.#breaker.succeeded();
    const attempts = (entry.refusal?.attempts ?? 0) + 1;
    const delay = backoffMs(attempts, ANSWER_BACKOFF_BASE_MS, ANSWER_BACKOFF_MAX_MS, random);
    if (entry.lastError?.code !== error.code) {
      logger.error({ err: describeError(error) }, 'the secret cannot be used; its requests are answered 503');
    }
    entry.value = undefined;
    entry.refusal = { error, attempts, retryAt: clock.now() + delay };
    entry.lastError = error;
    entry.cancel();
    throw error;
  }

  #unreachable(entry: Entry, error: HkaError): Secret {
    const { logger } = this.#deps;
    this.#breaker.failed(error);
    if (entry.lastError?.code !== error.code) {
      logger.warn(
        { err: describeError(error), usedUntilSeconds: this.#options.staleIfErrorMs / 1000 },
        'the secret could not be read; the last good value, if there is one, is used up to this age',
      );
    }
    entry.lastError = error;
    this.#planRefresh(entry);
    if (entry.value !== undefined) {
      if (this.#ageOf(entry) < this.#options.freshMs || this.#usable(entry)) return entry.value.value;
      entry.value = undefined;
    }
    throw error;
  }

  /** A value in use is read again before it is stale, so that no request waits and a rotation is seen in time. */
  #planRefresh(entry: Entry): void {
    const { clock, random, timers } = this.#deps;
    const { freshMs } = this.#options;
    entry.cancel();
    // Not for an entry that was pushed out while its fetch was under way.
    if (this.#closed || this.#entries.peek(entry.reference.text) !== entry) return;
    const dueAt =
      this.#breaker.error === undefined
        ? entry.readAt + freshMs * (REFRESH_AT + REFRESH_SPREAD * random())
        : this.#breaker.retryAt + freshMs * REFRESH_SPREAD * random();
    entry.cancel = timers.schedule(
      () => this.#refreshIfUsed(entry),
      Math.max(MIN_REFRESH_MS, dueAt - clock.now()),
    );
  }

  #refreshIfUsed(entry: Entry): void {
    const { clock, timers } = this.#deps;
    const { freshMs, revalidateMs, staleIfErrorMs } = this.#options;
    const lastUseMs = Math.max(freshMs, revalidateMs);
    if (clock.now() - entry.usedAt < lastUseMs) {
      const fetching = this.#fetch(entry);
      if (fetching !== undefined) ignore(fetching);
      else this.#planRefresh(entry);
      return;
    }
    // Not in use: kept while it could be, then forgotten.
    const ageMs = this.#ageOf(entry);
    const keepMs = Math.max(lastUseMs, staleIfErrorMs);
    if (ageMs >= keepMs) {
      this.#entries.delete(entry.reference.text);
      return;
    }
    entry.cancel = timers.schedule(() => this.#refreshIfUsed(entry), keepMs - ageMs);
  }
}

/** Its outcome is kept in the entry. */
function ignore(fetching: Promise<Secret>): void {
  fetching.catch(() => undefined);
}
