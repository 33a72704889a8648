/** What plugin instances work with inside a worker: everything that is decided once for all workers is asked for. */
import { LRUCache } from 'lru-cache';
import { isYounger, systemClock, type Clock } from '../lib/clock.ts';
import { createLogLimiter, type Logger, type LogOnce } from '../lib/logger.ts';
import { isGuessable, publicIdOf } from '../keys/guessable.ts';
import { ConsumerCache } from '../plugin/consumers.ts';
import type { PluginRuntime } from '../plugin/runtime.ts';
import { createInjectionCounts, createRequestCounts, createShadowCounts } from '../plugin/request-counts.ts';
import { GuessThrottle } from '../plugin/throttle.ts';
import { UsageRecorder } from '../plugin/usage.ts';
import type { Config } from '../runtime/config.ts';
import { isApartFromOwn } from '../runtime/peppers.ts';
import { cacheOptionsOf, MAX_CONSUMERS } from '../runtime/runtime.ts';
import type { Verdict } from '../vault/previous-value.ts';
import { connectionsOf } from '../vault/connections.ts';
import { type ReferencePattern, type SecretName, type SecretReference } from '../vault/reference.ts';
import { SecretData, type PackedSecret } from '../vault/secret-data.ts';
import type { Question } from './messages.ts';
import { RemoteVerifier, type VerdictAnswer } from './remote-verifier.ts';

/** How long a worker uses a secret before it asks again. The supervisor keeps it much longer, and answers at once. */
const SECRET_MS = 1000;
const MAX_SECRETS = 1000;
/** A refusal of the same value is told once in so long. */
const REFUSAL_MS = 1000;
const LOG_INTERVAL_MS = 60_000;
/** Keys that one worker may have under verification. Far above what argon2 can work off within an event's deadline. */
const MAX_PENDING = 2000;

export interface Link {
  /** Hands over a line that only the supervisor can know to be said already. */
  log(key: string, level: 'warn' | 'error', fields: object, message: string): void;
  /** Rejects with what the supervisor answered, or when it is gone. */
  ask(question: Question): Promise<unknown>;
  isAlive(): boolean;
}

export class WorkerRuntime implements PluginRuntime {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly logOnce: LogOnce;
  readonly requests = createRequestCounts();
  readonly injections = createInjectionCounts();
  readonly shadow = createShadowCounts();
  readonly usage = new UsageRecorder();
  readonly #link: Link;
  readonly #secrets = new LRUCache<string, { value: SecretData; at: number }>({ max: MAX_SECRETS });
  readonly #refusals = new LRUCache<string, number>({ max: MAX_SECRETS });
  readonly #fetching = new Map<string, Promise<SecretData>>();
  #config: Config;
  #sharers = 1;
  #consumers: ConsumerCache;
  #verifier: RemoteVerifier;
  #throttle: GuessThrottle;

  constructor(config: Config, link: Link, logger: Logger, clock: Clock = systemClock) {
    this.logger = logger;
    this.clock = clock;
    this.#link = link;
    const limit = createLogLimiter(LOG_INTERVAL_MS);
    this.logOnce = (key, level, fields, message) =>
      limit(key, (heldBack) =>
        link.log(key, level, heldBack === 0 ? fields : { ...fields, heldBack }, message),
      );
    this.#config = config;
    this.#consumers = this.#makeConsumers();
    this.#verifier = this.#makeVerifier();
    this.#throttle = this.#makeThrottle();
  }

  /** A configuration that was read again. */
  use(config: Config): void {
    this.#config = config;
    this.#consumers = this.#makeConsumers();
    this.#verifier = this.#makeVerifier();
    this.#throttle = this.#makeThrottle();
    this.#secrets.clear();
  }

  get consumers(): ConsumerCache {
    return this.#consumers;
  }

  get throttle(): GuessThrottle {
    return this.#throttle;
  }

  mayForward(pattern: ReferencePattern): boolean {
    return isApartFromOwn(this.#config, pattern);
  }

  isGuessable(key: string): boolean {
    return isGuessable(key, this.#config.keys.prefix);
  }

  keyIdOf(key: string): string | undefined {
    return publicIdOf(key, this.#config.keys.prefix);
  }

  get maxBodyBytes(): number {
    return this.#config.server.maxBodyBytes;
  }

  hasConnection(name: string): boolean {
    const { vault } = this.#config;
    return vault !== undefined && connectionsOf(vault).has(name);
  }

  verifier(): RemoteVerifier {
    return this.#verifier;
  }

  secret(reference: SecretReference, fields: readonly string[]): SecretData | Promise<SecretData> {
    // No field's name and no reference has a # in it.
    const key = [reference.text, ...fields].join('#');
    const known = this.#secrets.get(key);
    if (known !== undefined && isYounger(this.clock, known.at, SECRET_MS)) return known.value;
    const running = this.#fetching.get(key);
    if (running !== undefined) return running;
    const fetching = this.#fetch(key, reference, fields).finally(() => this.#fetching.delete(key));
    this.#fetching.set(key, fetching);
    return fetching;
  }

  async refused(reference: SecretName, generation: number): Promise<Verdict> {
    // An upstream that answers many requests with a refusal says the same every time.
    const key = `${generation} ${reference.text}`;
    const told = this.#refusals.get(key);
    if (told !== undefined && isYounger(this.clock, told, REFUSAL_MS)) return 'ignored';
    this.#refusals.set(key, this.clock.now());
    const verdict = (await this.#link.ask({ kind: 'refused', reference, generation })) as Verdict;
    // The other workers ask again within SECRET_MS.
    if (verdict !== 'ignored') {
      for (const kept of this.#secrets.keys())
        if (kept === reference.text || kept.startsWith(`${reference.text}#`)) this.#secrets.delete(kept);
    }
    return verdict;
  }

  async #fetch(key: string, reference: SecretReference, fields: readonly string[]): Promise<SecretData> {
    const packed = (await this.#link.ask({ kind: 'secret', reference, fields })) as PackedSecret;
    const value = SecretData.unpack(packed);
    this.#secrets.set(key, { value, at: this.clock.now() });
    return value;
  }

  #makeConsumers(): ConsumerCache {
    return new ConsumerCache(
      { maxEntries: MAX_CONSUMERS, ttlMs: this.#config.cache.consumerTtlMs },
      this.clock,
    );
  }

  /** Kong spreads a client's requests over the workers that take connections, so each allows its part. */
  shareLimits(workers: number): void {
    this.#sharers = workers;
    this.#throttle.shareAmong(workers);
  }

  #makeThrottle(): GuessThrottle {
    const throttle = new GuessThrottle(this.#config.throttle, this.clock);
    throttle.shareAmong(this.#sharers);
    return throttle;
  }

  #makeVerifier(): RemoteVerifier {
    return new RemoteVerifier(
      { prefix: this.#config.keys.prefix, cache: cacheOptionsOf(this.#config), maxPending: MAX_PENDING },
      {
        clock: this.clock,
        ask: async (key) => (await this.#link.ask({ kind: 'verify', key })) as VerdictAnswer,
        askKnown: async (key) =>
          ((await this.#link.ask({ kind: 'recall', key })) ?? undefined) as VerdictAnswer | undefined,
        isLinkAlive: () => this.#link.isAlive(),
      },
    );
  }
}
