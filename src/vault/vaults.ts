/** All connections to Vault as one: a reference says which of them leads to its secret. */
import { HkaError } from '../lib/errors.ts';
import type { Secret } from '../lib/secret.ts';
import { connectionsOf } from './connections.ts';
import type { Mount } from './mounts.ts';
import type { RecordsPlace, VaultRecords } from './kv-records.ts';
import type { Verdict } from './previous-value.ts';
import {
  DEFAULT_CONNECTION,
  type FieldReference,
  type SecretName,
  type SecretReference,
} from './reference.ts';
import type { SecretData } from './secret-data.ts';
import type { TransitPlace, VaultTransit } from './transit.ts';
import {
  createVault,
  type Vault,
  type VaultConfig,
  type VaultDependencies,
  type VaultStatus,
} from './vault.ts';

export interface Vaults extends Vault {
  /** As `ownCapabilities`, of the token of one connection. */
  capabilities(connection: string, paths: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>;
  hasConnection(name: string): boolean;
  /** As `check`, for one connection; no other is started. Rejects with HKA_REFERENCE_INVALID for one that there is not. */
  checkConnection(name: string): Promise<string>;
  /** By the names of the connections. */
  statuses(): ReadonlyMap<string, VaultStatus>;
}

/** Does nothing yet; `start` does. Each connection has a log-in, a cache and a breaker of its own. */
export function createVaults(config: VaultConfig, deps: VaultDependencies): Vaults {
  const connections = new Map<string, Vault>();
  for (const [name, connection] of connectionsOf(config)) {
    const { logger } = deps;
    const fields = name === DEFAULT_CONNECTION ? {} : { connection: name };
    connections.set(
      name,
      createVault(connection, {
        ...deps,
        logger: {
          debug: (own, message) => logger.debug({ ...fields, ...own }, message),
          info: (own, message) => logger.info({ ...fields, ...own }, message),
          warn: (own, message) => logger.warn({ ...fields, ...own }, message),
          error: (own, message) => logger.error({ ...fields, ...own }, message),
        },
      }),
    );
  }
  return new ConnectedVaults(connections);
}

class ConnectedVaults implements Vaults {
  readonly #connections: ReadonlyMap<string, Vault>;

  constructor(connections: ReadonlyMap<string, Vault>) {
    this.#connections = connections;
  }

  async start(): Promise<void> {
    for (const [name, vault] of this.#connections) await naming(name, () => vault.start());
  }

  async check(): Promise<string> {
    const found: string[] = [];
    for (const name of this.#connections.keys()) {
      const said = await naming(name, () => this.checkConnection(name));
      found.push(name === DEFAULT_CONNECTION ? said : `${name}: ${said}`);
    }
    return found.join('; ');
  }

  checkConnection(name: string): Promise<string> {
    return this.#get(name).check();
  }

  /** Of the connection that credentials and pepper need most often; the others are waited for when they are used. */
  ready(): Promise<void> {
    return this.#get(DEFAULT_CONNECTION).ready();
  }

  hasConnection(name: string): boolean {
    return this.#connections.has(name);
  }

  secret(reference: SecretReference, fields?: readonly string[]): SecretData | Promise<SecretData> {
    return this.#get(reference.connection).secret(reference, fields);
  }

  async field(reference: FieldReference): Promise<Secret> {
    const vault = this.#get(reference.connection);
    // Commands that need one secret start the connection that leads to it, and no other.
    await vault.start();
    return await vault.field(reference);
  }

  async mount(reference: SecretReference): Promise<Mount> {
    const vault = this.#get(reference.connection);
    await vault.start();
    return await vault.mount(reference);
  }

  refused(reference: SecretName, generation: number): Verdict {
    return this.#get(reference.connection).refused(reference, generation);
  }

  records(place: RecordsPlace): VaultRecords {
    return this.#get(place.connection ?? DEFAULT_CONNECTION).records(place);
  }

  transit(place: TransitPlace): VaultTransit {
    return this.#get(DEFAULT_CONNECTION).transit(place);
  }

  serverTime(): Promise<number | undefined> {
    return this.#get(DEFAULT_CONNECTION).serverTime();
  }

  ownCapabilities(paths: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
    return this.capabilities(DEFAULT_CONNECTION, paths);
  }

  async capabilities(
    connection: string,
    paths: readonly string[],
  ): Promise<ReadonlyMap<string, readonly string[]>> {
    const vault = this.#get(connection);
    await vault.start();
    return await vault.ownCapabilities(paths);
  }

  status(): VaultStatus {
    return this.#get(DEFAULT_CONNECTION).status();
  }

  statuses(): ReadonlyMap<string, VaultStatus> {
    return new Map([...this.#connections].map(([name, vault]) => [name, vault.status()]));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#connections.values()].map((vault) => vault.close()));
  }

  #get(name: string): Vault {
    const vault = this.#connections.get(name);
    if (vault !== undefined) return vault;
    throw new HkaError(
      'HKA_REFERENCE_INVALID',
      `no connection to Vault is named ${name}: it is not under vault.connections of the configuration`,
    );
  }
}

async function naming<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof HkaError) || name === DEFAULT_CONNECTION) throw error;
    throw new HkaError(error.code, `connection ${name}: ${error.message}`, { details: error.details });
  }
}
