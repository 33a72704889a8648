/**
 * Puts the parts together as the configuration says. What is wrong with files on this machine stops the start; what is
 * wrong with Vault does not: requests are answered 503 until it is back.
 */
import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { KeyHasher } from '../keys/hasher.ts';
import { isGuessable, publicIdOf } from '../keys/guessable.ts';
import type { VerificationCacheOptions } from '../keys/verification-cache.ts';
import { KeyVerifier } from '../keys/verifier.ts';
import { systemClock } from '../lib/clock.ts';
import { HkaError } from '../lib/errors.ts';
import { createLogOnce, describeError, type Logger, type LogOnce } from '../lib/logger.ts';
import type { Secret } from '../lib/secret.ts';
import { ConsumerCache } from '../plugin/consumers.ts';
import type { PluginRuntime } from '../plugin/runtime.ts';
import { createInjectionCounts, createRequestCounts, createShadowCounts } from '../plugin/request-counts.ts';
import { GuessThrottle } from '../plugin/throttle.ts';
import { UsageRecorder } from '../plugin/usage.ts';
import type { CredentialStore, StoreObservers } from '../store/store.ts';
import type { Verdict } from '../vault/previous-value.ts';
import {
  type FieldReference,
  ReferencePattern,
  type SecretName,
  type SecretReference,
} from '../vault/reference.ts';
import type { SecretData } from '../vault/secret-data.ts';
import { createVaults, type Vaults } from '../vault/vaults.ts';
import type { Config } from './config.ts';
import { PepperKeeper, type PepperKeeperDeps } from './pepper-keeper.ts';
import { isApartFromOwn, loadPeppers, peppersNeedVault, withCurrentPeppers } from './peppers.ts';
import { Presence } from './presence.ts';
import { createStore, type ReadSecret } from './stores.ts';

export const MAX_CONSUMERS = 100_000;
const PEPPER_RETRY_MS = 1000;

/** How many hashes the server computes at once. */
export function hashConcurrency({ argon2 }: Config): number {
  return argon2.concurrency === 0 ? Math.max(1, Math.floor(availableParallelism() / 2)) : argon2.concurrency;
}

export function createHasher(config: Config, concurrency?: number): KeyHasher {
  const { memoryKib, time, parallelism, queueMax, queueMaxAgeMs } = config.argon2;
  return new KeyHasher(
    { memoryKib, time, parallelism },
    {
      concurrency: concurrency ?? hashConcurrency(config),
      maxWaiting: queueMax,
      maxWaitMs: Math.min(queueMaxAgeMs, config.server.eventDeadlineMs / 2),
    },
  );
}

export function cacheOptionsOf({ cache }: Config): VerificationCacheOptions {
  return {
    maxEntries: cache.maxEntries,
    ttlMs: cache.ttlSeconds * 1000,
    negativeMaxEntries: cache.negativeMaxEntries,
    negativeTtlMs: cache.negativeTtlSeconds * 1000,
    maxStaleMs: cache.maxStaleSeconds * 1000,
  };
}

/** Told how long things took, in milliseconds, for metrics. */
export interface Timings extends StoreObservers {
  vault(ms: number): void;
  argon2(ms: number): void;
}

/** What is known of the secrets of one configured reference. */
export interface SecretState {
  readonly pattern: string;
  /** Of the oldest value. */
  readonly ageSeconds: number;
  /** Of how many the value before the last change is in use. */
  readonly previousInUse: number;
  /** How many could not be read the last time. */
  readonly failing: number;
}

/** The log-in of one connection to Vault. */
export interface VaultState {
  readonly connection: string;
  readonly isLoggedIn: boolean;
  /** Absent where there is no token, or one that never expires. */
  readonly tokenSeconds?: number;
}

function connectVault({ vault }: Config, logger: Logger, timings: Timings | undefined): Vaults | undefined {
  if (vault === undefined) return undefined;
  return createVaults(vault, {
    logger,
    ...(timings === undefined ? {} : { onExchange: (ms) => timings.vault(ms) }),
  });
}

/** What runs inside the plugin server. */
export class Runtime implements PluginRuntime {
  readonly logger: Logger;
  readonly clock = systemClock;
  readonly logOnce: LogOnce;
  readonly consumers: ConsumerCache;
  readonly throttle: GuessThrottle;
  readonly requests = createRequestCounts();
  readonly injections = createInjectionCounts();
  readonly shadow = createShadowCounts();
  readonly usage = new UsageRecorder();
  readonly store: CredentialStore;
  readonly vault: Vaults | undefined;
  readonly hasher: KeyHasher;
  readonly #config: Config;
  /** As the peppers in use were read. */
  #pepperConfig: Config;
  /** References that were found to lead to nothing of the server's own, under that configuration. */
  #forwardable = new WeakSet<SecretReference>();
  readonly #stop = new AbortController();
  #verifier: KeyVerifier | undefined;
  #peppers: PepperKeeper | undefined;
  #usageTimer: NodeJS.Timeout | undefined;
  #presence: Presence | undefined;
  /** Resolves when every process has acted upon the changes that were announced so far. */
  actedUpon: () => Promise<void> = () => Promise.resolve();
  #notReady: HkaError = new HkaError('HKA_VAULT_UNAVAILABLE', 'the pepper has not been read from Vault yet');

