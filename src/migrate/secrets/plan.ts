/**
 * `migrate secrets plan`: which plain secrets go from request-transformer into Vault and are sent by a plugin of ours, and
 * which stay, each with the reason. Changes nothing.
 *
 * What must hold: afterwards every request gets the secrets that it gets today, and no other request gets one. Our plugins
 * run beside or behind request-transformer (801): vault-upstream-secrets (790) has the last word. Where a move would send a
 * secret to other requests than now, or to fewer, it is refused.
 */
import { HkaError, isHkaError, messageOf } from '../../lib/errors.ts';
import { parseInjectorConfig, parsePluginConfig } from '../../plugin/config.ts';
import type { ReferencePattern } from '../../vault/reference.ts';
import type { JsonObject } from '../admin-api.ts';
import {
  entriesOf,
  formOf,
  isSecretEntry,
  PARTS,
  slotOf,
  slotOfItem,
  type Entry,
  type Form,
} from './entries.ts';
import {
  cellsOf,
  effective,
  isAuthenticated,
  sameScope,
  scopeText,
  type Cell,
  type GatewayModel,
  type ScopedPlugin,
} from './gateway.ts';
import type { SentSecret } from './journal.ts';
import { leftIn, type Left } from './left.ts';
import type { PathTemplate } from './paths.ts';

export const SOURCE_PLUGIN = 'request-transformer';
export const INJECTOR = 'vault-upstream-secrets';
export const AUTHENTICATOR = 'hashed-key-auth';
export type TargetName = typeof INJECTOR | typeof AUTHENTICATOR;

export interface Move {
  readonly source: ScopedPlugin;
  /** More than one where the same is said twice, by `replace` and `add`. */
  readonly entries: readonly [Entry, ...Entry[]];
  readonly slot: string;
  readonly form: Form;
  /** With `#field`, unless the template names the fields. */
  readonly reference: string;
  readonly place: ReferencePattern;
  /** Of upstream_secrets. */
  readonly item: JsonObject;
  readonly target: TargetName;
  /** What is different afterwards for whom. */
  readonly notes: readonly string[];
}

export function sentBy({ reference, form: { template } }: Move): SentSecret {
  return { reference, ...(template === undefined ? {} : { template }) };
}

/** A plugin that is made, or gets further items. */
export interface Target {
  readonly name: TargetName;
  /** The one whose place or side it takes. */
  readonly source: ScopedPlugin;
  readonly existing: ScopedPlugin | undefined;
  /** That it does not have yet. */
  readonly items: readonly JsonObject[];
  /** Of a new one; of an existing one only what changes. */
  readonly config: JsonObject;
}

export interface SecretsPlan {
  readonly moves: readonly Move[];
  readonly targets: readonly Target[];
  readonly left: readonly Left[];
  /** `--include` and `--exclude` that fit nothing. */
  readonly idle: readonly string[];
}

export interface PlanOptions {
  readonly path: PathTemplate;
  /** `plugin/field`, with `*`. */
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** Also what is sent only in place of what a client sends. */
  readonly always: boolean;
  /** Whether a place in Vault is free to be named: the server's own is not. */
  readonly mayForward: (place: ReferencePattern) => boolean;
  readonly connections: ReadonlySet<string>;
}

