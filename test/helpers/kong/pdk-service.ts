/** `kong.service.*`: what plugins change of the request before it goes to the upstream. */
import { LuaError, NilAndError, luaToString, toBytes, toJson, type LuaTable, type LuaValue } from './lua.ts';
import { decodeArguments, encodeArguments, unescape } from './query.ts';
import { headerValuesOf } from './responses.ts';
import type { PdkMethod } from './pdk.ts';
import type { RequestContext } from './request-context.ts';

const METHODS = new Set(
  'GET HEAD PUT POST DELETE OPTIONS MKCOL COPY MOVE PROPFIND PROPPATCH LOCK UNLOCK PATCH TRACE'.split(' '),
);

function text(value: LuaValue, what: string): string {
  if (typeof value !== 'string') throw new LuaError(`${what} must be a string`);
  return value;
}

function setHeader(ctx: RequestContext, name: string, value: LuaValue): void {
  const values = headerValuesOf(name, value);
  if (name.toLowerCase() === 'host') {
    ctx.upstream.hostHeader = luaToString(Array.isArray(value) ? value[0] : value);
  }
  ctx.headers.set(name, values);
}

/** Escapes what may not stand in a path. */
const escapePath = (path: string): string =>
  path.replace(/[^!#$&'()*+,/:;=?@[\]A-Za-z0-9\-_.~%]/g, (character) => {
    const code = character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0');
    return `%${code}`;
  });

function asTable(value: LuaValue, what: string): LuaTable {
  if (typeof value !== 'object') throw new LuaError(`${what} must be a table`);
  if (Array.isArray(value) && value.length > 0) throw new LuaError('arg keys must be strings');
  return value as LuaTable;
}

export const serviceMethods: Record<string, PdkMethod> = {
  'kong.service.set_upstream': (_, [host]) =>
    new NilAndError(`could not find an Upstream named '${text(host, 'host')}'`),
  'kong.service.set_target': (ctx, [host, port]) => {
    const name = text(host, 'host');
    if (typeof port !== 'number' || !Number.isInteger(port)) throw new LuaError('port must be an integer');
    if (port < 0 || port > 65_535) throw new LuaError('port must be an integer between 0 and 65535');
    ctx.upstream.host = name;
    ctx.upstream.port = port;
    ctx.upstream.hostHeader = name;
    return undefined;
  },
  'kong.service.request.set_scheme': (ctx, [scheme]) => {
    const wanted = text(scheme, 'scheme');
    if (wanted !== 'http' && wanted !== 'https') throw new LuaError(`invalid scheme: ${wanted}`);
    ctx.upstream.scheme = wanted;
    return undefined;
  },
  'kong.service.request.set_path': (ctx, [path]) => {
    const wanted = text(path, 'path');
    if (!wanted.startsWith('/')) throw new LuaError('path must start with /');
    ctx.upstream.path = escapePath(wanted);
    return undefined;
  },
  'kong.service.request.set_raw_query': (ctx, [query]) => {
    ctx.args = text(query, 'query');
    return undefined;
  },
  'kong.service.request.set_method': (ctx, [method]) => {
    const wanted = text(method, 'method');
    if (!METHODS.has(wanted)) throw new LuaError(`invalid method: ${wanted}`);
    ctx.method = wanted;
    return undefined;
  },
  'kong.service.request.set_query': (ctx, [args]) => {
    ctx.args = encodeArguments(asTable(args, 'args'));
    return undefined;
  },
  'kong.service.request.clear_query_arg': (ctx, [name]) => {
    const wanted = text(name, 'query argument name');
    const kept = ctx.args.split('&').filter((part) => unescape(part.split('=')[0] ?? '') !== wanted);
    if (kept.length < ctx.args.split('&').length)
      ctx.args = encodeArguments(decodeArguments(kept.join('&'), 1000));
    return undefined;
  },
  'kong.service.request.set_header': (ctx, [name, value]) => {
    setHeader(ctx, text(name, 'header'), value);
    return undefined;
  },
  'kong.service.request.add_header': (ctx, [name, value]) => {
    const header = text(name, 'header');
    for (const item of headerValuesOf(header, value)) ctx.headers.add(header, item);
    return undefined;
  },
  'kong.service.request.clear_header': (ctx, [name]) => {
    ctx.headers.clear(text(name, 'header'));
    return undefined;
  },
  'kong.service.request.set_headers': (ctx, [headers]) => {
    if (typeof headers !== 'object') throw new LuaError('headers must be a table');
    const entries = Object.entries(headers);
    // All are checked before the first is set.
    for (const [name, value] of entries) headerValuesOf(name, value);
    for (const [name, value] of entries) setHeader(ctx, name, value);
    return undefined;
  },
  'kong.service.request.set_raw_body': async (ctx, [body]) => {
    await ctx.body();
    ctx.setBody(toBytes(text(body, 'body')));
    return undefined;
  },
  'kong.service.request.set_body': async (ctx, [args, mime]) => {
    const table = asTable(args, 'args');
    if (mime !== undefined && typeof mime !== 'string') throw new LuaError('mime must be a string');
    const type = mime ?? ctx.headers.first('content-type');
    if (type === undefined) return new NilAndError('content type was neither explicitly given nor received');
    await ctx.body();
    switch (type.split(';')[0]) {
      case 'application/x-www-form-urlencoded':
        ctx.setBody(toBytes(encodeArguments(table)));
        break;
      case 'application/json':
        ctx.setBody(Buffer.from(JSON.stringify(toJson(table))));
        break;
      default:
        throw new LuaError(`unsupported content type ${type}`);
    }
    ctx.headers.set('Content-Type', [type]);
    return true;
  },
};
