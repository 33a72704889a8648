/**
 * The plugin that sees how upstreams answer, for `retry_previous_on`. Kong asks plugins about answers in the log phase, after
 * the client has its own; a plugin with the phase `response` would make Kong hold back every answer of the route until it
 * is complete. A plugin's phases are the same on all routes, so this is a plugin of its own: only routes that have it pay.
 *
 * Invariant: only an answer of the upstream itself says something about a secret; a 401 of Kong's own plugins says nothing.
 */
import { kongPlugins } from '../generated/kong-schema.ts';
import { described } from './described.ts';
import { describeError } from '../lib/logger.ts';
import { checkWatchConfig } from './config.ts';
import type { Kong, PluginDefinition, PluginInstance } from './kong.ts';
import type { PluginRuntime } from './runtime.ts';
import { decodeUsed } from './used-secrets.ts';

const PLUGIN = kongPlugins['vault-upstream-watch'];

/** Under which names the other plugins say what a request has used. */
const USERS = [kongPlugins['hashed-key-auth'].name, kongPlugins['vault-upstream-secrets'].name];
const FROM_UPSTREAM = 'service';
const LEAST_STATUS = 400;

export function createVaultUpstreamWatch(runtime: PluginRuntime): PluginDefinition {
  return {
    ...described(PLUGIN),
    start: (config) => {
      checkWatchConfig(config);
      return new VaultUpstreamWatch(runtime);
    },
  };
}

class VaultUpstreamWatch implements PluginInstance {
  readonly #runtime: PluginRuntime;

  constructor(runtime: PluginRuntime) {
    this.#runtime = runtime;
  }

  async log(kong: Kong): Promise<void> {
    try {
      const status = await kong.response.get_status();
      if (status < LEAST_STATUS) return;
      const [source, ...texts] = await Promise.all([
        kong.response.get_source(),
        ...USERS.map((user) => kong.ctx.shared.get(user)),
      ]);
      if (source !== FROM_UPSTREAM) return;
      for (const { text, connection, generation, on } of texts.flatMap(decodeUsed)) {
        if (on.includes(status)) await this.#runtime.refused({ text, connection }, generation);
      }
    } catch (error) {
      this.#runtime.logOnce(
        'watch',
        'warn',
        { err: describeError(error) },
        'how an upstream answered could not be told; if it refused a secret, the next such answer counts',
      );
    }
  }
}
