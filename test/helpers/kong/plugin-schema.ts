/**
 * What Kong's schema library does to a plugin's configuration before the plugin sees it: refuse what the schema does
 * not allow, fill in defaults, and put a vault's value in place of a reference in a referenceable field.
 */
import { luaPattern } from './lua-pattern.ts';

export interface FieldSchema {
  type: string;
  required?: boolean;
  default?: unknown;
  referenceable?: boolean;
  fields?: Record<string, FieldSchema>[];
  elements?: FieldSchema;
  keys?: FieldSchema;
  values?: FieldSchema;
  one_of?: unknown[];
  eq?: unknown;
  ne?: unknown;
  between?: [number, number];
  gt?: number;
  len_min?: number;
  len_max?: number;
  len_eq?: number;
  match?: string;
  not_match?: string;
  match_all?: { pattern: string; err: string }[];
  match_none?: { pattern: string; err: string }[];
  starts_with?: string;
  uuid?: boolean;
  entity_checks?: { only_one_of?: string[] }[];
}

export interface PluginSchema {
  name: string;
  fields: Record<string, FieldSchema>[];
}

type Json = Record<string, unknown>;

const isRecord = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isAbsent = (value: unknown): value is null | undefined => value === null || value === undefined;

export const isReference = (value: unknown): value is string =>
  typeof value === 'string' && value.startsWith('{vault://') && value.endsWith('}');

function fieldsOf(schema: FieldSchema): [string, FieldSchema][] {
  return (schema.fields ?? []).flatMap((entry) => Object.entries(entry));
}

/** Missing values get their defaults; a record that is required gets its fields' defaults. */
function withDefaults(schema: FieldSchema, value: unknown): unknown {
  const given = value === undefined && schema.default !== undefined ? structuredClone(schema.default) : value;
  if (schema.type === 'record') {
    if (given === null) return null;
    if (given === undefined && schema.required !== true) return undefined;
    if (given !== undefined && !isRecord(given)) return given;
    const filled: Json = { ...given };
    for (const [name, field] of fieldsOf(schema)) {
      const item = withDefaults(field, filled[name]);
      if (item !== undefined) filled[name] = item;
    }
    return filled;
  }
  if (schema.type === 'array' || schema.type === 'set') {
    const { elements } = schema;
    return Array.isArray(given) && elements !== undefined
      ? given.map((item) => withDefaults(elements, item))
      : given;
  }
  if (schema.type === 'map' && isRecord(given) && schema.values !== undefined) {
    const { values } = schema;
    return Object.fromEntries(Object.entries(given).map(([key, item]) => [key, withDefaults(values, item)]));
  }
  return given;
}

const TYPE_CHECKS: Record<string, (value: unknown) => boolean> = {
  string: (value) => typeof value === 'string',
  boolean: (value) => typeof value === 'boolean',
  number: (value) => typeof value === 'number',
  integer: (value) => Number.isInteger(value),
  array: Array.isArray,
  set: Array.isArray,
  record: isRecord,
  map: isRecord,
  json: (value) => typeof value === 'string',
};

const EXPECTED: Record<string, string> = {
  integer: 'expected an integer',
  array: 'expected an array',
  set: 'expected a set',
  record: 'expected a record',
  map: 'expected a map',
};

const lengthOf = (value: unknown): number => {
  if (typeof value === 'string') return Buffer.byteLength(value);
  return Array.isArray(value) ? value.length : Object.keys(value as object).length;
};

function violations(schema: FieldSchema, value: unknown): string[] {
  const found: string[] = [];
  const hold = (fits: boolean, message: string): void => {
    if (!fits) found.push(message);
  };
  const { one_of: oneOf, between, gt, len_min: min, len_max: max, len_eq: equal } = schema;
  if (schema.ne !== undefined) hold(value !== schema.ne, `value must not be ${String(value)}`);
  if (oneOf !== undefined) hold(oneOf.includes(value), `expected one of: ${oneOf.join(', ')}`);
  if (gt !== undefined) hold(Number(value) > gt, `value must be greater than ${gt}`);
  if (schema.uuid === true)
    hold(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(String(value)), 'expected a valid UUID');
  if (between !== undefined) {
    const [low, high] = between;
    hold(Number(value) >= low && Number(value) <= high, `value should be between ${low} and ${high}`);
  }
  if (equal !== undefined) hold(lengthOf(value) === equal, `length must be ${equal}`);
  if (min !== undefined) hold(lengthOf(value) >= min, `length must be at least ${min}`);
  else if (schema.type === 'string') hold(value !== '', 'length must be at least 1');
  if (max !== undefined) hold(lengthOf(value) <= max, `length must be at most ${max}`);
  const { starts_with: start, match, not_match: notMatch } = schema;
  if (start !== undefined) hold(String(value).startsWith(start), `should start with: ${start}`);
  if (notMatch !== undefined)
    hold(!luaPattern(notMatch).test(String(value)), `invalid value: ${String(value)}`);
  if (match !== undefined) hold(luaPattern(match).test(String(value)), `invalid value: ${String(value)}`);
  for (const { pattern, err } of schema.match_all ?? []) hold(luaPattern(pattern).test(String(value)), err);
  for (const { pattern, err } of schema.match_none ?? []) hold(!luaPattern(pattern).test(String(value)), err);
  return found;
}

