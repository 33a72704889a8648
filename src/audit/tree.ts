/** YAML, JSON and rows of a database as one kind of tree whose every node knows its place. Read-only. */
import type { Place } from './place.ts';
import { looksRandom } from './secrets.ts';

export type Scalar = string | number | boolean | null;

export interface Tree {
  readonly place: Place;
  readonly kind: 'mapping' | 'sequence' | 'scalar';
  /** Of a scalar. */
  readonly value: Scalar;
  /** Of a mapping, in order. */
  readonly entries: ReadonlyMap<string, Tree>;
  /** Of a sequence. */
  readonly items: readonly Tree[];
}

const NO_ENTRIES: ReadonlyMap<string, Tree> = new Map();

export function scalarTree(place: Place, value: Scalar): Tree {
  return { place, kind: 'scalar', value, entries: NO_ENTRIES, items: [] };
}

export function mappingTree(place: Place, entries: ReadonlyMap<string, Tree>): Tree {
  return { place, kind: 'mapping', value: null, entries, items: [] };
}

export function sequenceTree(place: Place, items: readonly Tree[]): Tree {
  return { place, kind: 'sequence', value: null, entries: NO_ENTRIES, items };
}

/** What `path` leads to through mappings. */
export function at(tree: Tree | undefined, ...path: readonly string[]): Tree | undefined {
  return path.reduce<Tree | undefined>((node, name) => node?.entries.get(name), tree);
}

/** A scalar as text; undefined for null, mappings and sequences. */
export function textOf(tree: Tree | undefined): string | undefined {
  if (tree === undefined || tree.kind !== 'scalar' || tree.value === null) return undefined;
  return String(tree.value);
}

export function itemsOf(tree: Tree | undefined): readonly Tree[] {
  return tree?.items ?? [];
}

export function isTrue(tree: Tree | undefined): boolean {
  return isOn(textOf(tree));
}

export function isFalse(tree: Tree | undefined): boolean {
  return isOff(textOf(tree));
}

/** As Kong reads switches. */
export function isOn(text: string | undefined): boolean {
  return text !== undefined && /^(?:true|on|yes|1)$/i.test(text);
}

export function isOff(text: string | undefined): boolean {
  return text !== undefined && /^(?:false|off|no|0)$/i.test(text);
}

/** Every scalar below `tree`, with the name of the field that it belongs to. */
export function* scalarsOf(tree: Tree, name = ''): Generator<{ readonly name: string; readonly node: Tree }> {
  if (tree.kind === 'scalar') yield { name, node: tree };
  for (const [key, child] of tree.entries) yield* scalarsOf(child, key);
  for (const child of tree.items) yield* scalarsOf(child, name);
}

/** A name that people gave an item of a sequence; it tells items apart better than their number. */
const NAMES = ['name', 'username', 'id'] as const;

export function segmentOf(index: number, name: string | undefined): string {
  return `[${name ?? index}]`;
}

export function nameIn(read: (field: string) => unknown): string | undefined {
  for (const field of NAMES) {
    const value = read(field);
    // A slip of indentation puts a key anywhere: what looks like one is no name.
    if (typeof value === 'string' && /^[\w .@:/-]{1,80}$/.test(value) && !looksRandom(value)) return value;
  }
  return undefined;
}

export function childPath(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}

/** Plain values (answers of an API, rows) as a tree without lines. */
export function treeOf(value: unknown, place: Place): Tree {
  if (Array.isArray(value)) {
    const items = (value as readonly unknown[]).map((item, index) => {
      const name =
        typeof item === 'object' && item !== null
          ? nameIn((field) => (item as Record<string, unknown>)[field])
          : undefined;
      return treeOf(item, { ...place, path: `${place.path}${segmentOf(index, name)}` });
    });
    return sequenceTree(place, items);
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).map(
      ([key, child]) => [key, treeOf(child, { ...place, path: childPath(place.path, key) })] as const,
    );
    return mappingTree(place, new Map(entries));
  }
  const isScalar = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
  return scalarTree(place, isScalar ? value : null);
}

/** The same tree under another entity's name. */
export function withEntity(tree: Tree, entity: string): Tree {
  const place = { ...tree.place, entity };
  return {
    ...tree,
    place,
    entries: new Map([...tree.entries].map(([key, child]) => [key, withEntity(child, entity)])),
    items: tree.items.map((child) => withEntity(child, entity)),
  };
}
