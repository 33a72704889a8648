/** The comparing plugins in a declarative file: put in as text beside key-auth, and taken out as the very same text. */
import { HkaError } from '../lib/errors.ts';
import type { JsonObject } from './admin-api.ts';
import {
  applyEdits,
  assertSame,
  isObject,
  nameOf,
  parseDeclarative,
  placeOf,
  plainCopy,
  pluginOf,
  pluginsIn,
  type Edit,
  type PlacedPlugin,
} from './file-edit.ts';
import type { LocatedPlugin } from './shadow-plan.ts';
import { startOfLine, yamlTree } from './yaml-tree.ts';

/** Every plugin of the file with what it is set on; ids are paths, or the id of one of ours. */
export function planFileShadows(text: string, fileName: string): LocatedPlugin[] {
  const document = parseDeclarative(text, fileName);
  const directory = new Directory(document);
  return pluginsIn(document, yamlTree(text)).map((found) => {
    const plugin = pluginOf(found, document);
    const { id } = found.value;
    const isShadow = String(found.value['name']).startsWith('hashed-key-auth-shadow');
    return {
      ...plugin,
      ...(isShadow && typeof id === 'string' ? { id } : {}),
      on: directory.scopeOf(found),
    };
  });
}

/**
 * The file with `entity` in front of the key-auth plugin at each place, and what was inserted for each. Throws HKA_CONFLICT
 * where that can't be done without changing something else.
 */
export function shadowsAdded(
  text: string,
  fileName: string,
  entries: readonly { readonly at: string; readonly entity: JsonObject }[],
): { readonly text: string; readonly inserted: readonly string[] } {
  const document = parseDeclarative(text, fileName);
  const found = new Map(pluginsIn(document, yamlTree(text)).map((one) => [one.path, one]));
  const expected = plainCopy(document);
  const edits: Edit[] = [];
  const wanted: { readonly path: string; readonly entity: JsonObject }[] = [];
  for (const { at, entity } of entries) {
    const beside = found.get(at);
    if (beside === undefined)
      throw new HkaError('HKA_CONFLICT', `${fileName} has no plugin at ${at} any more`);
    // What it is set on, where the plugin itself says so.
    const own = Object.fromEntries(
      (['route', 'service'] as const).flatMap((field) => {
        const value = beside.value[field];
        return value === undefined || value === null ? [] : [[field, value]];
      }),
    );
    const whole = { ...entity, ...own };
    edits.push(insertion(text, beside, JSON.stringify(whole)));
    wanted.push({ path: at, entity: whole });
  }
  // From the end, so that the places of those before stay what they are.
  for (const { path, entity } of wanted.toSorted((a, b) => indexOf(b.path) - indexOf(a.path))) {
    const list = listAt(expected, path);
    list.splice(indexOf(path), 0, entity);
  }
  const changed = applyEdits(
    text,
    edits.toSorted((a, b) => a.at - b.at),
  );
  assertSame(changed, fileName, expected);
  return { text: changed, inserted: edits.map(({ insert }) => insert) };
}

/** The file without those of `shadows` that are in it, and how many there were. Throws HKA_CONFLICT where one was rewritten. */
export function shadowsRemoved(
  text: string,
  fileName: string,
  shadows: readonly { readonly id: string; readonly text?: string }[],
): { readonly text: string; readonly count: number } {
  const document = parseDeclarative(text, fileName);
  const found = pluginsIn(document, yamlTree(text));
  const expected = plainCopy(document);
  let changed = text;
  let count = 0;
  const paths: string[] = [];
  for (const { id, text: inserted = '' } of shadows) {
    const places = found.filter(({ value }) => value['id'] === id);
    if (places.length === 0) continue;
    const parts = changed.split(inserted);
    if (places.length > 1 || inserted === '' || parts.length !== 2) {
      throw new HkaError(
        'HKA_CONFLICT',
        `${fileName}: the plugin ${id}, at ${places.map(({ path }) => path).join(', ')}, was rewritten since it was added; take it out by hand, and run the command again`,
      );
    }
    changed = parts.join('');
    paths.push(...places.map(({ path }) => path));
    count += 1;
  }
  for (const path of paths.toSorted((a, b) => indexOf(b) - indexOf(a)))
    listAt(expected, path).splice(indexOf(path), 1);
  assertSame(changed, fileName, expected);
  return { text: changed, count };
}

