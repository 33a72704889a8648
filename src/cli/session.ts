/** What most commands need: the configuration, the store, the peppers, a hasher. Opened when asked for, closed at the end. */
import { availableParallelism } from 'node:os';
import { KeyHasher } from '../keys/hasher.ts';
import type { PepperRing } from '../keys/pepper.ts';
import { HkaError } from '../lib/errors.ts';
import { createLogger, type Logger } from '../lib/logger.ts';
import type { Secret } from '../lib/secret.ts';
import { findConfigFile, loadConfig, type Config } from '../runtime/config.ts';
import { loadPeppers, peppersNeedVault } from '../runtime/peppers.ts';
import { createSqlEngine, createStore, storeNeedsVault } from '../runtime/stores.ts';
import type { SqlEngine } from '../store/sql/engine.ts';
import type { CredentialStore } from '../store/store.ts';
import type { SecretReference } from '../vault/reference.ts';
import { createVault, type Vault } from '../vault/vault.ts';

export class CliSession {
  readonly config: Config;
  readonly logger: Logger;
  readonly hasher: KeyHasher;
  #store: CredentialStore | undefined;
  #vault: Vault | undefined;

  constructor(configFile: string | undefined) {
    this.config = loadConfig(findConfigFile(configFile));
    // A command's result is its output; only what is wrong is worth a log line.
    this.logger = createLogger(this.config.log.level === 'debug' ? 'debug' : 'warn');
    const { memoryKib, time, parallelism } = this.config.argon2;
    // Commands are not in front of traffic: all cores, and nothing is refused for waiting.
    this.hasher = new KeyHasher(
      { memoryKib, time, parallelism },
      { concurrency: availableParallelism(), maxWaiting: 1_000_000, maxWaitMs: 2_000_000_000 },
    );
  }

  async store(): Promise<CredentialStore> {
    if (this.#store === undefined) {
      if (storeNeedsVault(this.config)) await this.#startVault();
      const store = createStore(this.config, this.logger, (reference) => this.#secret(reference));
      await store.open();
      this.#store = store;
    }
    return this.#store;
  }

  /** For commands about the database itself. `create`: makes SQLite's file when there is none. */
  async sqlEngine(create: boolean): Promise<SqlEngine> {
    if (storeNeedsVault(this.config)) await this.#startVault();
    return createSqlEngine(this.config, this.logger, (reference) => this.#secret(reference), create);
  }

  async peppers(): Promise<PepperRing> {
    if (peppersNeedVault(this.config)) await this.#startVault();
    return loadPeppers(this.config, this.#vault);
  }

  async #startVault(): Promise<void> {
    if (this.#vault !== undefined || this.config.vault === undefined) return;
    this.#vault = createVault(this.config.vault, { logger: this.logger });
    await this.#vault.start();
  }

  #secret(reference: SecretReference): Secret | Promise<Secret> {
    if (this.#vault === undefined) throw new HkaError('HKA_CONFIG_INVALID', 'no vault section is configured');
    return this.#vault.secret(reference);
  }

  async close(): Promise<void> {
    await this.#store?.close();
    await this.#vault?.close();
  }
}
