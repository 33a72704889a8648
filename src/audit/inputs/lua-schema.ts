/**
 * Plugin schemas in Lua (schema.lua): which fields there are and how they are marked. Not an interpreter: table
 * constructors are read, whatever is computed is passed over.
 */
import { HkaError } from '../../lib/errors.ts';
import type { Deployment } from '../deployment.ts';

interface Token {
  readonly type: 'name' | 'string' | 'other';
  readonly text: string;
  readonly offset: number;
}

const TOKEN =
  /--\[(=*)\[[^]*?\]\1\]|--[^\n]*|\[(=*)\[([^]*?)\]\2\]|"((?:\\[^]|[^"\\\n])*)"|'((?:\\[^]|[^'\\\n])*)'|([A-Za-z_]\w*)|\s+|([^])/g;

type Value = string | boolean | LuaTable | undefined;
interface LuaTable {
  readonly fields: Map<string, { readonly value: Value; readonly offset: number }>;
  readonly items: Value[];
}

export function readLuaSchema(text: string, file: string, deployment: Deployment): void {
  const place = (offset: number): { line: number; column: number } => {
    const before = text.slice(0, offset).split('\n');
    return { line: before.length, column: (before.at(-1) ?? '').length + 1 };
  };
  const fail = (offset: number, reason: string): HkaError => {
    const { line, column } = place(offset);
    return new HkaError('HKA_CONFIG_INVALID', `${file}:${line}:${column} is not valid Lua: ${reason}`, {
      details: { file, line, column },
    });
  };
  const tokens = tokensOf(text);
  const stray = tokens.find(({ type, text: one }) => type === 'other' && (one === '"' || one === "'"));
  if (stray !== undefined) throw fail(stray.offset, 'a string does not end');
  const parser = new Parser(tokens, fail);
  for (const table of parser.tables()) {
    walk(table, (name, field, offset) => {
      deployment.schemaFields.push({
        name,
        isReferenceable:
          field.fields.get('referenceable')?.value === true || isMarked(field, 'referenceable'),
        isEncrypted: field.fields.get('encrypted')?.value === true || isMarked(field, 'encrypted'),
        place: { source: file, ...place(offset), path: name, entity: `field ${name}` },
      });
    });
  }
}

/** A list or map is marked by its elements. */
function isMarked(field: LuaTable, mark: string): boolean {
  return ['elements', 'values'].some((part) => {
    const inner = field.fields.get(part)?.value;
    return typeof inner === 'object' && inner.fields.get(mark)?.value === true;
  });
}

function isTextField(table: LuaTable): boolean {
  const type = table.fields.get('type')?.value;
  if (type === 'string') return true;
  if (type !== 'array' && type !== 'set' && type !== 'map') return false;
  const inner = table.fields.get('elements')?.value ?? table.fields.get('values')?.value;
  return typeof inner === 'object' && inner.fields.get('type')?.value === 'string';
}

function walk(table: LuaTable, visit: (name: string, field: LuaTable, offset: number) => void): void {
  for (const [name, { value, offset }] of table.fields) {
    if (typeof value !== 'object') continue;
    if (name !== 'elements' && name !== 'values' && name !== 'keys' && isTextField(value)) {
      visit(name, value, offset);
    }
    walk(value, visit);
  }
  for (const item of table.items) if (typeof item === 'object') walk(item, visit);
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  for (const match of text.matchAll(TOKEN)) {
    const [whole, , , long, double, single, name, other] = match;
    const string = long ?? double ?? single;
    if (string !== undefined) tokens.push({ type: 'string', text: string, offset: match.index });
    else if (name !== undefined) tokens.push({ type: 'name', text: name, offset: match.index });
    else if (other !== undefined) tokens.push({ type: 'other', text: whole, offset: match.index });
  }
  return tokens;
}

const BLOCKS = new Set(['function', 'if', 'do', 'repeat']);
const OPENING: Readonly<Record<string, string>> = { '{': '}', '(': ')', '[': ']' };

class Parser {
  readonly #tokens: readonly Token[];
  readonly #fail: (offset: number, reason: string) => HkaError;
  #at = 0;

  constructor(tokens: readonly Token[], fail: (offset: number, reason: string) => HkaError) {
    this.#tokens = tokens;
    this.#fail = fail;
  }

  tables(): LuaTable[] {
    const tables: LuaTable[] = [];
    while (this.#at < this.#tokens.length) {
      const token = this.#tokens[this.#at];
      if (token?.text === '{' && token.type === 'other') tables.push(this.#table());
      else this.#at += 1;
    }
    return tables;
  }

  #peek(ahead = 0): Token | undefined {
    return this.#tokens[this.#at + ahead];
  }

  #is(text: string, ahead = 0): boolean {
    const token = this.#peek(ahead);
    return token?.type === 'other' && token.text === text;
  }

  #table(): LuaTable {
    const start = this.#peek()?.offset ?? 0;
    const table: LuaTable = { fields: new Map(), items: [] };
    this.#at += 1;
    while (!this.#is('}')) {
      const token = this.#peek();
      if (token === undefined) throw this.#fail(start, 'a table does not end');
      if (this.#is(',') || this.#is(';')) {
        this.#at += 1;
      } else if (token.type === 'name' && this.#is('=', 1) && !this.#is('=', 2)) {
        this.#at += 2;
        table.fields.set(token.text, { value: this.#value(), offset: token.offset });
      } else if (this.#is('[') && this.#peek(1)?.type === 'string' && this.#is(']', 2) && this.#is('=', 3)) {
        const key = this.#peek(1)?.text ?? '';
        this.#at += 4;
        table.fields.set(key, { value: this.#value(), offset: token.offset });
      } else {
        table.items.push(this.#value());
      }
    }
    this.#at += 1;
    return table;
  }

  /** One expression. Anything but a plain string, switch or table is undefined; its tables are passed over with it. */
  #value(): Value {
    const token = this.#peek();
    let value: Value;
    if (token?.type === 'string') value = token.text;
    else if (token?.type === 'name' && (token.text === 'true' || token.text === 'false')) {
      value = token.text === 'true';
    } else if (this.#is('{')) value = this.#table();
    else return this.#skip();
    if (typeof value !== 'object') this.#at += 1;
    if (this.#is(',') || this.#is(';') || this.#is('}')) return value;
    this.#skip();
    return typeof value === 'object' ? value : undefined;
  }

  #skip(): undefined {
    const closing: string[] = [];
    for (;;) {
      const token = this.#peek();
      if (token === undefined) return undefined;
      if (token.type === 'other') {
        if (closing.length === 0 && /^[,;}]$/.test(token.text)) return undefined;
        const end = OPENING[token.text];
        if (end !== undefined) closing.push(end);
        else if (token.text === closing.at(-1)) closing.pop();
      } else if (token.type === 'name') {
        if (BLOCKS.has(token.text)) closing.push(token.text === 'repeat' ? 'until' : 'end');
        else if (token.text === closing.at(-1)) closing.pop();
      }
      this.#at += 1;
    }
  }
}
