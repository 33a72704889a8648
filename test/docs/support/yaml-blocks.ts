/** Fields of configuration that a YAML block names and no schema knows. What a field may hold is not looked at: values stand for others. */
import type { SchemaNode } from '../../../scripts/schema-model.ts';
import {
  injectorConfigSchema,
  pluginConfigSchema,
  serverConfigSchema,
  watchConfigSchema,
} from '../../../src/generated/schemas.ts';

type Fields = Pick<SchemaNode, 'type' | 'properties' | 'items' | 'enum'>;

const SERVER = serverConfigSchema as unknown as Fields;
const PLUGINS: Readonly<Record<string, Fields>> = {
  'hashed-key-auth': pluginConfigSchema as unknown as Fields,
  'vault-upstream-secrets': injectorConfigSchema as unknown as Fields,
  'vault-upstream-watch': watchConfigSchema,
};

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function faults(value: unknown, schema: Fields, path: string): string[] {
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined
      ? [`${path} is no list`]
      : value.flatMap((one, index) => faults(one, items, `${path}[${index}]`));
  }
  if (isObject(value)) {
    return Object.entries(value).flatMap(([name, child]) => {
      const field = path === '' ? name : `${path}.${name}`;
      const known = schema.properties?.[name];
      return known === undefined ? [`there is no field ${field}`] : faults(child, known, field);
    });
  }
  if (schema.enum !== undefined && !schema.enum.includes(value as string | number)) {
    return [`${path} is one of ${schema.enum.join(', ')}, not ${String(value)}`];
  }
  return [];
}

/** Every `plugins` list anywhere in a declarative configuration. */
function pluginsIn(value: unknown): Record<string, unknown>[] {
  if (Array.isArray(value)) return value.flatMap(pluginsIn);
  if (!isObject(value)) return [];
  const own = Array.isArray(value['plugins']) ? value['plugins'].filter(isObject) : [];
  return [...own, ...Object.values(value).flatMap(pluginsIn)];
}

/**
 * What is wrong with a block, or undefined where it is nothing of ours: neither sections of hashed-key-auth.yaml, nor Kong's
 * declarative configuration, nor fields of a plugin's `config`.
 */
export function configurationFaults(value: unknown): string[] | undefined {
  if (!isObject(value)) return undefined;
  const names = Object.keys(value);
  if ('_format_version' in value || names.every((name) => name === 'plugins' || name === 'consumers')) {
    return pluginsIn(value).flatMap(({ name, config = {} }) => {
      const schema = PLUGINS[String(name)];
      return schema === undefined ? [] : faults(config, schema, String(name));
    });
  }
  const { properties: sections = {} } = SERVER;
  if (names.some((name) => name in sections)) return faults(value, SERVER, '');
  // Vault's log-in is shown by itself.
  if (names.every((name) => name === 'auth')) return faults(value, sections['vault'] as Fields, 'vault');
  const own = PLUGINS['hashed-key-auth'] as Fields;
  return names.some((name) => name in (own.properties ?? {})) ? faults(value, own, '') : undefined;
}