/** `models`: one for each workspace. */
export function planSecrets(models: readonly GatewayModel[], options: PlanOptions): SecretsPlan {
  const selectors = new Selectors(options.include, options.exclude);
  const left: Left[] = [];
  const moves: Move[] = [];
  const targets: Target[] = [];
  const taken = new Map<string, Form>();
  for (const model of models) {
    const found: Move[] = [];
    for (const plugin of model.plugins) {
      left.push(...leftIn(plugin, (field, isSecret) => selectors.choose(plugin.name, field, isSecret)));
      if (plugin.name !== SOURCE_PLUGIN) continue;
      for (const group of secretGroups(plugin, selectors)) {
        const move = moveOf(model, plugin, group, options);
        if ('fault' in move) left.push(staying(plugin, group[0], move.fault, move.advice));
        else found.push(move);
      }
    }
    const distinct = found.filter((move) => {
      const known = taken.get(move.place.text);
      if (known === undefined) taken.set(move.place.text, move.form);
      if (known === undefined || sameFields(known, move.form)) return true;
      left.push(
        staying(
          move.source,
          move.entries[0],
          `${move.place.text} is another secret's place already`,
          'Give --path more placeholders, such as {workspace}.',
        ),
      );
      return false;
    });
    const settled = settle(model, distinct, (move, fault) =>
      left.push(staying(move.source, move.entries[0], fault, BY_HAND)),
    );
    moves.push(...settled.moves);
    targets.push(...settled.targets);
  }
  return { moves, targets, left, idle: selectors.idle };
}

const BY_HAND = `Set ${INJECTOR} by hand where it belongs.`;

function staying(plugin: ScopedPlugin, entry: Entry, reason: string, advice: string): Left {
  return { plugin, field: fieldOf(entry), reason, advice };
}

export function fieldOf({ mode, part, name }: Entry): string {
  return `${mode}.${part}.${name}`;
}

function sameFields(a: Form, b: Form): boolean {
  return (
    a.fields.size === b.fields.size &&
    [...a.fields].every(([name, value]) => b.fields.get(name)?.equals(value) === true)
  );
}

type Group = readonly [Entry, ...Entry[]];

/** The secret entries, those of one place of a request together. */
function secretGroups(plugin: ScopedPlugin, selectors: Selectors): readonly Group[] {
  const groups = new Map<string, [Entry, ...Entry[]]>();
  for (const entry of entriesOf(plugin.config)) {
    if (!selectors.choose(plugin.name, fieldOf(entry), isSecretEntry(entry))) continue;
    const slot = entry.part === 'body' ? `body ${entry.name}` : slotOf(entry.part, entry.name);
    const group = groups.get(slot);
    if (group === undefined) groups.set(slot, [entry]);
    else group.push(entry);
  }
  return [...groups.values()];
}

type Fault = { readonly fault: string; readonly advice: string };

function moveOf(
  model: GatewayModel,
  source: ScopedPlugin,
  entries: Group,
  { path, always, mayForward, connections }: PlanOptions,
): Move | Fault {
  const [first] = entries;
  const fault = groupFault(source, entries, always);
  if (fault !== undefined) return fault;
  const form = formOf(first);
  if ('fault' in form) return { fault: form.fault, advice: BY_HAND };
  const { route, service } = source.scope;
  const place = path.for({
    workspace: source.workspace,
    service: service ?? model.routes.find(({ name }) => name === route)?.service,
    route,
    plugin: source.name,
    kind: first.part === 'headers' ? 'header' : 'query',
    name: first.part === 'headers' ? first.name.toLowerCase() : first.name,
  });
  if (!connections.has(place.connection)) {
    throw new HkaError(
      'HKA_USAGE',
      `--path names the connection ${place.connection}; the configuration has: ${[...connections].join(', ')}`,
    );
  }
  if (!mayForward(place)) {
    throw new HkaError(
      'HKA_USAGE',
      `--path leads to ${place.text}, which is the server's own (pepper, credentials or the store's password) and is never sent anywhere`,
    );
  }
  const reference = form.field === undefined ? place.text : `${place.text}#${form.field}`;
  const { template } = form;
  const slot = slotOf(first.part, first.name);
  const authenticator = usableAuthenticator(model, source, entries, slot);
  return {
    source,
    entries,
    slot,
    form,
    reference,
    place,
    item: { ...form.target, reference, ...(template === undefined ? {} : { template }) },
    target: authenticator ? AUTHENTICATOR : INJECTOR,
    notes: notesOf(source, entries, slot),
  };
}

