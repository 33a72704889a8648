/**
 * YAML and JSON files as trees with lines and columns, by the package `yaml`, whose nodes know their ranges.
 *
 * Invariant: errors carry file, line, column and the parser's code, never its message: that quotes the input.
 */
import {
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  type ParsedNode,
  type Scalar as YamlScalar,
} from 'yaml';
import { HkaError } from '../../lib/errors.ts';
import type { Place } from '../place.ts';
import {
  childPath,
  mappingTree,
  nameIn,
  scalarTree,
  segmentOf,
  sequenceTree,
  type Scalar,
  type Tree,
} from '../tree.ts';

/** Nodes that are there by alias: aliases of aliases must not eat time and memory. */
const MAX_ALIASED_NODES = 50_000;

/** Every document in `text`. Throws HKA_CONFIG_INVALID. */
export function readYaml(text: string, file: string): Tree[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false });
  if (!Array.isArray(documents)) return [];
  return documents.flatMap((document, index) => {
    const [error] = document.errors;
    if (error !== undefined) {
      const { line, col } = lines.linePos(error.pos[0]);
      throw new HkaError(
        'HKA_CONFIG_INVALID',
        `${file}:${line}:${col} is not valid YAML: ${error.code.toLowerCase().replaceAll('_', ' ')}`,
        { details: { file, line, column: col } },
      );
    }
    const { contents } = document;
    // `---` with nothing below but comments.
    if (contents === null || (isScalar(contents) && contents.value === null)) return [];
    const path = documents.length > 1 ? `document ${index + 1}` : '';
    return [new Reader(lines, file).read(contents, path)];
  });
}

class Reader {
  readonly #lines: LineCounter;
  readonly #file: string;
  readonly #open = new Set<unknown>();
  /** The nodes with an anchor so far: an alias means the last one before it. */
  readonly #anchors = new Map<string, unknown>();
  #aliasDepth = 0;
  #aliasedNodes = 0;

  constructor(lines: LineCounter, file: string) {
    this.#lines = lines;
    this.#file = file;
  }

  read(node: unknown, path: string): Tree {
    if (this.#aliasDepth > 0) this.#aliasedNodes += 1;
    const place = this.#placeOf(node, path);
    if (this.#aliasedNodes > MAX_ALIASED_NODES || this.#open.has(node)) {
      throw new HkaError('HKA_CONFIG_INVALID', `${this.#file}:${place.line}: aliases without end`);
    }
    if (isAlias(node)) {
      this.#aliasDepth += 1;
      const target = this.#anchors.get(node.source);
      const tree = target === undefined ? scalarTree(place, null) : this.read(target, path);
      this.#aliasDepth -= 1;
      return { ...tree, place };
    }
    const anchor = isNode(node) ? (node as { anchor?: string }).anchor : undefined;
    if (anchor !== undefined && this.#aliasDepth === 0) this.#anchors.set(anchor, node);
    if (isScalar(node)) return scalarTree(place, scalarOf(node));
    this.#open.add(node);
    try {
      if (isSeq(node)) {
        return sequenceTree(
          place,
          node.items.map((item, index) => {
            const name = isMap(item) ? nameIn((field) => item.get(field)) : undefined;
            return this.read(item, `${path}${segmentOf(index, name)}`);
          }),
        );
      }
      if (isMap(node)) return mappingTree(place, this.#entries(node.items, path));
    } finally {
      this.#open.delete(node);
    }
    return scalarTree(place, null);
  }

  #entries(items: readonly unknown[], path: string): Map<string, Tree> {
    const entries = new Map<string, Tree>();
    const merged: Tree[] = [];
    for (const item of items) {
      if (!isPair(item)) continue;
      const key = isScalar(item.key) ? String(item.key.value) : '?';
      if (key === '<<') {
        const value = this.read(item.value, path);
        merged.push(...(value.kind === 'sequence' ? value.items : [value]));
        continue;
      }
      const child = this.read(item.value, childPath(path, key));
      // A finding on `key: value` is shown at the key, which is there even when the value is empty.
      entries.set(key, { ...child, place: this.#placeOf(item.key, childPath(path, key)) });
    }
    for (const { entries: more } of merged) {
      for (const [key, child] of more) if (!entries.has(key)) entries.set(key, child);
    }
    return entries;
  }

  #placeOf(node: unknown, path: string): Place {
    const range = (node as Partial<ParsedNode> | null)?.range;
    if (range === undefined || range === null) return { source: this.#file, path };
    const { line, col } = this.#lines.linePos(range[0]);
    return { source: this.#file, line, column: col, path };
  }
}

function scalarOf({ value }: YamlScalar): Scalar {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  return value === null || value === undefined ? null : typeof value === 'bigint' ? value.toString() : null;
}
