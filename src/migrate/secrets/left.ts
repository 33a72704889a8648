/**
 * Secrets that no plugin of ours can send in place of the one that has them: told, with what to do by hand. Only Kong
 * itself can resolve a reference in another plugin's field, and only where the field's schema says `referenceable`.
 */
import { CODE_PLUGINS, kindOfPluginSecret } from '../../audit/plugin-secrets.ts';
import type { JsonObject } from '../admin-api.ts';
import type { ScopedPlugin } from './gateway.ts';

export interface Left {
  readonly plugin: ScopedPlugin;
  /** `add.body.password`, `aws_secret`. */
  readonly field: string;
  /** Why it is not moved. */
  readonly reason: string;
  /** What to do by hand. */
  readonly advice: string;
}

/** Fields that Kong 3.9.3 marks referenceable, by their last name: kong/plugins/…/schema.lua, kong/llm, kong/tools/redis. */
const REFERENCEABLE: Readonly<Record<string, readonly string[]>> = {
  acme: ['account_email', 'eab_kid', 'eab_hmac_key', 'token', 'username', 'password'],
  'ai-proxy': [
    'header_value',
    'param_value',
    'gcp_service_account_json',
    'aws_access_key_id',
    'aws_secret_access_key',
  ],
  'ai-request-transformer': ['header_value', 'param_value', 'aws_access_key_id', 'aws_secret_access_key'],
  'ai-response-transformer': ['header_value', 'param_value', 'aws_access_key_id', 'aws_secret_access_key'],
  'aws-lambda': ['aws_key', 'aws_secret', 'aws_assume_role_arn'],
  'azure-functions': ['apikey', 'clientid'],
  'http-log': ['http_endpoint', 'headers'],
  loggly: ['key'],
  opentelemetry: ['endpoint', 'traces_endpoint', 'logs_endpoint', 'headers'],
  'rate-limiting': ['username', 'password'],
  'response-ratelimiting': ['username', 'password'],
  session: ['secret'],
  'standard-webhooks': ['secret_v1'],
};

const ROTATE = 'Rotate it: it has been readable.';

function advice(plugin: string, path: readonly string[]): string {
  const known = Object.hasOwn(REFERENCEABLE, plugin) ? REFERENCEABLE[plugin] : undefined;
  if (known?.some((name) => path.includes(name)) === true) {
    return `Kong resolves a reference here: write {vault://env/NAME} and give Kong's process the variable NAME, for example from Vault Agent; {vault://hcv/…} needs Kong Enterprise. ${ROTATE}`;
  }
  if (known !== undefined || plugin === 'request-transformer') {
    return `Kong resolves no reference in this field. Keep the configuration itself secret, or send the secret otherwise. ${ROTATE}`;
  }
  return `If the plugin's schema marks the field \`referenceable\`, write {vault://env/NAME} (in Kong Enterprise also {vault://hcv/…}); else ask its author for that. ${ROTATE}`;
}

/** Not ours: what they hold of secrets are references. */
const OWN = ['hashed-key-auth', 'vault-upstream-secrets', 'vault-upstream-watch'];

/** Plain secrets in all other places of a plugin's configuration. `choose` may say otherwise for a field. */
export function leftIn(
  plugin: ScopedPlugin,
  choose: (field: string, isSecret: boolean) => boolean,
): readonly Left[] {
  if (CODE_PLUGINS.has(plugin.name) || OWN.includes(plugin.name)) return [];
  const found: Left[] = [];
  const visit = (value: unknown, path: readonly string[], name: string): void => {
    if (typeof value === 'string') {
      const kind = kindOfPluginSecret(name, value);
      const field = path.join('.');
      if (!choose(field, kind !== undefined) || value === '') return;
      found.push({
        plugin,
        field,
        reason: `${kind ?? 'a secret'}: only ${plugin.name} itself uses it, so nothing can be sent in its place`,
        advice: advice(plugin.name, path),
      });
    } else if (Array.isArray(value)) {
      for (const item of value as unknown[]) visit(item, path, name);
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, inner] of Object.entries(value)) visit(inner, [...path, key], key);
    }
  };
  const config: JsonObject =
    plugin.name === 'request-transformer' ? withoutLists(plugin.config) : plugin.config;
  visit(config, [], '');
  return found;
}

/** What is left of a request-transformer when its lists are looked at otherwise: `replace.uri`. */
function withoutLists({ replace }: JsonObject): JsonObject {
  const uri = typeof replace === 'object' && replace !== null ? (replace as JsonObject)['uri'] : undefined;
  return uri === undefined ? {} : { replace: { uri } };
}
