/**
 * Changes of a declarative file that leave every other byte as it is: key-auth becomes hashed-key-auth, plain keys go.
 *
 * Invariant: the changed text, read again, is exactly what was meant; where it can't be made so (an anchor that something
 * else shares, say) nothing is changed, and the message says what to write out.
 */
import { isDeepStrictEqual } from 'node:util';
import { HkaError } from '../lib/errors.ts';
import { parseYaml } from '../lib/yaml.ts';
import type { JsonObject } from './admin-api.ts';
import {
  hashedPluginConfig,
  scopeFault,
  type AnyPlugin,
  type KeyAuthPlugin,
  type PluginNote,
} from './plugins.ts';
import {
  endOfLine,
  entryOf,
  itemsOf,
  resolved,
  startOfLine,
  yamlTree,
  type CollectionNode,
  type YamlNode,
} from './yaml-tree.ts';

/** One place that changes. Positions are indexes into the text before all edits. */
export interface Edit {
  readonly at: number;
  readonly remove: string;
  readonly insert: string;
}

export interface FilePlan {
  readonly plugins: readonly KeyAuthPlugin[];
  readonly refused: readonly PluginNote[];
  readonly edits: readonly Edit[];
  readonly text: string;
  /** Every plugin, of whatever name. */
  readonly all: readonly AnyPlugin[];
}

export interface PlacedPlugin {
  readonly path: string;
  readonly value: JsonObject;
  readonly node: YamlNode;
  /** Names of what it is set on. */
  readonly scope: { readonly [kind in (typeof SCOPES)[number]]?: string };
}

/** Throws HKA_CONFIG_INVALID for a file that is no declarative configuration, HKA_CONFLICT where an edit isn't possible. */
export function planFileSwitch(text: string, fileName: string): FilePlan {
  const document = parseDeclarative(text, fileName);
  const all = pluginsIn(document, yamlTree(text));
  const plugins: KeyAuthPlugin[] = [];
  const refused: PluginNote[] = [];
  const chosen: PlacedPlugin[] = [];
  for (const found of all.filter(({ value }) => value['name'] === 'key-auth')) {
    const plugin = pluginOf(found, document);
    const twin = all.find(
      (other) => other.value['name'] === 'hashed-key-auth' && isDeepStrictEqual(other.scope, found.scope),
    );
    const fault =
      scopeFault(plugin.entity) ??
      (twin === undefined ? undefined : `${twin.path} is hashed-key-auth already`);
    const config = fault === undefined ? hashedPluginConfig(plugin.entity['config']) : undefined;
    if (fault !== undefined) refused.push({ plugin, reason: fault });
    else if (config !== undefined && 'fault' in config) refused.push({ plugin, reason: config.fault });
    else {
      plugins.push(plugin);
      chosen.push(found);
    }
  }
  const edits = distinct(chosen.flatMap((found) => editsOf(text, found, document)));
  const changed = applyEdits(text, edits);
  const expected = plainCopy(document);
  for (const { path } of chosen) switchIn(expected, path, document);
  assertSame(changed, fileName, expected);
  const every = all.map(({ value, path }): AnyPlugin => ({
    name: String(value['name']),
    where: path,
    config: effectiveConfig(value, document),
    entity: value,
  }));
  return { plugins, refused, edits, text: changed, all: every };
}

/** The text without any `keyauth_credentials`, and how many there were. */
export function withoutCredentials(
  text: string,
  fileName: string,
): { readonly text: string; readonly count: number } {
  const document = parseDeclarative(text, fileName);
  const root = yamlTree(text);
  const edits: Edit[] = [];
  let count = 0;
  const take = (node: YamlNode | undefined): void => {
    const found = entryOf(node, 'keyauth_credentials');
    const mapping = resolved(node);
    if (found === undefined || mapping?.kind !== 'mapping') return;
    count += itemsOf(found.value).length;
    edits.push(
      removal(
        text,
        mapping,
        mapping.entries.findIndex(({ key }) => key === found.key),
      ),
    );
  };
  take(root);
  for (const consumer of itemsOf(entryOf(root, 'consumers')?.value)) take(consumer);
  const changed = applyEdits(text, distinct(edits));
  const expected = plainCopy(document) as Record<string, unknown>;
  delete expected['keyauth_credentials'];
  const consumers = expected['consumers'];
  if (Array.isArray(consumers)) {
    for (const consumer of consumers as unknown[]) {
      if (isObject(consumer)) delete (consumer as Record<string, unknown>)['keyauth_credentials'];
    }
  }
  assertSame(changed, fileName, expected);
  return { text: changed, count };
}

export function applyEdits(text: string, edits: readonly Edit[]): string {
  let result = '';
  let done = 0;
  for (const { at, remove, insert } of edits) {
    if (at < done || text.slice(at, at + remove.length) !== remove) {
      throw new HkaError('HKA_CONFLICT', 'the file is not what the changes were made for');
    }
    result += text.slice(done, at) + insert;
    done = at + remove.length;
  }
  return result + text.slice(done);
}