function groupFault(source: ScopedPlugin, entries: Group, always: boolean): Fault | undefined {
  const [first, ...others] = entries;
  if (source.fixed !== undefined) return { fault: source.fixed, advice: 'Write it out, and run this again.' };
  if (source.scope.consumer !== undefined) {
    return {
      fault: 'it is set for a consumer, and our plugins can not be',
      advice: `Set ${INJECTOR} on the route, with {consumer.username} in the path of the reference.`,
    };
  }
  if ((source.entity['ordering'] ?? null) !== null) {
    return { fault: 'its `ordering` is changed, so what runs after it is not known', advice: BY_HAND };
  }
  if (first.part === 'body') {
    return {
      fault: 'it goes into bodies of JSON and multipart too, which our plugins do not change',
      advice: `Where the upstream takes forms only: \`form: ${first.name}\` of ${INJECTOR}.`,
    };
  }
  if (
    others.some(({ name }) => name !== first.name) ||
    others.some(({ value }) => !value.equals(first.value))
  ) {
    return {
      fault: 'several values or spellings of it are sent',
      advice: 'Leave one of them, and run this again.',
    };
  }
  const modes = entries.map(({ mode }) => mode);
  if (modes.includes('append') && modes.length > 1) {
    return { fault: 'it is sent twice, by append', advice: 'Leave one of them, and run this again.' };
  }
  if (modes.every((mode) => mode === 'replace') && !always) {
    return {
      fault: 'it is sent only in place of what a client sends; our plugins send it with every request',
      advice: 'Where the upstream may get it always: --always.',
    };
  }
  return undefined;
}

function notesOf({ config }: ScopedPlugin, entries: Group, slot: string): readonly string[] {
  const modes = new Set(entries.map(({ mode }) => mode));
  if (modes.has('replace') && !modes.has('add')) return ['from now on it is sent with every request'];
  if (
    modes.has('replace') ||
    listOf(config, 'remove', entries[0].part).some((name) => slotOf(entries[0].part, name) === slot)
  ) {
    return [];
  }
  return modes.has('append')
    ? ['what a client sends under the name was sent beside it, and is replaced from now on']
    : ['what a client sends under the name was sent in its place, and is replaced from now on'];
}

function listOf(config: JsonObject, mode: string, part: string): readonly string[] {
  const lists = config[mode];
  const list = typeof lists === 'object' && lists !== null ? (lists as JsonObject)[part] : undefined;
  return Array.isArray(list) ? list.filter((item): item is string => typeof item === 'string') : [];
}

/**
 * hashed-key-auth on the same place sends secrets itself, which spares Kong a call. It runs before request-transformer, so
 * what else is said there of the name would still change it, and anonymous requests would go without.
 */
function usableAuthenticator(
  { plugins }: GatewayModel,
  source: ScopedPlugin,
  entries: Group,
  slot: string,
): boolean {
  const found = plugins.find(
    (plugin) => plugin.name === AUTHENTICATOR && sameScope(plugin.scope, source.scope),
  );
  if (found === undefined || found.fixed !== undefined || found.enabled !== source.enabled) return false;
  const { anonymous, key_names: keyNames } = found.config;
  if ((anonymous ?? null) !== null || entries.some(({ mode }) => mode === 'append')) return false;
  const { part } = entries[0];
  const names = Array.isArray(keyNames) ? keyNames.map(String) : ['apikey'];
  if (names.some((name) => PARTS.some((other) => slotOf(other, name) === slot))) return false;
  // What request-transformer renders sees the request as ours has left it: a template could send the secret elsewhere.
  if (JSON.stringify(source.config).includes('$(')) return false;
  const moved = new Set(entries.map(({ mode, index }) => `${mode} ${index}`));
  return !['remove', 'rename', 'replace', 'add', 'append'].some((mode) =>
    listOf(source.config, mode, part).some(
      (text, index) =>
        !moved.has(`${mode} ${index}`) && text.split(':').some((name) => slotOf(part, name) === slot),
    ),
  );
}

