/**
 * The edits of a declarative file for `migrate secrets`: entries leave the lists of request-transformer, items and plugins of
 * ours are put beside it in the way that the file is written. Comments stay, also those behind what is taken out.
 *
 * Invariant: an edit's text holds, beside the one secret that it takes out, nothing but the entry's name and punctuation;
 * so what goes into the journal, with the secret left out, shows nothing. Where that can't be had, nothing is changed.
 */
import { HkaError, isHkaError } from '../../lib/errors.ts';
import type { JsonObject } from '../admin-api.ts';
import {
  applyEdits,
  assertSame,
  firstEntry,
  isObject,
  isQuoted,
  parseDeclarative,
  plainCopy,
  pluginsIn,
  type Edit,
} from '../file-edit.ts';
import {
  endOfLine,
  entryOf,
  itemsOf as itemNodes,
  resolved,
  startOfLine,
  yamlTree,
  type CollectionNode,
  type YamlNode,
} from '../yaml-tree.ts';
import { masked } from './control.ts';
import { MODES, PARTS, type Entry } from './entries.ts';
import type { MaskedEdit, SentSecret } from './journal.ts';
import { itemsOf, sentBy, type Move, type SecretsPlan, type Target } from './plan.ts';

export interface FileEdits {
  readonly edits: readonly MaskedEdit[];
  /** The whole text afterwards. */
  readonly text: string;
}

interface Placed extends Edit {
  readonly masked: MaskedEdit['remove'];
}

/** Throws HKA_CONFLICT where the file can't be changed place by place. */
export function editFile(
  text: string,
  fileName: string,
  { moves, targets }: Pick<SecretsPlan, 'moves' | 'targets'>,
): FileEdits {
  const document = parseDeclarative(text, fileName);
  const placed = pluginsIn(document, yamlTree(text));
  const nodeOf = (path: string): YamlNode => {
    const found = placed.find((plugin) => plugin.path === path);
    if (found === undefined) throw new HkaError('HKA_CONFLICT', `${fileName} has no ${path} any more`);
    return found.node;
  };
  const sources = [...new Set(moves.map(({ source }) => source.id))];
  const edits = [
    ...sources.flatMap((id) =>
      takeOut(
        text,
        nodeOf(id),
        moves.filter(({ source }) => source.id === id),
      ),
    ),
    ...targets
      .filter(({ items }) => items.length > 0)
      .map((target) =>
        target.existing === undefined
          ? newPlugin(text, nodeOf(target.source.id), target)
          : newItems(text, nodeOf(target.existing.id), target.items),
      ),
  ].toSorted((a, b) => a.at - b.at);
  const changed = applyEdits(text, edits);
  const expected = plainCopy(document) as Record<string, unknown>;
  expect(expected, moves, targets);
  try {
    assertSame(changed, fileName, expected);
  } catch (error) {
    if (!isHkaError(error) || error.code === 'HKA_CONFLICT') throw error;
    throw new HkaError(
      'HKA_CONFLICT',
      `${fileName} can't be changed place by place in the way that it is written`,
    );
  }
  return {
    text: changed,
    edits: edits.map(({ at, insert, masked: remove }) => ({ at, remove, insert })),
  };
}

function insertion(edit: Edit): Placed {
  return { ...edit, masked: edit.remove === '' ? [] : [edit.remove] };
}

// --- what is taken out ---

function takeOut(text: string, plugin: YamlNode, moves: readonly Move[]): readonly Placed[] {
  const lists = new Map<string, { entry: Entry; sent: SentSecret }[]>();
  for (const move of moves) {
    for (const entry of move.entries) {
      const name = `${entry.mode} ${entry.part}`;
      lists.set(name, [...(lists.get(name) ?? []), { entry, sent: sentBy(move) }]);
    }
  }
  return [...lists.values()].flatMap((taken) => {
    const [first] = taken;
    if (first === undefined) return [];
    const { mode, part } = first.entry;
    const found = entryOf(entryOf(entryOf(plugin, 'config')?.value, mode)?.value, part);
    const list = found?.value;
    if (found === undefined || list?.kind !== 'sequence') throw shared(mode, part);
    const isTaken = (index: number): boolean => taken.some(({ entry }) => entry.index === index);
    const edits = taken.map(({ entry, sent }) => removal(text, list, entry, sent, isTaken));
    if (list.flow || taken.length < list.entries.length) return edits;
    // Nothing is left of a list in lines of its own.
    const after = text.indexOf(':', found.key.end) + 1;
    return [insertion({ at: after, remove: '', insert: ' []' }), ...edits];
  });
}

function shared(mode: string, part: string): HkaError {
  return new HkaError(
    'HKA_CONFLICT',
    `config.${mode}.${part} comes from an anchor or a merge key; write it out where it is used`,
  );
}