/** What undoes `edits` on the text that they have made. */
export function inverse(edits: readonly Edit[]): readonly Edit[] {
  let shift = 0;
  return edits.map(({ at, remove, insert }) => {
    const undone = { at: at + shift, remove: insert, insert: remove };
    shift += insert.length - remove.length;
    return undone;
  });
}

/** Throws HKA_CONFIG_INVALID for what is no declarative configuration. */
export function parseDeclarative(text: string, fileName: string): JsonObject {
  const document = parseYaml(text, { subject: fileName, code: 'HKA_CONFIG_INVALID', mergeKeys: true });
  if (isObject(document)) return document;
  throw new HkaError('HKA_CONFIG_INVALID', `${fileName} is not a declarative configuration`);
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A copy in which nothing is shared. */
export function plainCopy(document: unknown): unknown {
  return JSON.parse(JSON.stringify(document)) as unknown;
}

/** Throws HKA_CONFLICT unless `changed` reads as `expected`. */
export function assertSame(changed: string, fileName: string, expected: unknown): void {
  const found = plainCopy(parseDeclarative(changed, fileName));
  if (isDeepStrictEqual(found, expected)) return;
  throw new HkaError(
    'HKA_CONFLICT',
    `${fileName} can't be changed place by place: what would change is shared, by an anchor and its aliases or a merge key, with what must stay. Write it out where it is used, and run the command again`,
  );
}

const SCOPES = ['service', 'route', 'consumer', 'consumer_group'] as const;

export function pluginsIn(document: JsonObject, root: YamlNode | undefined): PlacedPlugin[] {
  const found: PlacedPlugin[] = [];
  const visit = (
    parent: unknown,
    node: YamlNode | undefined,
    path: string,
    scope: Readonly<Record<string, string>>,
  ): void => {
    if (!isObject(parent)) return;
    each(parent, node, 'plugins', path, (value, item, at) => {
      const own = Object.fromEntries(
        SCOPES.flatMap((name) => {
          const named = nameOf(value[name]);
          return named === undefined ? [] : [[name, named] as const];
        }),
      );
      found.push({ path: at, value, node: item, scope: { ...scope, ...own } });
    });
    const children = [
      ['services', 'service'],
      ['routes', 'route'],
      ['consumers', 'consumer'],
      ['consumer_groups', 'consumer_group'],
    ] as const;
    for (const [list, kind] of children) {
      each(parent, node, list, path, (value, item, at) =>
        // What is set on a route of a service is the route's alone.
        visit(value, item, at, { [kind]: nameOf(value) ?? at }),
      );
    }
  };
  visit(document, root, '', {});
  return found;
}

function each(
  parent: JsonObject,
  node: YamlNode | undefined,
  list: string,
  path: string,
  visit: (value: JsonObject, node: YamlNode, path: string) => void,
): void {
  const values = parent[list];
  if (!Array.isArray(values)) return;
  const nodes = itemsOf(entryOf(node, list)?.value);
  for (const [at, value] of (values as unknown[]).entries()) {
    const item = nodes[at];
    if (isObject(value) && item !== undefined)
      visit(value, item, `${path === '' ? '' : `${path}.`}${list}[${at}]`);
  }
}

export function nameOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!isObject(value)) return undefined;
  const name = value['name'] ?? value['username'] ?? value['id'];
  return typeof name === 'string' ? name : undefined;
}

/** What its configuration comes to with decK's shared one below it. */
export function effectiveConfig(plugin: JsonObject, document: JsonObject): JsonObject {
  const shared = document['_plugin_configs'];
  const named = plugin['_config'];
  const base = isObject(shared) && typeof named === 'string' ? shared[named] : undefined;
  const own = plugin['config'];
  return { ...(isObject(base) ? base : {}), ...(isObject(own) ? own : {}) };
}

export function pluginOf({ path, value, scope }: PlacedPlugin, document: JsonObject): KeyAuthPlugin {
  const names = Object.entries(scope).map(([kind, name]) => `${kind} ${name}`);
  return {
    id: path,
    scope: names.length === 0 ? 'global' : names.join(', '),
    entity: { ...value, ...scope, config: effectiveConfig(value, document) },
  };
}

const HIDE = 'hide_credentials';