/** The plugins that the moves come to. Moves that would send anything to other requests are taken out, until none does. */
function settle(
  model: GatewayModel,
  wanted: readonly Move[],
  refuse: (move: Move, fault: string) => void,
): { readonly moves: readonly Move[]; readonly targets: readonly Target[] } {
  let moves = wanted;
  for (;;) {
    const targets = targetsOf(model, moves);
    // What the plugin itself would say is the better reason.
    const faults = new Map([...reachFaults(model, moves, targets), ...configFaults(targets, moves)]);
    if (faults.size === 0) return { moves, targets };
    for (const [move, fault] of faults) refuse(move, fault);
    moves = moves.filter((move) => !faults.has(move));
  }
}

function targetsOf(model: GatewayModel, moves: readonly Move[]): readonly Target[] {
  const firsts = moves.filter(
    ({ source, target }, at) =>
      moves.findIndex((other) => other.target === target && other.source === source) === at,
  );
  return firsts.map(({ source, target: name }): Target => {
    const group = moves.filter((move) => move.target === name && move.source === source);
    const existing = model.plugins.find(
      (plugin) => plugin.name === name && sameScope(plugin.scope, source.scope),
    );
    const known = itemsOf(existing?.config);
    const items = group.map(({ item }) => item).filter((item) => !hasItem(known, item));
    const open = existing === undefined && !isAuthenticated(model, source.scope);
    const config = {
      ...(open ? { require_authentication: false } : {}),
      upstream_secrets: [...items, ...known],
    };
    return { name, source, existing, items, config };
  });
}

export function itemsOf(config: JsonObject | undefined): readonly JsonObject[] {
  const items = config?.['upstream_secrets'];
  return Array.isArray(items) ? (items as JsonObject[]) : [];
}

/** Kong fills in what is not set with null. */
function sameItem(a: JsonObject, b: JsonObject): boolean {
  const fields = ['header', 'query', 'basic_auth', 'form', 'reference', 'template'];
  return fields.every((field) => (a[field] ?? null) === (b[field] ?? null));
}

/** Whether `item` is among `items`. */
export function hasItem(items: readonly JsonObject[], item: JsonObject): boolean {
  return items.some((other) => sameItem(item, other));
}

/** What the plugin itself would refuse. */
function configFaults(targets: readonly Target[], moves: readonly Move[]): readonly [Move, string][] {
  return targets.flatMap((target): [Move, string][] => {
    const { existing, name, source } = target;
    const fault =
      existing?.fixed ??
      (existing !== undefined && existing.enabled !== source.enabled
        ? `${name} is there already, and ${existing.enabled ? 'request-transformer' : 'it'} is switched off`
        : refusal(target));
    return fault === undefined ? [] : movesInto(target, moves).map((move) => [move, fault]);
  });
}

function refusal({ name, existing, config }: Target): string | undefined {
  const slots = itemsOf(config).map(slotOfItem);
  const twice = slots.find((slot, at) => slots.indexOf(slot) !== at);
  if (twice !== undefined) return `${name} sends another secret as ${twice} already`;
  const whole = { ...existing?.config, ...config };
  try {
    if (name === INJECTOR) parseInjectorConfig(whole);
    else parsePluginConfig(whole);
    return undefined;
  } catch (error) {
    if (isHkaError(error)) return `${name} would refuse it: ${messageOf(error)}`;
    throw error;
  }
}

function movesInto({ name, source }: Target, moves: readonly Move[]): readonly Move[] {
  return moves.filter((move) => move.target === name && move.source === source);
}

