/**
 * Those of Kong's own plugins that tests put beside ours: acl, ip-restriction, key-auth, basic-auth, jwt and
 * request-transformer, in what those tests ask of them.
 */
import { createHmac } from 'node:crypto';
import { BlockList } from 'node:net';
import type { Consumer } from './declarative.ts';
import { isTable, type LuaTable, type LuaValue } from './lua.ts';
import { consumerTable, pdkMethod } from './pdk.ts';
import { readForm } from './pdk-body.ts';
import { decodeArguments } from './query.ts';
import { ResponseExit, type RequestContext } from './request-context.ts';
import { errorResponse } from './responses.ts';

export interface NativePlugin {
  readonly priority: number;
  access(ctx: RequestContext, config: Record<string, unknown>): void | Promise<void>;
}

function refuse(ctx: RequestContext, status: number, message?: string, headers?: LuaTable): never {
  throw new ResponseExit(errorResponse(ctx, status, message, headers));
}

function setIdentity(
  ctx: RequestContext,
  consumer: LuaTable | undefined,
  credential: LuaTable | undefined,
): void {
  ctx.consumer = consumer;
  ctx.credential = credential;
  const set = (name: string, value: unknown): void => {
    if (typeof value === 'string' && value !== '') ctx.headers.set(name, [value]);
    else ctx.headers.clear(name);
  };
  set('X-Consumer-ID', consumer?.['id']);
  set('X-Consumer-Custom-ID', consumer?.['custom_id']);
  set('X-Consumer-Username', consumer?.['username']);
  set('X-Credential-Identifier', credential?.['id']);
  set('X-Anonymous-Consumer', credential === undefined ? 'true' : undefined);
}

function authenticated(ctx: RequestContext, credential: { id: string; consumer: Consumer }): void {
  setIdentity(ctx, consumerTable(credential.consumer), {
    id: credential.id,
    consumer_id: credential.consumer.id,
  });
}

function goAnonymous(ctx: RequestContext, anonymous: string): void {
  const consumer = pdkMethod('kong.client.load_consumer')?.(ctx, [anonymous, true]);
  setIdentity(ctx, consumer as LuaTable | undefined, undefined);
}

const basicAuth: NativePlugin = {
  priority: 1100,
  access: (ctx, config) => {
    const { anonymous } = config;
    if (typeof anonymous === 'string' && ctx.credential !== undefined) return;
    const [, encoded = ''] = /^Basic (.+)$/i.exec(ctx.headers.first('authorization') ?? '') ?? [];
    const credential = ctx.configuration.basicAuthCredentials.get(
      Buffer.from(encoded, 'base64').toString('utf8'),
    );
    if (credential !== undefined) authenticated(ctx, credential);
    else if (typeof anonymous === 'string') goAnonymous(ctx, anonymous);
    else refuse(ctx, 401, 'Unauthorized', { 'WWW-Authenticate': 'Basic realm="service"' });
  },
};

