/** The connections to Vault by their names: `default` is the `vault` section itself, the others are those under it. */
import { HkaError } from '../lib/errors.ts';
import { DEFAULT_CONNECTION } from './reference.ts';
import type { VaultConfig } from './vault.ts';

/** Never empty; `default` comes first, the others follow in the order of the configuration. */
export function connectionsOf(vault: VaultConfig): ReadonlyMap<string, VaultConfig> {
  const { connections = [], ...own } = vault;
  return new Map<string, VaultConfig>([
    [DEFAULT_CONNECTION, own],
    ...connections.map(({ name, ...connection }): [string, VaultConfig] => [name, connection]),
  ]);
}

/** For whoever is not the server. Throws HKA_USAGE where a log-in would use up credentials: those are the server's. */
export function assertLoginIsRepeatable(vault: VaultConfig): void {
  for (const { auth } of connectionsOf(vault).values()) {
    if (auth.method === 'approle' && auth.secretIdWrapped === true) {
      throw new HkaError('HKA_USAGE', 'a log-in would use up the wrapped secret id, which is for the server');
    }
  }
}