/** JSON is YAML: one form for every file. */
function insertion(text: string, { node, path }: PlacedPlugin, json: string): Edit {
  const { start } = node;
  const lineStart = startOfLine(text, start);
  const before = text.slice(lineStart, start);
  const dash = /^(.*)-[ \t]+$/.exec(before);
  if (dash !== null) {
    const at = lineStart + (dash[1]?.length ?? 0);
    const lineFeed = text.includes('\r\n') ? '\r\n' : '\n';
    return { at, remove: '', insert: `- ${json}${lineFeed}${' '.repeat(at - lineStart)}` };
  }
  if (/[[,]\s*$/.test(text.slice(0, start))) return { at: start, remove: '', insert: `${json}, ` };
  throw new HkaError(
    'HKA_CONFLICT',
    `the plugin at ${path} begins on another line than its dash; write them on one line`,
  );
}

/** Of the last list in a path such as `services[0].plugins[2]`. */
function indexOf(path: string): number {
  return Number(/\[(\d+)\]$/.exec(path)?.[1]);
}

function listAt(document: unknown, path: string): unknown[] {
  const list = placeOf(document, path.replace(/\[\d+\]$/, ''));
  if (!Array.isArray(list)) throw new HkaError('HKA_INTERNAL', `no list at ${path}`);
  return list;
}

/** Routes and services of a file, which it may name by name or by id. */
class Directory {
  /** Each name and id to the one that is used here. */
  readonly #routes = new Map<
    string,
    { readonly names: readonly string[]; readonly service: string | undefined }
  >();
  readonly #services = new Map<string, { readonly names: readonly string[] }>();

  constructor(document: JsonObject) {
    for (const [at, service] of objectsIn(document['services']).entries()) {
      const names = namesOf(service, `services[${at}]`);
      for (const name of names) this.#services.set(name, { names });
      for (const [inner, route] of objectsIn(service['routes']).entries())
        this.#addRoute(route, `services[${at}].routes[${inner}]`, names[0]);
    }
    for (const [at, route] of objectsIn(document['routes']).entries()) {
      const owner = nameOf(route['service']);
      this.#addRoute(
        route,
        `routes[${at}]`,
        owner === undefined ? undefined : (this.#services.get(owner)?.names[0] ?? owner),
      );
    }
  }

  scopeOf({ scope }: PlacedPlugin): LocatedPlugin['on'] {
    const { route, service } = scope;
    const knownRoute = route === undefined ? undefined : this.#routes.get(route);
    const routeNames = knownRoute?.names ?? (route === undefined ? [] : [route]);
    const serviceNames = service === undefined ? [] : (this.#services.get(service)?.names ?? [service]);
    const [routeName] = routeNames;
    const [serviceName] = serviceNames;
    return {
      ...(routeName === undefined ? {} : { route: routeName }),
      ...(serviceName === undefined ? {} : { service: serviceName }),
      ...(knownRoute?.service === undefined ? {} : { serviceOfRoute: knownRoute.service }),
      routeNames,
      serviceNames,
    };
  }

  #addRoute(route: JsonObject, path: string, service: string | undefined): void {
    const names = namesOf(route, path);
    for (const name of names) this.#routes.set(name, { names, service });
  }
}

function objectsIn(list: unknown): readonly JsonObject[] {
  return Array.isArray(list) ? (list as unknown[]).filter(isObject) : [];
}

/** Name and id; its path where it has neither. */
function namesOf({ name, id }: JsonObject, path: string): readonly string[] {
  const names = [name, id].filter((one) => typeof one === 'string');
  return names.length === 0 ? [path] : names;
}
