/** The parts of an installation that checks look at: each opened once, when first asked for. Closed at the end. */
import type { PepperRing } from '../keys/pepper.ts';
import { readPrivateFile } from '../lib/atomic-file.ts';
import { HkaError } from '../lib/errors.ts';
import { silentLogger } from '../lib/logger.ts';
import { findConfigFile, loadConfig, type Config } from '../runtime/config.ts';
import { Secret } from '../lib/secret.ts';
import { KongPeer } from '../migrate/kong-peer.ts';
import { loadPeppers, peppersNeedVault } from '../runtime/peppers.ts';
import { createStore, storeNeedsVault } from '../runtime/stores.ts';
import type { CredentialStore } from '../store/store.ts';
import { assertLoginIsRepeatable } from '../vault/connections.ts';
import { createVaults, type Vaults } from '../vault/vaults.ts';

/** Beyond the deadline of an event. */
const PEER_TIMEOUT_MS = 10_000;

export interface DoctorOptions {
  /** Whether a plugin server is meant to run on this machine. */
  readonly expectsServer: boolean;
  readonly kongConf: string | undefined;
  /** A file with a key that is said to be good. */
  readonly keyFile: string | undefined;
  readonly configFile: string | undefined;
  /** Files that are said to be back-ups of peppers. */
  readonly pepperBackups: readonly string[];
}

export class DoctorContext {
  readonly pepperBackups: readonly string[];
  readonly expectsServer: boolean;
  readonly kongConf: string | undefined;
  readonly #keyFile: string | undefined;
  readonly #configFile: string | undefined;
  #config: Config | undefined;
  #vault: Vaults | undefined;
  #store: Promise<CredentialStore> | undefined;
  #peppers: Promise<PepperRing> | undefined;
  #peer: KongPeer | undefined;

  constructor(options: DoctorOptions) {
    this.#configFile = options.configFile;
    this.#keyFile = options.keyFile;
    this.pepperBackups = options.pepperBackups;
    this.expectsServer = options.expectsServer;
    this.kongConf = options.kongConf;
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
    assertLoginIsRepeatable(vault);
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

  readonly storeAndPeppers = async (): Promise<{ store: CredentialStore; peppers: PepperRing }> => ({
    store: await this.store(),
    peppers: await this.peppers(),
  });

  /** Speaks to the running server as Kong does. */
  kongPeer(): KongPeer {
    this.#peer ??= new KongPeer(this.config().server.socket, PEER_TIMEOUT_MS);
    return this.#peer;
  }

  /** Undefined where none was given. Throws HKA_USAGE. */
  readKey(): Secret | undefined {
    if (this.#keyFile === undefined) return undefined;
    const lines = readPrivateFile(this.#keyFile, '--key-file', 'HKA_USAGE')
      .split(/\r?\n/)
      .filter((line) => line !== '');
    const [key] = lines;
    if (key !== undefined && lines.length === 1) return new Secret(key);
    throw new HkaError('HKA_USAGE', `--key-file has ${lines.length} lines; one key on one line is allowed`);
  }

  async close(): Promise<void> {
    this.#peer?.close();
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
