/** What most commands need: the configuration, the store, the peppers, a hasher. Opened when asked for, closed at the end. */
import { availableParallelism, hostname, userInfo } from 'node:os';
import { AuditLog, type Actor } from '../admin/audit-log.ts';
import { CredentialService } from '../admin/credential-service.ts';
import { GatewayWait } from '../admin/wait.ts';
import { verifyKey, type VerificationView } from '../admin/verify-key.ts';
import { KeyHasher } from '../keys/hasher.ts';
import type { PepperRing } from '../keys/pepper.ts';
import { systemClock } from '../lib/clock.ts';
import { HkaError } from '../lib/errors.ts';
import { createLogger, describeError, type Logger } from '../lib/logger.ts';
import type { Secret } from '../lib/secret.ts';
import { findConfigFile, loadConfig, type Config, type ConfigLeeway } from '../runtime/config.ts';
import { loadPeppers, peppersNeedVault, withCurrentPeppers } from '../runtime/peppers.ts';
import { kongConsumers } from '../admin/consumers.ts';
import { LocalCredentials, type Credentials, type CredentialSession } from './credentials.ts';
import { createSqlEngine, createStore, storeNeedsVault } from '../runtime/stores.ts';
import type { CredentialRecord } from '../store/record.ts';
import type { SqlEngine } from '../store/sql/engine.ts';
import type { CredentialStore } from '../store/store.ts';
import type { FieldReference } from '../vault/reference.ts';
import type { Vault, VaultConfig } from '../vault/vault.ts';
import { createVaults } from '../vault/vaults.ts';

/** A migration may have to build an index over a million rows. */
const MIGRATION_TIMEOUT_MS = 600_000;
/** Of the peppers, before they are read again. */
const REMEMBERED_MS = 5000;

export class CliSession implements CredentialSession {
  readonly config: Config;
  readonly logger: Logger;
  readonly hasher: KeyHasher;
  #store: CredentialStore | undefined;
  #vault: Vault | undefined;
  #starting: Promise<void> | undefined;
  #peppers: { ring: Promise<PepperRing>; readonly at: number } | undefined;

  /** `parts`: in place of those for a command that ends by itself. */
  constructor(
    configFile: string | undefined,
    parts: { readonly logger?: Logger; readonly hasher?: KeyHasher } & ConfigLeeway = {},
  ) {
    this.config = loadConfig(findConfigFile(configFile), parts);
    // A command's result is its output; only what is wrong is worth a log line.
    this.logger = parts.logger ?? createLogger(this.config.log.level === 'debug' ? 'debug' : 'warn');
    const { memoryKib, time, parallelism } = this.config.argon2;
    // Commands are not in front of traffic: all cores, and nothing is refused for waiting.
    this.hasher =
      parts.hasher ??
      new KeyHasher(
        { memoryKib, time, parallelism },
        { concurrency: availableParallelism(), maxWaiting: 1_000_000, maxWaitMs: 2_000_000_000 },
      );
  }

  async store(): Promise<CredentialStore> {
    if (this.#store === undefined) {
      if (storeNeedsVault(this.config)) await this.#startVault();
      const secret = (reference: FieldReference): Promise<Secret> => this.#secret(reference);
      const store = await createStore(this.config, this.logger, secret, this.#vault);
      await store.open();
      this.#store = store;
    }
    return this.#store;
  }

  /** For commands about the database itself. `create`: makes SQLite's file when there is none. */
  async sqlEngine(create: boolean): Promise<SqlEngine> {
    if (storeNeedsVault(this.config)) await this.#startVault();
    return createSqlEngine(this.config, this.logger, (reference) => this.#secret(reference), {
      create,
      minTimeoutMs: MIGRATION_TIMEOUT_MS,
    });
  }

  /** As they are by now. */
  async peppers(): Promise<PepperRing> {
    if (peppersNeedVault(this.config)) await this.#startVault();
    const config = this.config.pepper.source === undefined ? withCurrentPeppers(this.config) : this.config;
    return loadPeppers(config, this.#vault);
  }

  /**
   * Read once in a while: a service that runs for months has to learn of a rotation. A failure is not remembered, since
   * Vault may be back at the next call; what was read before stays in use meanwhile.
   */
  rememberedPeppers(): Promise<PepperRing> {
    const known = this.#peppers;
    if (known !== undefined && performance.now() - known.at < REMEMBERED_MS) return known.ring;
    const ring = this.peppers();
    const read = { ring, at: performance.now() };
    this.#peppers = read;
    if (known === undefined) {
      ring.catch(() => {
        if (this.#peppers === read) this.#peppers = undefined;
      });
      return ring;
    }
    read.ring = ring.catch((error: unknown) => {
      this.logger.warn(
        { err: describeError(error) },
        'the pepper can not be read again; the known one stays',
      );
      return known.ring;
    });
    return read.ring;
  }

  /** As they are by now, for what is remembered too. Rejects where they can't be read; what was read before stays in use. */
  async refreshedPeppers(): Promise<PepperRing> {
    const ring = await this.peppers();
    this.#peppers = { ring: Promise.resolve(ring), at: performance.now() };
    return ring;
  }

  /** Started, where one is configured. */
  async vault(): Promise<Vault | undefined> {
    await this.#startVault();
    return this.#vault;
  }

  async service(): Promise<CredentialService> {
    const audit = this.auditLog();
    return new CredentialService({
      store: await this.store(),
      peppers: () => this.rememberedPeppers(),
      hasher: this.hasher,
      prefix: this.config.keys.prefix,
      clock: systemClock,
      audit,
      logger: this.logger,
    });
  }

  async credentials(): Promise<Credentials> {
    const [store, service] = [await this.store(), await this.service()];
    return new LocalCredentials({
      service,
      gateways: new GatewayWait(store),
      actor: this.actor,
      prefix: this.config.keys.prefix,
      verify: (key) => this.verify(key),
      ...(this.config.kong === undefined ? {} : { consumers: kongConsumers(this.config.kong) }),
    });
  }

  async verify(key: string, within?: (record: CredentialRecord) => boolean): Promise<VerificationView> {
    const deps = { store: await this.store(), peppers: await this.rememberedPeppers() };
    const parts = { ...deps, hasher: this.hasher, logger: this.logger };
    return verifyKey(key, this.config.keys.prefix, parts, within);
  }

  auditLog(): AuditLog {
    return new AuditLog(this.config.audit.path, () => this.rememberedPeppers(), systemClock);
  }

  /** Who runs the command. */
  get actor(): Actor {
    return { name: `cli:${userInfo().username}`, from: hostname() };
  }

  /** Once for all who ask. A failure is not remembered: the file that was missing may be there at the next call. */
  async #startVault(): Promise<void> {
    const { vault: config } = this.config;
    if (config === undefined) return;
    this.#starting ??= this.#start(config).catch((error: unknown) => {
      this.#starting = undefined;
      throw error;
    });
    await this.#starting;
  }

  /** Again on the same parts: connections that did start stay as they are. */
  async #start(config: VaultConfig): Promise<void> {
    this.#vault ??= createVaults(config, { logger: this.logger });
    await this.#vault.start();
  }

  async #secret(reference: FieldReference): Promise<Secret> {
    if (this.#vault === undefined) throw new HkaError('HKA_CONFIG_INVALID', 'no vault section is configured');
    return await this.#vault.field(reference);
  }

  async close(): Promise<void> {
    // What is being started must not be left running.
    await this.#starting?.catch(() => undefined);
    await this.#store?.close();
    await this.#vault?.close();
  }
}
