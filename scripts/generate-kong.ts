/** Kong's own form of a plugin schema, as JSON (for the plugin server's dump) and as Lua. */
import type { SchemaNode } from './schema-model.ts';

type KongField = Record<string, unknown>;

function field(node: SchemaNode, required: boolean): KongField {
  const base: KongField = { description: node.description };
  if (node['x-kong-referenceable'] === true) base['referenceable'] = true;
  if (node['x-kong-encrypted'] === true) base['encrypted'] = true;
  if (required || node.default !== undefined) base['required'] = true;
  // Kong fills the defaults of a record's fields by itself.
  if (node.default !== undefined && node.type !== 'object') base['default'] = node.default;
  // Kong's `eq` would demand that the field is there, and its `one_of` can't name a boolean in its message.
  if (typeof node.const === 'boolean') base['ne'] = !node.const;
  else if (node.const !== undefined) base['one_of'] = [node.const];
  switch (node.type) {
    case 'object':
      return { type: 'record', ...base, fields: fieldsOf(node), ...entityChecks(node) };
    case 'array': {
      const array: KongField = { type: 'array', ...base };
      if (node.items !== undefined) array['elements'] = field(node.items, false);
      if (node.minItems !== undefined) array['len_min'] = node.minItems;
      if (node.maxItems !== undefined) array['len_max'] = node.maxItems;
      return array;
    }
    case 'string': {
      const text: KongField = { type: 'string', ...base };
      if (node.enum !== undefined) text['one_of'] = node.enum;
      if (node.minLength !== undefined) text['len_min'] = node.minLength;
      if (node.maxLength !== undefined) text['len_max'] = node.maxLength;
      // With Kong's `match` and `not_match` comes no message of one's own.
      const { 'x-kong-match': match, 'x-kong-not-match': notMatch, 'x-kong-match-error': err } = node;
      if (match !== undefined) text['match_all'] = [{ pattern: match, err }];
      if (notMatch !== undefined) text['match_none'] = [{ pattern: notMatch, err }];
      return text;
    }
    case 'integer':
    case 'number': {
      const number: KongField = { type: node.type, ...base };
      if (node.minimum !== undefined || node.maximum !== undefined) {
        number['between'] = [node.minimum ?? -(2 ** 53), node.maximum ?? 2 ** 53];
      }
      return number;
    }
    case 'boolean':
      return { type: 'boolean', ...base };
  }
}

/** `only_one_of` means: not more, and not none. */
function entityChecks(node: SchemaNode): KongField {
  const names = node['x-exactly-one-of'];
  return names === undefined ? {} : { entity_checks: [{ only_one_of: names }] };
}

function fieldsOf(node: SchemaNode): KongField[] {
  return Object.entries(node.properties ?? {}).map(([name, child]) => ({
    [name]: field(child, (node.required ?? []).includes(name)),
  }));
}

/** The `config` record's fields alone: what kong-pdk's stock server wants in `Schema`. */
export function kongConfigFields(schema: SchemaNode): KongField[] {
  return fieldsOf(schema);
}

/**
 * The whole plugin schema, with the fields that key-auth fixes: never on a consumer, HTTP protocols only.
 * `notOnConsumer` says why.
 */
export function kongPluginSchema(name: string, schema: SchemaNode, notOnConsumer: string): KongField {
  return {
    name,
    fields: [
      {
        consumer: {
          type: 'foreign',
          reference: 'consumers',
          eq: null,
          description: notOnConsumer,
        },
      },
      {
        protocols: {
          type: 'set',
          required: true,
          default: ['grpc', 'grpcs', 'http', 'https'],
          elements: { type: 'string', one_of: ['grpc', 'grpcs', 'http', 'https'] },
          description: 'Protocols that the plugin handles.',
        },
      },
      { config: { type: 'record', fields: fieldsOf(schema) } },
    ],
  };
}

export function toLua(value: unknown, indent = ''): string {
  if (value === null) return 'ngx.null';
  if (typeof value === 'string') return luaString(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return '{}';
    return `{\n${value.map((item) => `${inner}${toLua(item, inner)},\n`).join('')}${indent}}`;
  }
  if (typeof value === 'object' && value !== null) {
    const lines = Object.entries(value).map(([name, item]) => `${inner}${name} = ${toLua(item, inner)},\n`);
    return `{\n${lines.join('')}${indent}}`;
  }
  throw new Error(`no Lua form for ${typeof value}`);
}

function luaString(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}
