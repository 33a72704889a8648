/**
 * YAML and JSON files as trees with lines and columns, by the package `yaml`, whose nodes know their ranges.
 *
 * Invariant: errors carry file, line, column and the parser's code, never its message: that quotes the input.
 */
import {
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  type Document,
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

/** More nodes than any configuration has: aliases of aliases must not eat the memory. */
const MAX_NODES = 2_000_000;

/** Every document in `text`. Throws HKA_CONFIG_INVALID. */
export function readYaml(text: string, file: string): Tree[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, merge: true });
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
    return [new Reader(document, lines, file).read(contents, path)];
  });
}

class Reader {
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;
  readonly #file: string;
  readonly #open = new Set<unknown>();
  #nodes = 0;

  constructor(document: Document.Parsed, lines: LineCounter, file: string) {
    this.#document = document;
    this.#lines = lines;
    this.#file = file;
  }

  read(node: unknown, path: string): Tree {
    this.#nodes += 1;
    const place = this.#placeOf(node, path);
    if (this.#nodes > MAX_NODES || this.#open.has(node)) {
      throw new HkaError('HKA_CONFIG_INVALID', `${this.#file}:${place.line}: aliases without end`);
    }
    if (isAlias(node)) {
      const target = node.resolve(this.#document);
      return target === undefined ? scalarTree(place, null) : { ...this.read(target, path), place };
    }
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
