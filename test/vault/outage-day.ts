/**
 * A day of faked time with a Vault that is away for random stretches, while secrets change, are deleted and come back, and
 * database credentials and tokens end. Cache and session are the real ones; Vault is a model that knows what is right at any
 * moment, and so can tell what was wrongly given out.
 *
 * For the test and for `make bench`. The same seed gives the same day.
 */
import { HkaError, isHkaError, type ErrorCode } from '../../src/lib/errors.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { Secret } from '../../src/lib/secret.ts';
import type { Grant, LoginMethod } from '../../src/vault/auth/method.ts';
import { isAnswer } from '../../src/vault/outage.ts';
import { parsePattern, type SecretReference } from '../../src/vault/reference.ts';
import { SecretCache, type SecretCacheOptions } from '../../src/vault/secret-cache.ts';
import { SecretData } from '../../src/vault/secret-data.ts';
import type { FetchedSecret, Lease } from '../../src/vault/secret-reader.ts';
import { VaultSession } from '../../src/vault/session.ts';
import { ManualTime } from './support.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export interface OutageDayOptions {
  readonly seed: number;
  readonly staleIfErrorSeconds: number;
  /** What the judge takes for the bound, where it shall be another one than the cache has: to see that it judges. */
  readonly judgedSeconds?: number;
  /** How much shorter leases are than the model says: to see that it judges. */
  readonly lyingLeasesMs?: number;
  /** Whether two consumers' secrets are mixed up: to see that it judges. */
  readonly mixedUp?: boolean;
}

export type Fault = 'beyond its bound' | 'after its deletion' | 'past its lease' | "another's";

export interface OutageDay {
  readonly requests: number;
  readonly served: number;
  /** Answered 503, since Vault was away. */
  readonly refused: number;
  /** Answered 503, since the secret was deleted. */
  readonly deleted: number;
  readonly wrong: Readonly<Record<Fault, number>>;
  /** Seconds for which Vault was away. */
  readonly awaySeconds: number;
  readonly outages: number;
}

/** Of the library's defaults; `stale_if_error_seconds` is what varies. */
const CACHE: Omit<SecretCacheOptions, 'staleIfErrorMs'> = {
  freshMs: 30 * SECOND,
  revalidateMs: 300 * SECOND,
  maxEntries: 100,
  previousMs: 0,
};
const TOKEN = { ttlMs: HOUR, maxMs: 8 * HOUR };
const LEASE = { ttlMs: HOUR, maxMs: 6 * HOUR };
const TIMEOUT_MS = 2 * SECOND;
const OUTAGES: readonly ErrorCode[] = [
  'HKA_VAULT_UNAVAILABLE',
  'HKA_VAULT_SEALED',
  'HKA_VAULT_TIMEOUT',
  'HKA_VAULT_TLS',
];

/** Secrets whose requests come every second: two that change, one that is deleted now and then, two consumers', credentials. */
const STEADY = 'vault://secret/steady';
const CHANGING = 'vault://secret/changing';
const DELETED = 'vault://secret/deleted';
const CREDENTIALS = 'vault://database/creds/app';
const OF_CONSUMER = parsePattern('vault://secret/partners/{consumer.username}/api');
const CONSUMERS = ['alice', 'bob'] as const;

export async function liveThroughDay(options: OutageDayOptions): Promise<OutageDay> {
  return new Day(options).run();
}

/** mulberry32: small, and the same everywhere. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Token {
  until: number;
  readonly maxAt: number;
}

interface ModelLease {
  until: number;
  readonly maxAt: number;
  readonly token: Token;
}

/** What the model knows of one secret. */
interface Known {
  version: number;
  exists: boolean;
  /** When the model last gave out each version. */
  readonly givenAt: Map<number, number>;
  /** Whether the last attempt to read it met an outage. */
  failing: boolean;
  /** When a read was last answered with `not found`. */
  goneAt: number;
}