/** Compares, for all requests that there can be, what is sent now with what would be. */
function reachFaults(
  model: GatewayModel,
  moves: readonly Move[],
  targets: readonly Target[],
): readonly [Move, string][] {
  const named = (name: string): readonly ScopedPlugin[] =>
    model.plugins.filter((plugin) => plugin.name === name);
  const sources = named(SOURCE_PLUGIN);
  const afterwards = (name: TargetName): readonly ScopedPlugin[] => [
    ...named(name).map((plugin) => {
      const target = targets.find(({ existing }) => existing === plugin);
      return target === undefined ? plugin : { ...plugin, config: { ...plugin.config, ...target.config } };
    }),
    ...targets
      .filter((target) => target.name === name && target.existing === undefined)
      .map(({ source, config }) => ({ ...source, id: '', name, config })),
  ];
  const ours = ([INJECTOR, AUTHENTICATOR] as const).map((name) => ({
    before: named(name),
    after: afterwards(name),
  }));
  const faults = new Map<Move, string>();
  const cells = cellsOf(model, [...sources, ...ours.flatMap(({ after }) => after)]);
  for (const cell of cells) {
    const transformer = effective(sources, cell);
    const sent = (which: 'before' | 'after'): readonly JsonObject[] =>
      ours.flatMap((plugins) => itemsOf(effective(plugins[which], cell)?.config));
    const before = [
      ...moves.filter(({ source }) => source === transformer).map(({ item }) => item),
      ...sent('before'),
    ];
    const after = sent('after');
    const gained = after.filter((item) => !hasItem(before, item));
    const lost = before.some((item) => !hasItem(after, item));
    if (gained.length === 0 && !lost) continue;
    // What is gained is taken out first; what else was lost because of it is then looked at again.
    const involved = moves.filter(({ source, item }) =>
      gained.length > 0 ? hasItem(gained, item) : source === transformer || hasItem(after, item),
    );
    const fault =
      gained.length > 0
        ? `requests of ${cellText(cell)} do not get it today, because another ${SOURCE_PLUGIN} runs for them, and would get it then`
        : `for requests of ${cellText(cell)} a more specific plugin of ours would take the place of another, and they would lose a secret`;
    // Where nothing can be named, all are in doubt.
    for (const move of involved.length > 0 ? involved : moves) {
      if (!faults.has(move)) faults.set(move, fault);
    }
  }
  return [...faults];
}

function cellText(cell: Cell): string {
  return scopeText(cell) === 'global' ? 'all other routes' : scopeText(cell);
}

/** `--include` and `--exclude`. */
class Selectors {
  readonly #include: readonly Selector[];
  readonly #exclude: readonly Selector[];

  constructor(include: readonly string[], exclude: readonly string[]) {
    this.#include = include.map((text) => new Selector('--include', text));
    this.#exclude = exclude.map((text) => new Selector('--exclude', text));
  }

  choose(plugin: string, field: string, isSecret: boolean): boolean {
    const fits = (selectors: readonly Selector[]): boolean =>
      selectors.filter((selector) => selector.fits(plugin, field)).length > 0;
    const [isExcluded, isIncluded] = [fits(this.#exclude), fits(this.#include)];
    return !isExcluded && (isIncluded || isSecret);
  }

  get idle(): readonly string[] {
    return [...this.#include, ...this.#exclude].filter(({ used }) => !used).map(({ text }) => text);
  }
}

class Selector {
  readonly text: string;
  readonly #pattern: RegExp;
  used = false;

  constructor(option: string, text: string) {
    const [plugin = '', ...field] = text.split('/');
    if (plugin === '' || field.join('/') === '') {
      throw new HkaError(
        'HKA_USAGE',
        `${option} is "${text}"; allowed is PLUGIN/FIELD, such as ${SOURCE_PLUGIN}/add.headers.X-Tenant, with * for anything`,
      );
    }
    this.text = `${option} ${text}`;
    const pattern = text.replaceAll(/[\\^$.|?+()[\]{}]/g, String.raw`\$&`).replaceAll('*', '.*');
    this.#pattern = new RegExp(`^${pattern}(?:\\..*)?$`, 'i');
  }

  fits(plugin: string, field: string): boolean {
    const found = this.#pattern.test(`${plugin}/${field}`);
    this.used ||= found;
    return found;
  }
}
