/**
 * Values as Kong's Lua has them. A Lua string is a string of bytes: here one JS character stands for one byte (latin1),
 * so that bytes of a client that are no UTF-8 travel through the stand-in unchanged, as they do in Kong.
 */

/** nil is undefined; a table is a list or a record (an empty one is either). */
export type LuaValue = undefined | boolean | number | string | LuaValue[] | LuaTable;
export interface LuaTable {
  [key: string]: LuaValue;
}

/** Kong's `error(...)`: the phase ends and the client gets 500. */
export class LuaError extends Error {
  override name = 'LuaError';
}

/** A function that returns `nil, message`. */
export class NilAndError {
  readonly message: string;
  constructor(message: string) {
    this.message = message;
  }
}

export const fromText = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
export const toText = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('utf8');
export const toBytes = (bytes: string): Buffer => Buffer.from(bytes, 'latin1');

export function isTable(value: LuaValue): value is LuaTable | LuaValue[] {
  return typeof value === 'object';
}

export function luaType(value: LuaValue): string {
  if (value === undefined) return 'nil';
  return typeof value === 'object' ? 'table' : typeof value;
}

/** Lua's tostring. */
export function luaToString(value: LuaValue): string {
  if (value === undefined) return 'nil';
  return typeof value === 'object' ? 'table' : String(value);
}

/** JSON data with its strings turned into Lua's. */
export function fromJson(value: unknown): LuaValue {
  if (value === null || value === undefined) return undefined;
  if (typeof value === 'string') return fromText(value);
  if (typeof value === 'number' || typeof value === 'boolean') return value;
  if (Array.isArray(value)) return value.map(fromJson);
  if (typeof value === 'object') {
    const table: LuaTable = {};
    for (const [key, item] of Object.entries(value)) table[fromText(key)] = fromJson(item);
    return table;
  }
  throw new LuaError(`no Lua value for a ${typeof value}`);
}

/** The way back, to UTF-8 text. */
export function toJson(value: LuaValue): unknown {
  if (typeof value === 'string') return toText(value);
  if (Array.isArray(value)) return value.map((item) => (item === undefined ? null : toJson(item)));
  if (typeof value === 'object') {
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(([key, item]) => [toText(key), toJson(item)]),
    );
  }
  return value;
}