/** key-auth shows keys to the upstream unless told otherwise, hashed-key-auth hides them: what was so stays so. */
function editsOf(text: string, { node, value }: PlacedPlugin, document: JsonObject): Edit[] {
  const name = entryOf(node, 'name')?.value;
  const mapping = resolved(node);
  const nameNode = resolved(name);
  if (nameNode?.kind !== 'scalar' || mapping?.kind !== 'mapping' || nameNode.valueStart < 0) {
    throw new HkaError('HKA_CONFLICT', 'a key-auth plugin has its name from a merge key; write it out');
  }
  const edits: Edit[] = [{ at: nameNode.valueStart, remove: 'key-auth', insert: 'hashed-key-auth' }];
  if (typeof effectiveConfig(value, document)[HIDE] === 'boolean') return edits;
  const config = entryOf(mapping, 'config');
  const inJson = mapping.flow && isQuoted(mapping.entries[0]?.key);
  const quote = inJson ? '"' : '';
  const setting = `${quote}${HIDE}${quote}: false`;
  if (config === undefined) {
    const braces = mapping.flow ? `{${setting}}` : setting;
    edits.push(firstEntry(text, mapping, `${quote}config${quote}`, braces));
    return edits;
  }
  const target = resolved(config.value);
  if (target?.kind === 'mapping') {
    const known = entryOf(target, HIDE);
    // It is there, and null: that is Kong's default as well.
    const stated = resolved(known?.value);
    if (stated?.kind === 'scalar' && stated.valueStart >= 0) {
      edits.push({ at: stated.valueStart, remove: stated.text, insert: 'false' });
    } else if (known !== undefined) {
      throw new HkaError(
        'HKA_CONFLICT',
        'a key-auth plugin has an empty hide_credentials; write true or false',
      );
    } else edits.push(firstEntry(text, target, undefined, setting));
    return edits;
  }
  if (target?.kind === 'scalar' && target.valueStart >= 0) {
    edits.push({
      at: target.valueStart,
      remove: text.slice(target.valueStart, target.valueEnd),
      insert: `{${setting}}`,
    });
    return edits;
  }
  // `config:` with nothing after it.
  const after = text.indexOf(':', config.key.end) + 1;
  edits.push({ at: after, remove: '', insert: ` {${setting}}` });
  return edits;
}

export function isQuoted(node: YamlNode | undefined): boolean {
  return node?.kind === 'scalar' && node.quoted;
}

/** Puts an entry in front of the others, in the way that they are written. */
export function firstEntry(
  text: string,
  mapping: CollectionNode,
  name: string | undefined,
  value: string,
): Edit {
  const entry = name === undefined ? value : `${name}: ${value}`;
  const first = mapping.entries[0]?.key;
  if (mapping.flow) {
    return { at: mapping.bodyStart, remove: '', insert: first === undefined ? entry : `${entry}, ` };
  }
  const at = first?.start ?? mapping.bodyStart;
  const indent = ' '.repeat(at - startOfLine(text, at));
  const lineFeed = text.includes('\r\n') ? '\r\n' : '\n';
  const block = name === undefined ? value : `${name}:${lineFeed}${indent}  ${value}`;
  return { at, remove: '', insert: `${block}${lineFeed}${indent}` };
}

/** Takes the entry `index` out of a mapping. */
function removal(text: string, mapping: CollectionNode, index: number): Edit {
  const entry = mapping.entries[index];
  const next = mapping.entries[index + 1];
  const previous = mapping.entries[index - 1];
  if (entry?.key === undefined) throw new HkaError('HKA_INTERNAL', 'there is no such entry');
  const { start } = entry.key;
  const end = Math.max(entry.value.end, entry.key.end);
  const cut = (from: number, to: number, insert = ''): Edit => ({
    at: from,
    remove: text.slice(from, to),
    insert,
  });
  if (mapping.flow) {
    if (next?.key !== undefined) return cut(start, next.key.start);
    if (previous === undefined) return cut(start, end);
    return cut(Math.max(previous.value.end, previous.key?.end ?? 0), end);
  }
  const lineStart = startOfLine(text, start);
  const lineEnd = Math.min(text.length, endOfLine(text, Math.max(end - 1, start)) + 1);
  if (text.slice(lineStart, start).trim() === '') return cut(lineStart, lineEnd);
  // Behind a dash: what follows moves up to it.
  if (next?.key !== undefined) return cut(start, next.key.start);
  return cut(start, lineEnd, `{}\n`);
}

export function distinct(edits: readonly Edit[]): readonly Edit[] {
  const byPlace = new Map(edits.map((edit) => [`${edit.at} ${edit.insert}`, edit]));
  return [...byPlace.values()].toSorted((a, b) => a.at - b.at);
}

/** What is at a path such as `services[0].plugins[2]`, or `services[0].plugins`; undefined where nothing is. */
export function placeOf(document: unknown, path: string): unknown {
  let target = document;
  for (const [, name = '', at] of path.matchAll(/([a-z_]+)(?:\[(\d+)\])?/g)) {
    const list = isObject(target) ? target[name] : undefined;
    target = at === undefined ? list : Array.isArray(list) ? (list as unknown[])[Number(at)] : undefined;
  }
  return target;
}

/** Makes of the plugin at `path` of a plain document what it is meant to become. */
function switchIn(expected: unknown, path: string, document: JsonObject): void {
  const target = placeOf(expected, path);
  if (!isObject(target)) return;
  const plugin = target as Record<string, unknown>;
  plugin['name'] = 'hashed-key-auth';
  if (typeof effectiveConfig(plugin, document)[HIDE] === 'boolean') return;
  plugin['config'] = { [HIDE]: false, ...(isObject(plugin['config']) ? omitNull(plugin['config']) : {}) };
}

function omitNull(config: JsonObject): JsonObject {
  return config[HIDE] === null
    ? Object.fromEntries(Object.entries(config).filter(([name]) => name !== HIDE))
    : config;
}
