/**
 * key-auth plugins and what they become: hashed-key-auth in the same place, with the same settings. And what else in a
 * gateway's configuration speaks of keys and credentials, so that an operator knows before the switch what stays as it is.
 */
import { pluginConfigSchema } from '../generated/schemas.ts';
import { violationsOf } from '../lib/validate.ts';
import type { JsonObject } from './admin-api.ts';

export interface KeyAuthPlugin {
  /** Kong's id, or the path in a file. */
  readonly id: string;
  /** `global`, `route orders`, and so on. */
  readonly scope: string;
  readonly workspace?: string;
  /** As Kong gives it, or a file states it. */
  readonly entity: JsonObject;
}

export interface PluginNote {
  readonly plugin: KeyAuthPlugin;
  readonly reason: string;
}

/** The settings that both plugins have, with key-auth's defaults. */
const KEY_AUTH_DEFAULTS: JsonObject = { hide_credentials: false };
const SHARED_FIELDS = [
  'key_names',
  'hide_credentials',
  'anonymous',
  'key_in_header',
  'key_in_query',
  'key_in_body',
  'run_on_preflight',
  'realm',
];

/** The same settings for hashed-key-auth. What is null is not set. */
export function hashedPluginConfig(
  config: unknown,
): { readonly config: JsonObject } | { readonly fault: string } {
  const given: JsonObject = typeof config === 'object' && config !== null ? (config as JsonObject) : {};
  const stated = Object.entries(given).filter(([, value]) => value !== null && value !== undefined);
  const strange = stated.filter(([name]) => !SHARED_FIELDS.includes(name)).map(([name]) => name);
  if (strange.length > 0) return { fault: `hashed-key-auth has no setting ${strange.join(', ')}` };
  const result = { ...KEY_AUTH_DEFAULTS, ...Object.fromEntries(stated) };
  // The check fills in defaults; what is sent should be what was there.
  const violations = violationsOf(pluginConfigSchema, structuredClone(result));
  if (violations.length === 0) return { config: result };
  return { fault: violations.map(({ path, message }) => `config.${path} ${message}`).join('; ') };
}

/** Why a plugin can't be taken over because of what it is set on. */
export function scopeFault(entity: JsonObject): string | undefined {
  for (const [field, name] of [
    ['consumer', 'a consumer'],
    ['consumer_group', 'a consumer group'],
  ] as const) {
    if (entity[field] !== null && entity[field] !== undefined) {
      return `it is set on ${name}: who calls is known only after the key was checked, so neither plugin can run there. Remove it, or set it on a route`;
    }
  }
  return undefined;
}

/** A plugin of whatever name, as far as the notes need it. */
export interface AnyPlugin {
  readonly name: string;
  readonly where: string;
  readonly config: JsonObject;
  readonly entity: JsonObject;
}

const LOG_PLUGINS = new Set([
  'file-log',
  'http-log',
  'tcp-log',
  'udp-log',
  'syslog',
  'loggly',
  'datadog',
  'statsd',
  'kafka-log',
  'opentelemetry',
]);

export interface RelatedNote {
  readonly where: string;
  readonly note: string;
  /** Whether somebody has to do something. */
  readonly action: boolean;
}

/** What the switch means for the other plugins. */
export function relatedNotes(plugins: readonly AnyPlugin[]): readonly RelatedNote[] {
  return plugins.flatMap(({ name, where, config, entity }): RelatedNote[] => {
    const notes: RelatedNote[] = [];
    const note = (text: string, action = false): void =>
      void notes.push({ where, note: `${name}: ${text}`, action });
    if (name === 'acl') note('goes by the consumer, who stays the same');
    if (name.startsWith('rate-limiting') || name === 'response-ratelimiting') {
      const by = config['limit_by'] ?? config['identifier'];
      if (by === 'credential') note('counts by credential: the ids stay the same, so the counters go on');
      if (by === 'header' && isKeyName(config['header_name'])) {
        note(
          'counts by a header that carries keys: where hide_credentials is on, both plugins take it away first',
          true,
        );
      }
    }
    if (LOG_PLUGINS.has(name)) {
      const text = JSON.stringify(config['custom_fields_by_lua'] ?? {});
      if (/credential|apikey|api_key|authenticated_entity/i.test(text)) {
        note(
          'has Lua that reads the credential: its id and consumer stay, `key` is no longer there (the log must not have it)',
          /\bkey\b|apikey|api_key/i.test(text),
        );
      }
    }
    if (name !== 'key-auth' && JSON.stringify(entity['ordering'] ?? null).includes('key-auth')) {
      note(
        'is ordered before or after key-auth by name: name hashed-key-auth there as well, before the switch',
        true,
      );
    }
    if (name === 'key-auth-enc') note('is another plugin, of Kong Enterprise, and stays as it is');
    return notes;
  });
}

function isKeyName(name: unknown): boolean {
  return typeof name === 'string' && /^(?:apikey|api[-_]key|x-api-key|authorization)$/i.test(name);
}
