/** The parts of an installation that checks look at: each opened once, when first asked for. Closed at the end. */
import type { PepperRing } from '../keys/pepper.ts';
import { HkaError } from '../lib/errors.ts';
import { silentLogger } from '../lib/logger.ts';
import { findConfigFile, loadConfig, type Config } from '../runtime/config.ts';
import { loadPeppers, peppersNeedVault } from '../runtime/peppers.ts';
import { createStore, storeNeedsVault } from '../runtime/stores.ts';
import type { CredentialStore } from '../store/store.ts';
import { connectionsOf } from '../vault/connections.ts';
import { createVaults, type Vaults } from '../vault/vaults.ts';

export interface DoctorOptions {
  readonly configFile: string | undefined;
  /** Files that are said to be back-ups of peppers. */
  readonly pepperBackups: readonly string[];
}

export class DoctorContext {
  readonly pepperBackups: readonly string[];
  readonly #configFile: string | undefined;
  #config: Config | undefined;
  #vault: Vaults | undefined;
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

  /** Not started; undefined where none is configured. */
  vaults(): Vaults | undefined {
    const { vault } = this.config();
    if (vault !== undefined) this.#vault ??= createVaults(vault, { logger: silentLogger });
    return this.#vault;
  }

  /** Started. Throws HKA_USAGE where a log-in would use up credentials: those are the server's. */
  async startedVaults(): Promise<Vaults | undefined> {
    const { vault } = this.config();
    if (vault === undefined) return undefined;
    for (const { auth } of connectionsOf(vault).values()) {
      if (auth.method === 'approle' && auth.secretIdWrapped === true) {
        throw new HkaError(
          'HKA_USAGE',
          'a log-in would use up the wrapped secret id, which is for the server',
        );
      }
    }
    const vaults = this.vaults();
    await vaults?.start();
    return vaults;
  }

  /** Open. */
  store(): Promise<CredentialStore> {
    this.#store ??= this.#openStore();
    return this.#store;
  }

  peppers(): Promise<PepperRing> {
    this.#peppers ??= this.#readPeppers();
    return this.#peppers;
  }

  async close(): Promise<void> {
    const store = await this.#store?.catch(() => undefined);
    await store?.close();
    await this.#vault?.close();
  }

  async #readPeppers(): Promise<PepperRing> {
    const config = this.config();
    return loadPeppers(config, peppersNeedVault(config) ? await this.startedVaults() : undefined);
  }

  async #openStore(): Promise<CredentialStore> {
    const vault = storeNeedsVault(this.config()) ? await this.startedVaults() : undefined;
    const store = await createStore(
      this.config(),
      silentLogger,
      async (reference) => {
        if (vault !== undefined) return vault.field(reference);
        throw new HkaError('HKA_CONFIG_INVALID', 'no vault section is configured');
      },
      vault,
    );
    await store.open();
    return store;
  }
}
