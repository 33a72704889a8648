/**
 * A runtime that can be replaced while requests run: SIGHUP rereads the configuration. A new configuration that does not
 * work changes nothing. Plugin instances keep this object and see the new parts at their next request.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { KeyVerifier } from '../keys/verifier.ts';
import { systemClock } from '../lib/clock.ts';
import { errnoOf, HkaError } from '../lib/errors.ts';
import { createLogOnce, describeError, type Logger, type LogOnce } from '../lib/logger.ts';
import type { ConsumerCache } from '../plugin/consumers.ts';
import type { PluginRuntime } from '../plugin/runtime.ts';
import { createInjectionCounts, createRequestCounts, createShadowCounts } from '../plugin/request-counts.ts';
import type { GuessThrottle } from '../plugin/throttle.ts';
import type { UsageRecorder } from '../plugin/usage.ts';
import type { StoreChange } from '../store/store.ts';
import { connectionsOf } from '../vault/connections.ts';
import type { Verdict } from '../vault/previous-value.ts';
import type { ReferencePattern, SecretName, SecretReference } from '../vault/reference.ts';
import type { SecretData } from '../vault/secret-data.ts';
import type { Config } from './config.ts';
import { Runtime, type SecretState, type Timings, type VaultState } from './runtime.ts';

/** Former runtimes that may still be finishing their requests: each has memory, and connections to the store, of its own. */
const MAX_RETIRING = 2;

export class ReloadableRuntime implements PluginRuntime {
  readonly logger: Logger;
  readonly clock = systemClock;
  readonly logOnce: LogOnce;
  readonly requests = createRequestCounts();
  readonly injections = createInjectionCounts();
  readonly shadow = createShadowCounts();
  readonly #listeners = new Set<(change: StoreChange) => void>();
  readonly #timings: Timings | undefined;
  #config: Config;
  #current: Runtime;
  /** What the connections to Vault were made from. */
  #vaultKey: string;
  #stopListening: () => void;
  /** Of former parts that requests may still use. Each resolves when one is closed. */
  readonly #retiring = new Set<Promise<void>>();
  /** Ends the time that they are given. */
  readonly #ending = new AbortController();
  #closed = false;

  static async create(config: Config, logger: Logger, timings?: Timings): Promise<ReloadableRuntime> {
    return new ReloadableRuntime(config, logger, await Runtime.create(config, logger, timings), timings);
  }

  private constructor(config: Config, logger: Logger, runtime: Runtime, timings: Timings | undefined) {
    this.logger = logger;
    this.logOnce = createLogOnce(logger);
    this.#config = config;
    this.#timings = timings;
    this.#current = runtime;
    this.#vaultKey = vaultIdentity(config);
    this.#stopListening = this.#current.store.onChange((change) => this.#announce(change));
  }