  /** `vault`: that of a former runtime under the same configuration, with its log-in and all that it has read. */
  static async create(
    config: Config,
    logger: Logger,
    timings?: Timings,
    vault: Vaults | undefined = connectVault(config, logger, timings),
  ): Promise<Runtime> {
    const readSecret: ReadSecret = (reference) => runtime.#field(reference);
    const store = await createStore(config, logger, readSecret, vault, timings);
    const runtime = new Runtime(config, logger, { store, vault, timings });
    return runtime;
  }

  private constructor(
    config: Config,
    logger: Logger,
    parts: {
      readonly store: CredentialStore;
      readonly vault: Vaults | undefined;
      readonly timings: Timings | undefined;
    },
  ) {
    this.#config = config;
    this.#pepperConfig = config;
    this.logger = logger;
    this.logOnce = createLogOnce(logger);
    this.consumers = new ConsumerCache(
      { maxEntries: MAX_CONSUMERS, ttlMs: config.cache.consumerTtlMs },
      this.clock,
    );
    this.throttle = new GuessThrottle(config.throttle, this.clock);
    const { timings } = parts;
    this.vault = parts.vault;
    this.store = parts.store;
    this.hasher = createHasher(config);
    if (timings !== undefined) this.hasher.onComputed = (ms) => timings.argon2(ms);
  }

