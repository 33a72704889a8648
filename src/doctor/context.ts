/** The parts of an installation that checks look at: each opened once, when first asked for. Closed at the end. */
import type { PepperRing } from '../keys/pepper.ts';
import { HkaError } from '../lib/errors.ts';
import { silentLogger } from '../lib/logger.ts';
import { findConfigFile, loadConfig, type Config } from '../runtime/config.ts';
import { loadPeppers } from '../runtime/peppers.ts';
import { createStore } from '../runtime/stores.ts';
import type { CredentialStore } from '../store/store.ts';
import { createVault, type Vault } from '../vault/vault.ts';

export interface DoctorOptions {
  readonly configFile: string | undefined;
  /** Files that are said to be back-ups of peppers. */
  readonly pepperBackups: readonly string[];
}

export class DoctorContext {
  readonly pepperBackups: readonly string[];
  readonly #configFile: string | undefined;
  #config: Config | undefined;
  #vault: Vault | undefined;
  #store: Promise<CredentialStore> | undefined;
  #peppers: Promise<PepperRing> | undefined;

  constructor({ configFile, pepperBackups }: DoctorOptions) {
    this.#configFile = configFile;
    this.pepperBackups = pepperBackups;
  }

  /** Throws HKA_CONFIG_INVALID. */
  config(): Config {
    this.#config ??= loadConfig(findConfigFile(this.#configFile));
    return this.#config;
  }

  /** Started; undefined where none is configured. */
  async vault(): Promise<Vault | undefined> {
    const config = this.config();
    if (config.vault === undefined) return undefined;
    this.#vault ??= createVault(config.vault, { logger: silentLogger });
    await this.#vault.start();
    return this.#vault;
  }

  /** Open. */
  store(): Promise<CredentialStore> {
    this.#store ??= this.#openStore();
    return this.#store;
  }

  peppers(): Promise<PepperRing> {
    this.#peppers ??= this.vault().then((vault) => loadPeppers(this.config(), vault));
    return this.#peppers;
  }

  async close(): Promise<void> {
    const store = await this.#store?.catch(() => undefined);
    await store?.close();
    await this.#vault?.close();
  }

  async #openStore(): Promise<CredentialStore> {
    const vault = await this.vault();
    const store = createStore(
      this.config(),
      silentLogger,
      (reference) => {
        if (vault !== undefined) return vault.secret(reference);
        throw new HkaError('HKA_CONFIG_INVALID', 'no vault section is configured');
      },
      vault,
    );
    await store.open();
    return store;
  }
}