function removal(
  text: string,
  list: CollectionNode,
  entry: Entry,
  sent: SentSecret,
  isTaken: (index: number) => boolean,
): Placed {
  const { mode, part, index } = entry;
  const node = list.entries[index]?.value;
  const unclear = new HkaError(
    'HKA_CONFLICT',
    `config.${mode}.${part}[${index}] is written in a way that can't be taken out: write it in one line, without anchor and escapes`,
  );
  if (
    node?.kind !== 'scalar' ||
    node.valueStart < 0 ||
    node.start !== node.valueStart - (node.quoted ? 1 : 0)
  )
    throw unclear;
  const raw = text.slice(node.start, node.end);
  if (raw.includes('\n')) throw unclear;
  const [from, to] = list.flow ? inFlow(list, index, isTaken) : inBlock(text, node.start, node.end);
  const parts = masked(text.slice(from, to), entry, sent);
  // The rest is the name and punctuation, or it isn't touched.
  const around = parts?.filter((one) => typeof one === 'string').join('') ?? '';
  const punctuation = around.replace(entry.name, '');
  if (parts === undefined || !around.includes(entry.name) || !/^[\s'":,-]*$/.test(punctuation)) throw unclear;
  return { at: from, remove: text.slice(from, to), insert: '', masked: parts };
}

/** With the comma before it where something stays before it, with the one after it otherwise. */
function inFlow(
  { entries }: CollectionNode,
  index: number,
  isTaken: (index: number) => boolean,
): readonly [number, number] {
  const place = (at: number): YamlNode | undefined => entries[at]?.value;
  const [own, next, previous] = [place(index), place(index + 1), place(index - 1)];
  if (own === undefined) throw new HkaError('HKA_INTERNAL', 'there is no such item');
  const staysBefore = entries.some((_entry, at) => at < index && !isTaken(at));
  if (staysBefore && previous !== undefined) return [previous.end, own.end];
  return [own.start, next?.start ?? own.end];
}

/** With its dash; a comment behind it stays. */
function inBlock(text: string, start: number, end: number): readonly [number, number] {
  const lineStart = startOfLine(text, start);
  const lineEnd = endOfLine(text, end);
  const before = /^(\s*)-\s+$/.exec(text.slice(lineStart, start));
  const after = /^[\t \r]*/.exec(text.slice(end, lineEnd))?.[0].length ?? 0;
  if (before === null) {
    throw new HkaError(
      'HKA_CONFLICT',
      'an item that shares its line with another one can not be taken out; give it a line',
    );
  }
  const isAlone = end + after === lineEnd;
  return isAlone
    ? [lineStart, Math.min(text.length, lineEnd + 1)]
    : [lineStart + (before[1]?.length ?? 0), end + after];
}

// --- what is added ---

/** In front of request-transformer, in the same list. */
function newPlugin(text: string, node: YamlNode, target: Target): Placed {
  const made = pluginEntity(target);
  const mapping = resolved(node);
  if (node.kind !== 'mapping' || mapping?.kind !== 'mapping') {
    throw new HkaError('HKA_CONFLICT', 'a request-transformer is an alias of another one; write it out');
  }
  return beforeItem(text, node, made);
}

/** Puts an item in front of `node`, which is one of a list. */
function beforeItem(text: string, node: YamlNode, made: JsonObject): Placed {
  const lineStart = startOfLine(text, node.start);
  const before = text.slice(lineStart, node.start);
  if (node.kind === 'mapping' && node.flow)
    return insertion({ at: node.start, remove: '', insert: beforeFlow(text, node, made, before) });
  const column = node.start - lineStart;
  const dash = before.lastIndexOf('-');
  const ownDash =
    dash === -1
      ? text.lastIndexOf('-', node.start) - startOfLine(text, text.lastIndexOf('-', node.start))
      : dash;
  const lines = blockYaml(made).join(`\n${' '.repeat(column)}`);
  const insert = `${lines}\n${' '.repeat(ownDash)}-${' '.repeat(Math.max(1, column - ownDash - 1))}`;
  return insertion({ at: node.start, remove: '', insert: withLineEnds(text, insert) });
}

/** `- {…}` in lines of their own, or `[{…}, {…}]`. */
function beforeFlow(text: string, node: CollectionNode, made: JsonObject, before: string): string {
  const item = flowYaml(made, isJson(node));
  return /^\s*-\s+$/.test(before) ? withLineEnds(text, `${item}\n${before}`) : `${item}, `;
}

function newItems(text: string, plugin: YamlNode, items: readonly JsonObject[]): Placed {
  const mapping = resolved(plugin);
  if (plugin.kind !== 'mapping' || mapping?.kind !== 'mapping') {
    throw new HkaError('HKA_CONFLICT', 'a plugin of ours is an alias of another one; write it out');
  }
  const json = isJson(plugin);
  const quote = json ? '"' : '';
  const list = `[${items.map((item) => flowYaml(item, json)).join(', ')}]`;
  const setting = `${quote}upstream_secrets${quote}: ${list}`;
  const config = entryOf(plugin, 'config');
  if (config === undefined) {
    return insertion(
      firstEntry(text, plugin, `${quote}config${quote}`, plugin.flow ? `{${setting}}` : setting),
    );
  }
  const target = config.value;
  if (target.kind !== 'mapping')
    throw new HkaError(
      'HKA_CONFLICT',
      'the configuration of a plugin of ours is empty, or an alias; write it out',
    );
  const known = entryOf(target, 'upstream_secrets');
  if (known === undefined) return insertion(firstEntry(text, target, undefined, setting));
  const secrets = known.value;
  if (secrets.kind !== 'sequence')
    throw new HkaError(
      'HKA_CONFLICT',
      'upstream_secrets of a plugin of ours is empty, or an alias; write [] there',
    );
  const [first] = itemNodes(secrets);
  if (secrets.flow) {
    const inner = items.map((item) => flowYaml(item, json)).join(', ');
    return insertion({
      at: secrets.bodyStart,
      remove: '',
      insert: first === undefined ? inner : `${inner}, `,
    });
  }
  if (first === undefined)
    throw new HkaError('HKA_CONFLICT', 'upstream_secrets of a plugin of ours is empty; write [] there');
  const whole = items.toReversed().map((item) => beforeItem(text, first, item).insert);
  return insertion({ at: first.start, remove: '', insert: whole.toReversed().join('') });
}

function withLineEnds(text: string, insert: string): string {
  return text.includes('\r\n') ? insert.replaceAll('\n', '\r\n') : insert;
}

function isJson(node: CollectionNode): boolean {
  return node.flow && isQuoted(node.entries[0]?.key);
}

/** The plugin as the file states it: on the same scope as request-transformer, where that is not said by its place. */
function pluginEntity({ name, source, config }: Target): JsonObject {
  const stated = ['_workspace', 'service', 'route', 'enabled', 'protocols', 'tags'].flatMap((field) => {
    const value = source.entity[field];
    return value === undefined || value === null ? [] : [[field, value] as const];
  });
  return { name, ...Object.fromEntries(stated), config };
}

/** Lines of a block, the first of which stands behind a dash. */
function blockYaml(value: JsonObject): string[] {
  return Object.entries(value).flatMap(([key, inner]) => {
    if (Array.isArray(inner) && inner.length > 0 && inner.every(isObject)) {
      return [
        `${key}:`,
        ...inner.flatMap((item) => blockYaml(item).map((line, at) => `${at === 0 ? '- ' : '  '}${line}`)),
      ];
    }
    if (isObject(inner) && Object.keys(inner).length > 0) {
      return [`${key}:`, ...blockYaml(inner).map((line) => `  ${line}`)];
    }
    return [`${key}: ${flowYaml(inner, false)}`];
  });
}

function flowYaml(value: unknown, json: boolean): string {
  if (Array.isArray(value)) return `[${value.map((item) => flowYaml(item, json)).join(', ')}]`;
  if (isObject(value)) {
    const fields = Object.entries(value).map(
      ([key, inner]) => `${json ? JSON.stringify(key) : key}: ${flowYaml(inner, json)}`,
    );
    return `{${fields.join(', ')}}`;
  }
  if (typeof value !== 'string' || json) return JSON.stringify(value);
  if (/^[A-Za-z][\w-]*$/.test(value) && !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(value)) return value;
  return /[^ -~]/.test(value) ? JSON.stringify(value) : `'${value.replaceAll("'", "''")}'`;
}

// --- what must come out ---

/** Makes of a plain copy of the document what it is meant to become. */
function expect(document: Record<string, unknown>, moves: readonly Move[], targets: readonly Target[]): void {
  // Looked up before anything is inserted.
  const byPath = new Map<string, { readonly list: unknown[]; readonly plugin: Record<string, unknown> }>();
  for (const path of [
    ...moves.map(({ source }) => source.id),
    ...targets.flatMap(({ existing }) => existing?.id ?? []),
  ]) {
    let list: unknown[] = [];
    let target: unknown = document;
    for (const [, name = '', at = ''] of path.matchAll(/([a-z_]+)\[(\d+)\]/g)) {
      list = (target as Record<string, unknown[]>)[name] ?? [];
      target = list[Number(at)];
    }
    byPath.set(path, { list, plugin: target as Record<string, unknown> });
  }
  for (const id of new Set(moves.map(({ source }) => source.id))) {
    const config = byPath.get(id)?.plugin['config'] as Record<string, Record<string, unknown>>;
    const taken = moves.filter(({ source }) => source.id === id).flatMap(({ entries }) => entries);
    for (const mode of MODES) {
      const lists = config[mode] ?? {};
      for (const part of PARTS) {
        const list = lists[part];
        if (!Array.isArray(list)) continue;
        const own = taken.filter((entry) => entry.mode === mode && entry.part === part);
        lists[part] = list.filter((_text, at) => !own.some(({ index }) => index === at));
      }
    }
  }
  for (const target of targets.filter(({ items }) => items.length > 0)) {
    const { existing, source, items } = target;
    if (existing === undefined) {
      const place = byPath.get(source.id);
      place?.list.splice(place.list.indexOf(place.plugin), 0, plainCopy(pluginEntity(target)));
      continue;
    }
    const plugin = byPath.get(existing.id)?.plugin;
    if (plugin === undefined) continue;
    const own = isObject(plugin['config']) ? plugin['config'] : {};
    plugin['config'] = { ...own, upstream_secrets: plainCopy([...items, ...itemsOf(own)]) };
  }
}