  /** Throws for what a person has to mend; waits for Vault in the background. */
  async start(): Promise<void> {
    await this.vault?.start();
    await this.store.open();
    this.#usageTimer = setInterval(
      () => void this.#keepUsage(),
      this.#config.usage.flushSeconds * 1000,
    ).unref();
    const { acknowledgements } = this.store;
    if (acknowledgements !== undefined) {
      const { ttlSeconds, maxStaleSeconds } = this.#config.cache;
      const aloneMs = Math.max(ttlSeconds, maxStaleSeconds) * 1000;
      const presence = new Presence(acknowledgements, aloneMs, () => this.actedUpon(), this.logger);
      this.#presence = presence;
      this.store.onChange(() => presence.say());
    }
    if (!peppersNeedVault(this.#config)) {
      this.#usePeppers(await this.#openPeppers());
      return;
    }
    if (!(await this.#tryPeppers(true))) void this.#keepTryingPeppers();
  }

  /** `keepVault`: another runtime goes on with it. */
  async close(keepVault = false): Promise<void> {
    this.#stop.abort();
    clearInterval(this.#usageTimer);
    await this.#keepUsage();
    await this.#presence?.close();
    this.#verifier?.close();
    this.#peppers?.close();
    await this.store.close();
    if (!keepVault) await this.vault?.close();
  }

  /** For metrics: verifications by result; undefined while there is no verifier. */
  verifications(): Record<string, number> | undefined {
    if (this.#verifier === undefined) return undefined;
    const { verified, cacheHits, stale, denied } = this.#verifier.counts;
    return { verified: verified - cacheHits - stale, cached: cacheHits, stale, ...denied };
  }

  /** Why new keys can't be verified at the moment; undefined when they can. Nothing secret. */
  notReady(): string | undefined {
    if (this.#verifier === undefined) return this.#notReady.message;
    const health = this.store.health();
    return health.ok ? undefined : (health.problem ?? 'the store is out of reach');
  }

  /** Age of the oldest upstream secret that is in use; 0 where there is none. */
  oldestSecretSeconds(): number {
    const all = [...(this.vault?.statuses().values() ?? [])].flatMap(({ secrets }) => secrets);
    return Math.max(0, ...all.map(({ ageSeconds = 0 }) => ageSeconds));
  }

  /** Age and state of the secrets in memory, of each configured reference; a consumer's own path is not told. */
  secretStates(): SecretState[] {
    const states = new Map<string, SecretState>();
    const all = [...(this.vault?.statuses().values() ?? [])].flatMap(({ secrets }) => secrets);
    for (const { pattern, ageSeconds = 0, previousInUse = false, error } of all) {
      const known = states.get(pattern) ?? { pattern, ageSeconds: 0, previousInUse: 0, failing: 0 };
      states.set(pattern, {
        pattern,
        ageSeconds: Math.max(known.ageSeconds, ageSeconds),
        previousInUse: known.previousInUse + (previousInUse ? 1 : 0),
        failing: known.failing + (error === undefined ? 0 : 1),
      });
    }
    return [...states.values()];
  }

  /** The log-in of each connection to Vault. */
  vaultStates(): VaultState[] {
    return [...(this.vault?.statuses() ?? [])].map(([connection, { session }]) => ({
      connection,
      isLoggedIn: session.state === 'logged-in',
      ...(session.tokenSeconds === undefined ? {} : { tokenSeconds: session.tokenSeconds }),
    }));
  }

  mayForward(pattern: ReferencePattern): boolean {
    return isApartFromOwn(this.#pepperConfig, pattern);
  }

  isGuessable(key: string): boolean {
    return isGuessable(key, this.#config.keys.prefix);
  }

  keyIdOf(key: string): string | undefined {
    return publicIdOf(key, this.#config.keys.prefix);
  }

  hasConnection(name: string): boolean {
    return this.vault?.hasConnection(name) ?? false;
  }

  get maxBodyBytes(): number {
    return this.#config.server.maxBodyBytes;
  }

  verifier(): KeyVerifier {
    if (this.#verifier === undefined) throw this.#notReady;
    return this.#verifier;
  }

  secret(reference: SecretReference, fields: readonly string[]): SecretData | Promise<SecretData> {
    this.#refuseOwn(reference);
    return this.#connected().secret(reference, fields);
  }

  /** What an instance was allowed when it started may have become a pepper since. */
  #refuseOwn(reference: SecretReference): void {
    if (this.#forwardable.has(reference)) return;
    if (!isApartFromOwn(this.#pepperConfig, new ReferencePattern({ ...reference, field: undefined }))) {
      throw new HkaError(
        'HKA_REFERENCE_INVALID',
        `${reference.text} leads to what the server itself needs, which is never forwarded`,
      );
    }
    this.#forwardable.add(reference);
  }

  async refused(reference: SecretName, generation: number): Promise<Verdict> {
    return this.#connected().refused(reference, generation);
  }

  async #field(reference: FieldReference): Promise<Secret> {
    return await this.#connected().field(reference);
  }

  #connected(): Vaults {
    if (this.vault === undefined) throw new HkaError('HKA_CONFIG_INVALID', 'no vault section is configured');
    return this.vault;
  }

  async #keepUsage(): Promise<void> {
    const uses = this.usage.take();
    if (uses.length === 0 || !this.#config.usage.enabled) return;
    try {
      await this.store.recordUse(uses);
    } catch (error) {
      this.usage.add(uses);
      this.logOnce(
        'usage',
        'warn',
        { err: describeError(error) },
        'when keys were used last can not be kept',
      );
    }
  }

  #pepperDeps(): PepperKeeperDeps {
    const { source } = this.#config.pepper;
    let first = true;
    return {
      load: async () => {
        // The configuration that this runtime was made with may not be the one in the file.
        const config = first || source !== undefined ? this.#config : withCurrentPeppers(this.#config);
        const ring = await loadPeppers(config, this.vault);
        first = false;
        this.#pepperConfig = config;
        this.#forwardable = new WeakSet();
        return ring;
      },
      store: this.store,
      logger: this.logger,
      clock: this.clock,
      pollMs: source === undefined ? undefined : source.pollSeconds * 1000,
    };
  }

  /** Throws at the start what waiting won't mend. */
  async #tryPeppers(starting: boolean): Promise<boolean> {
    try {
      this.#usePeppers(await this.#openPeppers());
      return true;
    } catch (error) {
      const fault = error instanceof HkaError ? error : undefined;
      if (starting && (fault?.code === 'HKA_PEPPER_MISMATCH' || fault?.code === 'HKA_PEPPER_WEAK'))
        throw error;
      this.#notReady = fault ?? new HkaError('HKA_INTERNAL', 'the pepper cannot be read', { cause: error });
      this.logOnce(
        `pepper ${this.#notReady.code}`,
        'error',
        { err: describeError(error) },
        'the pepper from Vault cannot be used; every key is answered 503 until it can',
      );
      return false;
    }
  }

  async #keepTryingPeppers(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await delay(PEPPER_RETRY_MS, undefined, { ref: false });
      if (this.#stop.signal.aborted || (await this.#tryPeppers(false))) return;
    }
  }

  /** Undefined when the runtime was closed meanwhile: nobody would end a keeper that polls a closed Vault. */
  async #openPeppers(): Promise<PepperKeeper | undefined> {
    const peppers = await PepperKeeper.open(this.#pepperDeps());
    if (!this.#stop.signal.aborted) return peppers;
    peppers.close();
    return undefined;
  }

  #usePeppers(peppers: PepperKeeper | undefined): void {
    if (peppers === undefined) return;
    this.#peppers = peppers;
    const { keys, argon2 } = this.#config;
    this.#verifier = new KeyVerifier(
      {
        prefix: keys.prefix,
        rehash: argon2.rehash,
        cache: cacheOptionsOf(this.#config),
      },
      { store: this.store, peppers, hasher: this.hasher, logger: this.logger, clock: this.clock },
    );
    const { ids, current } = peppers.ring;
    this.logger.info({ peppers: ids, current: current.id }, 'pepper read');
  }
}
