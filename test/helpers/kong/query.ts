/** Query strings and forms as ngx.decode_args and ngx.encode_args treat them. Strings are Lua strings. */
import { LuaError, luaToString, type LuaTable, type LuaValue } from './lua.ts';

/** `+` is a space; a `%` that no two hexadecimal digits follow stays as it is. */
export const unescape = (text: string): string =>
  text
    .replaceAll('+', ' ')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

const escape = (text: string): string =>
  text.replace(/[^A-Za-z0-9\-._~]/g, (character) => {
    const code = character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0');
    return `%${code}`;
  });

/** The first `max` arguments: true for a name without `=`, a list where a name is repeated. */
export function decodeArguments(query: string, max = 100): LuaTable {
  const table = Object.create(null) as LuaTable;
  let count = 0;
  for (const part of query.split('&')) {
    const equals = part.indexOf('=');
    const name = unescape(equals === -1 ? part : part.slice(0, equals));
    if (name === '') continue;
    count += 1;
    if (count > max) break;
    const value = equals === -1 ? true : unescape(part.slice(equals + 1));
    const known = table[name];
    if (known === undefined) table[name] = value;
    else if (Array.isArray(known)) known.push(value);
    else table[name] = [known, value];
  }
  return table;
}

function encodeArgument(name: string, value: LuaValue): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => encodeArgument(name, item));
  if (value === true) return [escape(name)];
  if (value === false || value === undefined) return [];
  if (typeof value === 'object') throw new LuaError('attempt to use table as query arg value');
  return [`${escape(name)}=${escape(luaToString(value))}`];
}

/** Names in alphabetical order, as Kong's set_query writes them. */
export function encodeArguments(table: LuaTable): string {
  return Object.entries(table)
    .map(([name, value]) => encodeArgument(name, value).join('&'))
    .toSorted((left, right) => (left < right ? -1 : Number(left > right)))
    .join('&');
}

/** nginx's `$arg_name`: the first of that name (whatever its case), not decoded. */
export function argumentVariable(query: string, name: string): string | undefined {
  const wanted = name.toLowerCase();
  for (const part of query.split('&')) {
    const equals = part.indexOf('=');
    if (equals !== -1 && part.slice(0, equals).toLowerCase() === wanted) return part.slice(equals + 1);
  }
  return undefined;
}
