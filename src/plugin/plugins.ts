/** All plugins that are served, by one server on one socket. Kong finds each by a plugin server definition of its own. */
import { createShadows } from './hashed-key-auth-shadow.ts';
import { createHashedKeyAuth } from './hashed-key-auth.ts';
import type { PluginDefinition } from './kong.ts';
import type { PluginRuntime } from './runtime.ts';
import { createVaultUpstreamSecrets } from './vault-upstream-secrets.ts';
import { createVaultUpstreamWatch } from './vault-upstream-watch.ts';

export function createPlugins(runtime: PluginRuntime): PluginDefinition[] {
  return [
    createHashedKeyAuth(runtime),
    createVaultUpstreamSecrets(runtime),
    createVaultUpstreamWatch(runtime),
    ...createShadows(runtime),
  ];
}