class Day {
  readonly #options: OutageDayOptions;
  readonly #time = new ManualTime();
  readonly #random: () => number;
  readonly #known = new Map<string, Known>();
  readonly #tokens = new Map<string, Token>();
  readonly #leases = new Map<string, ModelLease>();
  readonly #session: VaultSession;
  readonly #cache: SecretCache;
  readonly #start = this.#time.now();
  #away: ErrorCode | undefined;
  /** Whether the last call about any secret met an outage. */
  #failing = false;
  #awaySince = 0;
  #awayMs = 0;
  #outages = 0;
  #made = 0;
  #requests = 0;
  #served = 0;
  #refused = 0;
  #deleted = 0;
  readonly #wrong: Record<Fault, number> = {
    'beyond its bound': 0,
    'after its deletion': 0,
    'past its lease': 0,
    "another's": 0,
  };

  constructor(options: OutageDayOptions) {
    this.#options = options;
    this.#random = seeded(options.seed);
    const ours = { logger: silentLogger, clock: this.#time, timers: this.#time, random: this.#random };
    this.#session = new VaultSession({
      ...ours,
      client: {
        read: () => this.#answer(() => ({ data: {} })),
        write: (path, _data, { token }) =>
          this.#answer(() =>
            path === 'auth/token/renew-self' ? this.#renewToken(token) : this.#revoke(token),
          ),
      },
      method: this.#method(),
      onAlive: () => {
        this.#failing = false;
        this.#cache.vaultIsBack();
      },
      onReplaced: (until) => this.#cache.replaceLeased(until),
      onLost: () => this.#cache.leasesLost(),
    });
    this.#cache = new SecretCache(
      { ...CACHE, staleIfErrorMs: options.staleIfErrorSeconds * SECOND },
      {
        ...ours,
        fetch: (reference) => this.#fetch(reference),
        renew: (_reference, lease) =>
          this.#session.run((token) => this.#answer(() => this.#renewLease(lease, token))),
      },
    );
  }

  async run(): Promise<OutageDay> {
    const consumers = CONSUMERS.map((username) => OF_CONSUMER.for({ id: username, username }));
    const references = [STEADY, CHANGING, DELETED, CREDENTIALS].map((text) =>
      parsePattern(text).for(undefined),
    );
    const all = [...references, ...consumers];
    for (const { text } of all) this.#known.set(text, newlyKnown());
    this.#session.start();
    await this.#settle();
    this.#planOutage();
    this.#plan(CHANGING, 5 * MINUTE, HOUR, (known) => void (known.version += 1));
    for (const { text } of consumers) this.#plan(text, HOUR, 3 * HOUR, (known) => void (known.version += 1));
    this.#plan(DELETED, 10 * MINUTE, 2 * HOUR, (known) => {
      known.exists = !known.exists;
      known.version += 1;
    });
    const end = this.#start + DAY;
    while (this.#time.now() < end) {
      await this.#time.pass(SECOND, () => this.#settle());
      for (const reference of all) this.#request(reference);
      await this.#settle();
    }
    if (this.#away !== undefined) this.#awayMs += this.#time.now() - this.#awaySince;
    this.#cache.close();
    return {
      requests: this.#requests,
      served: this.#served,
      refused: this.#refused,
      deleted: this.#deleted,
      wrong: this.#wrong,
      awaySeconds: this.#awayMs / SECOND,
      outages: this.#outages,
    };
  }

  #request(reference: SecretReference): void {
    this.#requests += 1;
    try {
      const data = this.#cache.get(this.#options.mixedUp === true ? mixUp(reference) : reference, ['token']);
      if (data instanceof Promise)
        data.then((later) => this.#judge(reference, later)).catch((error: unknown) => this.#refuse(error));
      else this.#judge(reference, data);
    } catch (error) {
      this.#refuse(error);
    }
  }

  #refuse(error: unknown): void {
    if (!isHkaError(error)) throw error;
    if (error.code === 'HKA_VAULT_NOT_FOUND') this.#deleted += 1;
    else if (isAnswer(error)) throw error;
    else this.#refused += 1;
  }

  /** What a request was given, at the moment it was. */
  #judge({ text }: SecretReference, data: SecretData): void {
    const fault = this.#faultOf(text, data.field('token').reveal());
    if (fault === undefined) this.#served += 1;
    else this.#wrong[fault] += 1;
  }

  #faultOf(text: string, value: string): Fault | undefined {
    const [of, number] = value.split('#');
    const known = this.#known.get(text);
    if (of !== text || known === undefined) return "another's";
    const now = this.#time.now();
    if (text === CREDENTIALS) {
      const lease = this.#leases.get(number ?? '');
      const endsAt =
        Math.min(lease?.until ?? 0, lease?.token.until ?? 0) - (this.#options.lyingLeasesMs ?? 0);
      return now < endsAt ? undefined : 'past its lease';
    }
    const givenAt = known.givenAt.get(Number(number)) ?? -Infinity;
    if (givenAt <= known.goneAt) return 'after its deletion';
    const { staleIfErrorSeconds, judgedSeconds = staleIfErrorSeconds } = this.#options;
    const bound = Math.max(
      CACHE.freshMs,
      known.failing || this.#failing ? judgedSeconds * SECOND : CACHE.revalidateMs,
    );
    return now - givenAt < bound ? undefined : 'beyond its bound';
  }

  async #fetch({ text }: SecretReference): Promise<FetchedSecret> {
    const known = this.#known.get(text);
    if (known === undefined) throw new Error(`nobody has a secret ${text}`);
    try {
      const fetched = await this.#session.run((token) => this.#answer(() => this.#read(text, known, token)));
      known.failing = false;
      this.#failing = false;
      return fetched;
    } catch (error) {
      known.failing = !(isHkaError(error) && isAnswer(error));
      this.#failing = known.failing;
      throw error;
    }
  }

  /** Vault, by itself from here on. */
  #read(text: string, known: Known, token: Secret): FetchedSecret {
    const live = this.#liveToken(token);
    if (!known.exists) {
      known.goneAt = this.#time.now();
      throw new HkaError('HKA_VAULT_NOT_FOUND', 'deleted');
    }
    if (text !== CREDENTIALS) {
      known.givenAt.set(known.version, this.#time.now());
      return { data: dataOf(text, String(known.version)), version: known.version };
    }
    this.#made += 1;
    const id = String(this.#made);
    const now = this.#time.now();
    this.#leases.set(id, { until: now + LEASE.ttlMs, maxAt: now + LEASE.maxMs, token: live });
    return {
      data: dataOf(text, id),
      lease: {
        id: new Secret(id),
        ttlMs: LEASE.ttlMs,
        renewable: true,
        tokenEnd: () => this.#session.endOf(token),
      },
    };
  }

  #renewLease(lease: Lease, token: Secret): Lease {
    this.#liveToken(token);
    const now = this.#time.now();
    const known = this.#leases.get(lease.id.reveal());
    if (known === undefined || Math.min(known.until, known.token.until) <= now) {
      throw new HkaError('HKA_VAULT_MALFORMED', 'lease not found');
    }
    known.until = Math.min(now + LEASE.ttlMs, known.maxAt);
    return { ...lease, ttlMs: known.until - now };
  }

  #method(): LoginMethod {
    return {
      name: 'model',
      ownsTokens: true,
      boundToCredentials: false,
      check: () => undefined,
      changed: () => false,
      login: () =>
        this.#answer((): Grant => {
          this.#made += 1;
          const now = this.#time.now();
          const text = `token-${this.#made}`;
          this.#tokens.set(text, { until: now + TOKEN.ttlMs, maxAt: now + TOKEN.maxMs });
          return { token: new Secret(text), ttlMs: TOKEN.ttlMs, fullTtlMs: TOKEN.ttlMs, renewable: true };
        }),
    };
  }

  #liveToken(token: Secret | undefined): Token {
    const known = this.#tokens.get(token?.reveal() ?? '');
    if (known !== undefined && this.#time.now() < known.until) return known;
    throw new HkaError('HKA_VAULT_FORBIDDEN', 'invalid token', { details: { phrases: ['invalid token'] } });
  }

  #renewToken(token: Secret | undefined): Record<string, unknown> {
    const live = this.#liveToken(token);
    const now = this.#time.now();
    live.until = Math.min(now + TOKEN.ttlMs, live.maxAt);
    return {
      auth: {
        client_token: token?.reveal(),
        lease_duration: Math.floor((live.until - now) / SECOND),
        renewable: true,
      },
    };
  }

  /** With the token ends all that was leased under it. */
  #revoke(token: Secret | undefined): Record<string, unknown> {
    this.#liveToken(token).until = this.#time.now();
    return {};
  }

  /** A call: what Vault says, or how it is away. */
  async #answer<T>(answer: () => T): Promise<T> {
    await Promise.resolve();
    const away = this.#away;
    if (away === 'HKA_VAULT_TIMEOUT') {
      await new Promise<void>((resolve) => {
        this.#time.schedule(resolve, TIMEOUT_MS);
      });
    }
    if (away !== undefined) throw new HkaError(away, 'away');
    return answer();
  }

  /** Away for ten seconds to four hours, more often short than long; there for a quarter of an hour to four hours. */
  #planOutage(): void {
    const pause = this.#between(15 * MINUTE, 4 * HOUR);
    this.#time.schedule(() => {
      this.#away = OUTAGES[Math.floor(this.#random() * OUTAGES.length)];
      this.#awaySince = this.#time.now();
      this.#outages += 1;
      this.#time.schedule(
        () => {
          this.#away = undefined;
          this.#awayMs += this.#time.now() - this.#awaySince;
          this.#planOutage();
        },
        this.#between(10 * SECOND, 4 * HOUR),
      );
    }, pause);
  }

  /** Changes a secret again and again, whether Vault can be reached from here or not. */
  #plan(text: string, least: number, most: number, change: (known: Known) => void): void {
    this.#time.schedule(
      () => {
        const known = this.#known.get(text);
        if (known !== undefined) change(known);
        this.#plan(text, least, most, change);
      },
      this.#between(least, most),
    );
  }

  /** Evenly over the orders of magnitude. */
  #between(least: number, most: number): number {
    return least * (most / least) ** this.#random();
  }

  async #settle(): Promise<void> {
    for (let turn = 0; turn < 40; turn += 1) await Promise.resolve();
  }
}

function newlyKnown(): Known {
  return { version: 1, exists: true, givenAt: new Map(), failing: false, goneAt: -Infinity };
}

function dataOf(text: string, number: string): SecretData {
  return new SecretData(text, new Map([['token', new Secret(`${text}#${number}`)]]));
}

function mixUp(reference: SecretReference): SecretReference {
  const [alice = '', bob = ''] = CONSUMERS.map(
    (username) => OF_CONSUMER.for({ id: username, username }).text,
  );
  return reference.text === alice ? { ...reference, text: bob } : reference;
}

export function wrongOf({ wrong }: OutageDay): number {
  return Object.values(wrong).reduce((sum, count) => sum + count, 0);
}
