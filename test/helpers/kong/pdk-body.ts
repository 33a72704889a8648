/** `kong.request.get_body`: forms and JSON as Lua tables. Only the MsgPack protocol can call it. */
import {
  LuaError,
  NilAndError,
  fromJson,
  isTable,
  luaToString,
  type LuaTable,
  type LuaValue,
} from './lua.ts';
import { decodeArguments } from './query.ts';
import type { RequestContext } from './request-context.ts';

function parseMultipart(body: string, contentType: string): LuaTable | undefined {
  const boundary = /boundary="?([^";]+)"?/i.exec(contentType)?.[1];
  if (boundary === undefined) return undefined;
  const fields: LuaTable = {};
  for (const part of body.split(`--${boundary}`).slice(1)) {
    const [head = '', ...rest] = part.replace(/^\r?\n/, '').split(/\r?\n\r?\n/);
    const name = /name="?([^";\r\n]*)"?/i.exec(head)?.[1];
    if (name === undefined) continue;
    const value = rest.join('\r\n\r\n').replace(/\r?\n$/, '');
    const known = fields[name];
    if (known === undefined) fields[name] = value;
    else fields[name] = Array.isArray(known) ? [...known, value] : [known, value];
  }
  return fields;
}

export async function readForm(ctx: RequestContext, mimeType: LuaValue): Promise<LuaValue | NilAndError> {
  if (mimeType !== undefined && typeof mimeType !== 'string') throw new LuaError('mimetype must be a string');
  const contentType = mimeType ?? ctx.headers.first('content-type');
  if (contentType === undefined) return new NilAndError('missing content type');
  const type = (contentType.split(';')[0] ?? '').toLowerCase();
  const { bytes, file } = await ctx.body();
  const text = bytes.toString('latin1');
  if (file !== undefined) return new NilAndError('request body did not fit into client body buffer');
  if (type.startsWith('application/x-www-form-urlencoded')) return decodeArguments(text);
  if (type.startsWith('application/json')) {
    try {
      const parsed = fromJson(JSON.parse(bytes.toString('utf8')));
      return isTable(parsed) ? parsed : new NilAndError('invalid json body');
    } catch {
      return new NilAndError('invalid json body');
    }
  }
  if (type.startsWith('multipart/form-data')) {
    return parseMultipart(text, contentType) ?? new NilAndError('unable to decode multipart body');
  }
  return new NilAndError(`unsupported content type '${luaToString(contentType)}'`);
}