function validate(schema: FieldSchema, value: unknown, path: string, errors: string[]): void {
  if (isAbsent(value)) {
    if (!isAbsent(schema.eq)) errors.push(`${path}: value must be ${JSON.stringify(schema.eq)}`);
    if (schema.required === true) errors.push(`${path}: required field missing`);
    return;
  }
  if (TYPE_CHECKS[schema.type]?.(value) === false) {
    errors.push(`${path}: ${EXPECTED[schema.type] ?? `expected a ${schema.type}`}`);
    return;
  }
  if (schema.referenceable === true && isReference(value)) return;
  errors.push(...violations(schema, value).map((message) => `${path}: ${message}`));
  if (schema.type === 'record') {
    const known = new Map(fieldsOf(schema));
    const record = value as Json;
    for (const name of Object.keys(record))
      if (!known.has(name)) errors.push(`${path}.${name}: unknown field`);
    for (const [name, field] of known) validate(field, record[name], `${path}.${name}`, errors);
    for (const { only_one_of: names } of schema.entity_checks ?? []) {
      if (names !== undefined && names.filter((name) => !isAbsent(record[name])).length !== 1)
        errors.push(
          `${path}: exactly one of these fields must be non-empty: ${names.map((name) => `'${name}'`).join(', ')}`,
        );
    }
  }
  if (Array.isArray(value) && schema.elements !== undefined) {
    for (const [index, item] of value.entries())
      validate(schema.elements, item, `${path}[${index + 1}]`, errors);
  }
  if (schema.type === 'map') {
    for (const [key, item] of Object.entries(value as Json)) {
      if (schema.keys !== undefined) validate(schema.keys, key, `${path}.${key}`, errors);
      if (schema.values !== undefined) validate(schema.values, item, `${path}.${key}`, errors);
    }
  }
}

/** The schema of the `config` record, whichever way the dump writes it. */
export function configSchema(schema: PluginSchema): FieldSchema {
  const entry = schema.fields.find((field) => 'config' in field);
  return entry?.['config'] ?? { type: 'record', fields: [] };
}

/** Validates a configuration and fills in its defaults. Throws an Error that lists every violation. */
export function prepareConfig(plugin: string, schema: FieldSchema, given: unknown): Json {
  const filled = withDefaults({ ...schema, required: true }, given ?? undefined);
  const errors: string[] = [];
  validate(schema, filled, 'config', errors);
  if (errors.length > 0) throw new Error(`plugin ${plugin}: ${errors.join('; ')}`);
  return filled as Json;
}

/** The value behind `{vault://env/name}` or `{vault://env/name/key}`; undefined when there is none. */
function lookUp(reference: string, environment: NodeJS.ProcessEnv): string | undefined {
  const parsed = /^\{vault:\/\/([^/]+)\/([^/?#]+)(?:\/([^/?#]+))?[^}]*\}$/.exec(reference);
  if (parsed?.[1] !== 'env') return undefined;
  const value = environment[(parsed[2] ?? '').replaceAll('-', '_').toUpperCase()];
  if (parsed[3] === undefined || value === undefined) return value;
  try {
    const member = (JSON.parse(value) as Json)[parsed[3]];
    return typeof member === 'string' ? member : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A copy without null fields in which references are resolved; one that leads nowhere becomes the empty string.
 * The references themselves stand in `$refs`, beside the fields they were in.
 */
export function resolveReferences(
  schema: FieldSchema,
  config: Json,
  environment: NodeJS.ProcessEnv,
  unresolved: (reference: string) => void,
): Json {
  const resolve = (reference: string): string => {
    const value = lookUp(reference, environment);
    if (value === undefined) unresolved(reference);
    return value ?? '';
  };
  const resolved: Json = {};
  const references: Json = {};
  for (const [name, field] of fieldsOf(schema)) {
    const value = config[name];
    if (isAbsent(value)) continue;
    const inner = field.elements ?? field.values;
    if (field.referenceable === true && isReference(value)) {
      references[name] = value;
      resolved[name] = resolve(value);
    } else if (field.type === 'record' && isRecord(value)) {
      resolved[name] = resolveReferences(field, value, environment, unresolved);
    } else if (Array.isArray(value) && field.elements?.type === 'record') {
      const { elements } = field;
      resolved[name] = value.map((item) =>
        isRecord(item) ? resolveReferences(elements, item, environment, unresolved) : (item as unknown),
      );
    } else if (inner?.referenceable === true && Array.isArray(value)) {
      if (value.some(isReference))
        references[name] = value.map((item: unknown) => (isReference(item) ? item : null));
      resolved[name] = value.map((item: unknown) => (isReference(item) ? resolve(item) : item));
    } else if (inner?.referenceable === true && isRecord(value)) {
      const entries = Object.entries(value);
      if (entries.some(([, item]) => isReference(item))) {
        references[name] = Object.fromEntries(entries.filter(([, item]) => isReference(item)));
      }
      resolved[name] = Object.fromEntries(
        entries.map(([key, item]) => [key, isReference(item) ? resolve(item) : item]),
      );
    } else {
      resolved[name] = value;
    }
  }
  if (Object.keys(references).length > 0) resolved['$refs'] = references;
  return resolved;
}
