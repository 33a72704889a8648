/** What most commands need: the configuration, the store, the peppers, a hasher. Opened when asked for, closed at the end. */
import { availableParallelism } from 'node:os';
import { KeyHasher } from '../keys/hasher.ts';
import type { PepperRing } from '../keys/pepper.ts';
import { createLogger, type Logger } from '../lib/logger.ts';
import { findConfigFile, loadConfig, type Config } from '../runtime/config.ts';
import { loadPeppers, peppersNeedVault } from '../runtime/peppers.ts';
import { createStore } from '../runtime/runtime.ts';
import type { CredentialStore } from '../store/store.ts';
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
      const store = createStore(this.config, this.logger);
      await store.open();
      this.#store = store;
    }
    return this.#store;
  }

  async peppers(): Promise<PepperRing> {
    if (peppersNeedVault(this.config) && this.#vault === undefined && this.config.vault !== undefined) {
      this.#vault = createVault(this.config.vault, { logger: this.logger });
      await this.#vault.start();
    }
    return loadPeppers(this.config, this.#vault);
  }

  async close(): Promise<void> {
    await this.#store?.close();
    await this.#vault?.close();
  }
}