function jsonObject(text: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** HS256 alone, by the claim `iss`. */
const jwt: NativePlugin = {
  priority: 1450,
  access: (ctx) => {
    const [, head = '', body = '', signature = ''] =
      /^Bearer ([\w-]+)\.([\w-]+)\.([\w-]+)$/.exec(ctx.headers.first('authorization') ?? '') ?? [];
    const claims = jsonObject(Buffer.from(body, 'base64url').toString());
    const credential = ctx.configuration.jwtSecrets.get(String(claims['iss']));
    const expected = createHmac('sha256', credential?.secret ?? '')
      .update(`${head}.${body}`)
      .digest('base64url');
    if (credential?.secret === undefined || expected !== signature) refuse(ctx, 401, 'Unauthorized');
    authenticated(ctx, credential);
  },
};

type Lists = Partial<Record<'headers' | 'querystring', string[]>> | undefined;

/**
 * Headers and query, without templates. The order is Kong's: remove, rename, replace (where there is one), add (where there
 * is none), append.
 */
const requestTransformer: NativePlugin = {
  priority: 801,
  access: (ctx, config) => {
    const pairs = (mode: string, part: 'headers' | 'querystring'): [string, string][] =>
      ((config[mode] as Lists)?.[part] ?? []).map((text) => {
        const [, name = '', value = ''] = /^([^:]+):*(.*)$/.exec(text) ?? [];
        return [name, value];
      });
    for (const [name] of pairs('remove', 'headers')) ctx.headers.clear(name);
    for (const [from, to] of pairs('rename', 'headers')) {
      const value = ctx.headers.first(from);
      if (value === undefined) continue;
      ctx.headers.set(to, [value]);
      ctx.headers.clear(from);
    }
    for (const [name, value] of pairs('replace', 'headers'))
      if (ctx.headers.has(name)) ctx.headers.set(name, [value]);
    for (const [name, value] of pairs('add', 'headers'))
      if (!ctx.headers.has(name)) ctx.headers.set(name, [value]);
    for (const [name, value] of pairs('append', 'headers')) ctx.headers.add(name, value);
    const query = new URLSearchParams(ctx.args);
    const before = query.toString();
    for (const [name] of pairs('remove', 'querystring')) query.delete(name);
    for (const [name, value] of pairs('replace', 'querystring')) if (query.has(name)) query.set(name, value);
    for (const [name, value] of pairs('add', 'querystring')) if (!query.has(name)) query.set(name, value);
    for (const [name, value] of pairs('append', 'querystring')) query.append(name, value);
    if (query.toString() !== before) ctx.args = query.toString();
  },
};

/** The values under `name`, where key-auth looks for them, and what takes them away. */
async function keyAuthValue(
  ctx: RequestContext,
  config: Record<string, unknown>,
  name: string,
): Promise<LuaValue> {
  const table = ctx.headers.table(100);
  const inHeader =
    config['key_in_header'] === false
      ? undefined
      : (table.get(name) ?? table.get(name.toLowerCase().replaceAll('_', '-')));
  if (inHeader !== undefined) return inHeader;
  const inQuery = config['key_in_query'] === false ? undefined : decodeArguments(ctx.args)[name];
  if (inQuery !== undefined || config['key_in_body'] !== true) return inQuery;
  const form = await readForm(ctx, undefined);
  return isTable(form as LuaValue) ? (form as LuaTable)[name] : undefined;
}

async function hideKey(ctx: RequestContext, config: Record<string, unknown>, name: string): Promise<void> {
  await pdkMethod('kong.service.request.clear_query_arg')?.(ctx, [name]);
  ctx.headers.clear(name);
  if (config['key_in_body'] !== true) return;
  const form = await readForm(ctx, undefined);
  if (!isTable(form as LuaValue)) return;
  const { [name]: _key, ...rest } = form as LuaTable;
  await pdkMethod('kong.service.request.set_body')?.(ctx, [rest]);
}

const keyAuth: NativePlugin = {
  priority: 1250,
  access: async (ctx, config) => {
    const anonymous = config['anonymous'];
    if (config['run_on_preflight'] === false && ctx.method === 'OPTIONS') return;
    if (typeof anonymous === 'string' && ctx.credential !== undefined) return;
    let refusal = 'No API key found in request';
    for (const name of (config['key_names'] as string[] | undefined) ?? ['apikey']) {
      const value = await keyAuthValue(ctx, config, name);
      if (Array.isArray(value)) {
        refusal = 'Duplicate API key found';
        break;
      }
      if (typeof value !== 'string') continue;
      // Before it is looked up: a wrong one is hidden as well.
      if (config['hide_credentials'] === true) await hideKey(ctx, config, name);
      const credential = ctx.configuration.keyAuthCredentials.get(value);
      if (credential !== undefined) {
        authenticated(ctx, credential);
        return;
      }
      if (value !== '') refusal = 'Unauthorized';
      break;
    }
    if (typeof anonymous === 'string') goAnonymous(ctx, anonymous);
    else refuse(ctx, 401, refusal, { 'WWW-Authenticate': 'Key' });
  },
};

const acl: NativePlugin = {
  priority: 950,
  access: (ctx, config) => {
    const allow = (config['allow'] as string[] | undefined) ?? [];
    const deny = (config['deny'] as string[] | undefined) ?? [];
    const id = ctx.consumer?.['id'];
    const known = typeof id === 'string' ? ctx.configuration.consumersById.get(id) : undefined;
    if (known === undefined || (known.groups.length === 0 && deny.length === 0)) {
      if (ctx.credential !== undefined) refuse(ctx, 403, 'You cannot consume this service');
      refuse(ctx, 401);
    }
    const inGroup = (groups: string[]): boolean => known.groups.some((group) => groups.includes(group));
    if (allow.length > 0 ? !inGroup(allow) : inGroup(deny))
      refuse(ctx, 403, 'You cannot consume this service');
    if (config['hide_groups_header'] !== true)
      ctx.headers.set('X-Consumer-Groups', [known.groups.join(', ')]);
  },
};

const ipRestriction: NativePlugin = {
  priority: 990,
  access: (ctx, config) => {
    const allowed = new BlockList();
    for (const entry of (config['allow'] as string[] | undefined) ?? []) {
      const [network = '', bits] = entry.split('/');
      allowed.addSubnet(network, bits === undefined ? 32 : Number(bits));
    }
    if (!allowed.check(ctx.downstream.remoteAddress))
      refuse(ctx, 403, `IP address not allowed: ${ctx.downstream.remoteAddress}`);
  },
};

export const NATIVE_PLUGINS: ReadonlyMap<string, NativePlugin> = new Map([
  ['key-auth', keyAuth],
  ['basic-auth', basicAuth],
  ['jwt', jwt],
  ['request-transformer', requestTransformer],
  ['acl', acl],
  ['ip-restriction', ipRestriction],
]);