  /** Calls `listener` after each change of the store in use. Returns what ends that. */
  onChange(listener: (change: StoreChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What resolves when the other processes have acted upon the changes that were announced so far. */
  set actedUpon(actedUpon: () => Promise<void>) {
    this.#current.actedUpon = actedUpon;
  }

  start(): Promise<void> {
    return this.#current.start();
  }

  /**
   * Throws what is wrong with `config`; then everything is as before. Waits while too many former runtimes are still finishing.
   * Not to be called again before it is done.
   */
  async reload(config: Config): Promise<void> {
    while (this.#retiring.size >= MAX_RETIRING) await Promise.race(this.#retiring);
    const old = this.#current;
    const vaultKey = vaultIdentity(config);
    const keepVault = old.vault !== undefined && vaultKey === this.#vaultKey;
    const next = await Runtime.create(config, this.logger, this.#timings, keepVault ? old.vault : undefined);
    next.actedUpon = old.actedUpon;
    try {
      await next.start();
      refuseWorse(old, next);
      // Nobody would close it any more.
      if (this.#closed) throw new HkaError('HKA_DRAINING', 'it is ending');
    } catch (error) {
      await next.close(keepVault);
      throw error;
    }
    const fixed = ({ server, log, metrics }: Config): string => JSON.stringify([server, log, metrics]);
    if (fixed(config) !== fixed(this.#config)) {
      this.logger.warn({}, 'changes under `server`, `metrics` and `log` take effect at the next start');
    }
    this.#current = next;
    this.#config = config;
    this.#vaultKey = vaultKey;
    this.#stopListening();
    this.#stopListening = next.store.onChange((change) => this.#announce(change));
    this.#announce({ kind: 'all' });
    const retired = this.#retire(old, keepVault).finally(() => this.#retiring.delete(retired));
    this.#retiring.add(retired);
  }

  async close(): Promise<void> {
    this.#closed = true;
    // What is not closed has not signed off either, and would be waited for as a gateway that was killed.
    this.#ending.abort();
    await Promise.all(this.#retiring);
    await this.#current.close();
  }

  get consumers(): ConsumerCache {
    return this.#current.consumers;
  }

  get usage(): UsageRecorder {
    return this.#current.usage;
  }

  get throttle(): GuessThrottle {
    return this.#current.throttle;
  }

  notReady(): string | undefined {
    return this.#current.notReady();
  }

  oldestSecretSeconds(): number {
    return this.#current.oldestSecretSeconds();
  }

  secretStates(): SecretState[] {
    return this.#current.secretStates();
  }

  vaultStates(): VaultState[] {
    return this.#current.vaultStates();
  }

  verifications(): Record<string, number> | undefined {
    return this.#current.verifications();
  }

  argon2(): { computed: number; refused: number; running: number; waiting: number } {
    const { calls, queue } = this.#current.hasher;
    return { computed: calls, refused: queue.refused, running: queue.running, waiting: queue.waiting };
  }

  mayForward(pattern: ReferencePattern): boolean {
    return this.#current.mayForward(pattern);
  }

  isGuessable(key: string): boolean {
    return this.#current.isGuessable(key);
  }

  keyIdOf(key: string): string | undefined {
    return this.#current.keyIdOf(key);
  }

  get maxBodyBytes(): number {
    return this.#current.maxBodyBytes;
  }

  hasConnection(name: string): boolean {
    return this.#current.hasConnection(name);
  }

  verifier(): KeyVerifier {
    return this.#current.verifier();
  }

  secret(reference: SecretReference, fields: readonly string[]): SecretData | Promise<SecretData> {
    return this.#current.secret(reference, fields);
  }

  refused(reference: SecretName, generation: number): Promise<Verdict> {
    return this.#current.refused(reference, generation);
  }

  #announce(change: StoreChange): void {
    for (const listener of this.#listeners) listener(change);
  }

  /** Requests that began with the old parts finish with them: this comes after their deadline, or at the end. */
  async #retire(old: Runtime, keepVault: boolean): Promise<void> {
    const { signal } = this.#ending;
    await delay(this.#config.server.eventDeadlineMs, undefined, { ref: false, signal }).catch(
      () => undefined,
    );
    try {
      await old.close(keepVault);
    } catch (error) {
      this.logger.warn({ err: describeError(error) }, 'the former configuration was not closed cleanly');
    }
  }
}

/** While Vault is away, a reload would throw away a pepper that is in memory: nobody could get in. */
function refuseWorse(old: Runtime, next: Runtime): void {
  const problem = next.notReady();
  if (problem === undefined || old.notReady() !== undefined) return;
  throw new HkaError(
    'HKA_VAULT_UNAVAILABLE',
    `with this configuration no key could be verified at the moment (${problem})`,
  );
}

/** Alike for the same section with the same CA files: then log-in, leases and secrets in memory can be kept. */
function vaultIdentity({ vault }: Config): string {
  if (vault === undefined) return '';
  const files = [...connectionsOf(vault).values()].flatMap(({ caFile }) =>
    caFile === undefined ? [] : [caFile],
  );
  return JSON.stringify([vault, ...files.map(digestOf)]);
}

function digestOf(file: string): string {
  try {
    return createHash('sha256').update(readFileSync(file)).digest('hex');
  } catch (error) {
    return errnoOf(error) ?? 'unreadable';
  }
}
