/** The connections to Vault by their names: `default` is the `vault` section itself, the others are those under it. */
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
