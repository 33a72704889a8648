/**
 * Kong's side of the plugin development kit: what a call such as `kong.request.get_header` does to a request, for the
 * access phase. Arguments and results are Lua values; what raises in Kong throws a {@link LuaError} here.
 */
import type { Consumer } from './declarative.ts';
import { LuaError, NilAndError, fromText, luaToString, toJson, type LuaTable, type LuaValue } from './lua.ts';
import { nginxVariable } from './nginx-variables.ts';
import { readForm } from './pdk-body.ts';
import { serviceMethods } from './pdk-service.ts';
import { decodeArguments } from './query.ts';
import { error, exit, headerValuesOf, setResponseHeader } from './responses.ts';
import { normalizePath } from './router.ts';
import type { LogLevel, RequestContext } from './request-context.ts';

export type PdkResult = LuaValue | NilAndError;
export type PdkMethod = (ctx: RequestContext, args: LuaValue[]) => PdkResult | Promise<PdkResult>;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function stringArgument(value: LuaValue, what: string): string {
  if (typeof value !== 'string') throw new LuaError(`${what} must be a string`);
  return value;
}

/** A maximum of headers or arguments: 100 when not given, else 1 to 1,000. */
function maximum(value: LuaValue, what: string): number {
  if (value === undefined) return 100;
  if (typeof value !== 'number') throw new LuaError(`${what} must be a number`);
  if (value < 1) throw new LuaError(`${what} must be >= 1`);
  if (value > 1000) throw new LuaError(`${what} must be <= 1000`);
  return value;
}

/** A consumer as Kong's database gives it to Lua code. */
export function consumerTable(consumer: Consumer): LuaTable {
  return {
    id: consumer.id,
    created_at: consumer.createdAt,
    updated_at: consumer.createdAt,
    username: consumer.username === undefined ? undefined : fromText(consumer.username),
    custom_id: consumer.customId === undefined ? undefined : fromText(consumer.customId),
    tags: consumer.tags?.map(fromText),
  };
}

function loadConsumer(ctx: RequestContext, id: LuaValue, byUsername: LuaValue): LuaValue {
  const wanted = stringArgument(id, 'consumer_id');
  const isUuid = UUID.test(wanted);
  const searches = byUsername !== undefined && byUsername !== false;
  if (!isUuid && !searches) throw new LuaError('cannot load a consumer with an id that is not a uuid');
  const { consumersById, consumersByUsername } = ctx.configuration;
  const byId = isUuid ? consumersById.get(wanted) : undefined;
  const named = searches
    ? consumersByUsername.get(Buffer.from(wanted, 'latin1').toString('utf8'))
    : undefined;
  const found = byId ?? named;
  return found === undefined ? undefined : consumerTable(found);
}

function authenticate(ctx: RequestContext, consumer: LuaValue, credential: LuaValue): void {
  for (const [name, value] of [
    ['consumer', consumer],
    ['credential', credential],
  ] as const) {
    if (value !== undefined && typeof value !== 'object')
      throw new LuaError(`${name} must be a table or nil`);
  }
  if (consumer === undefined && credential === undefined) {
    throw new LuaError('either credential or consumer must be provided');
  }
  ctx.consumer = consumer as LuaTable | undefined;
  ctx.credential = credential as LuaTable | undefined;
}

function logMethod(level: LogLevel): PdkMethod {
  return (ctx, args) => {
    ctx.log(level, `[${ctx.plugin?.name ?? 'kong'}] ${args.map(luaToString).join('')}`);
    return undefined;
  };
}

/** What is known of the answer, in the log phase. */
function answerOf(ctx: RequestContext): NonNullable<RequestContext['answer']> {
  if (ctx.answer === undefined) throw new LuaError('function cannot be called in access phase');
  return ctx.answer;
}

/** What needs a response that the access phase doesn't have yet. */
const tooEarly: PdkMethod = () => {
  throw new LuaError('function cannot be called in access phase');
};

const routeTable = ({ route }: RequestContext): LuaValue =>
  route === undefined
    ? undefined
    : {
        id: route.id,
        name: route.name === '' ? undefined : route.name,
        protocols: route.protocols,
        methods: route.methods.length === 0 ? undefined : route.methods,
        hosts: route.hosts.length === 0 ? undefined : route.hosts,
        paths: route.paths.length === 0 ? undefined : route.paths,
        strip_path: route.stripPath,
        preserve_host: route.preserveHost,
        regex_priority: route.regexPriority,
        service: route.service === undefined ? undefined : { id: route.service.id },
      };

const serviceTable = ({ service }: RequestContext): LuaValue =>
  service === undefined
    ? undefined
    : {
        id: service.id,
        name: service.name === '' ? undefined : service.name,
        protocol: service.protocol,
        host: service.host,
        port: service.port,
        path: service.path === '' ? undefined : service.path,
        connect_timeout: service.connectTimeoutMs,
        read_timeout: service.readTimeoutMs,
      };

const rawQuery = (ctx: RequestContext): string => ctx.args;
const headerTable = (ctx: RequestContext, max: LuaValue): LuaTable =>
  Object.fromEntries(ctx.headers.table(maximum(max, 'max_headers')));

const requestMethods: Record<string, PdkMethod> = {
  'kong.request.get_scheme': () => 'http',
  'kong.request.get_host': (ctx) => ctx.host,
  'kong.request.get_port': (ctx) => ctx.downstream.serverPort,
  'kong.request.get_forwarded_scheme': () => 'http',
  'kong.request.get_forwarded_host': (ctx) => ctx.host,
  'kong.request.get_forwarded_port': (ctx) => ctx.downstream.serverPort,
  'kong.request.get_forwarded_path': (ctx) => normalizePath(ctx.path),
  'kong.request.get_forwarded_prefix': (ctx) => ctx.prefix,
  'kong.request.get_http_version': (ctx) => ctx.downstream.httpVersion,
  'kong.request.get_method': (ctx) => ctx.method,
  'kong.request.get_path': (ctx) => normalizePath(ctx.path),
  'kong.request.get_raw_path': (ctx) => ctx.path,
  'kong.request.get_path_with_query': (ctx) => ctx.downstream.uri,
  'kong.request.get_raw_query': rawQuery,
  'kong.request.get_query_arg': (ctx, [name]) => {
    const value = decodeArguments(ctx.args)[stringArgument(name, 'query argument name')];
    return Array.isArray(value) ? value[0] : value;
  },
  'kong.request.get_query': (ctx, [max]) => decodeArguments(ctx.args, maximum(max, 'max_args')),
  'kong.request.get_header': (ctx, [name]) => ctx.headers.first(stringArgument(name, 'header name')),
  'kong.request.get_headers': (ctx, [max]) => headerTable(ctx, max),
  'kong.request.get_raw_body': async (ctx) => {
    const { bytes, file } = await ctx.body();
    if (file === undefined) return bytes.toString('latin1');
    return new NilAndError(
      "request body did not fit into client body buffer, consider raising 'client_body_buffer_size'",
    );
  },
  'kong.request.get_body': (ctx, [type]) => readForm(ctx, type),
  'kong.request.get_start_time': (ctx) => Math.floor(ctx.startTime * 1000),
  'kong.request.get_uri_captures': () => ({ unnamed: [], named: {} }),
};

const clientMethods: Record<string, PdkMethod> = {
  'kong.client.get_ip': (ctx) => ctx.downstream.remoteAddress,
  'kong.client.get_forwarded_ip': (ctx) => ctx.downstream.remoteAddress,
  'kong.client.get_port': (ctx) => ctx.downstream.remotePort,
  'kong.client.get_forwarded_port': (ctx) => ctx.downstream.remotePort,
  'kong.client.get_credential': (ctx) => ctx.credential,
  'kong.client.get_consumer': (ctx) => ctx.consumer,
  'kong.client.load_consumer': (ctx, [id, byUsername]) => loadConsumer(ctx, id, byUsername),
  'kong.client.authenticate': (ctx, [consumer, credential]) => {
    authenticate(ctx, consumer, credential);
    return undefined;
  },
  'kong.client.get_protocol': (ctx) => {
    const protocols = ctx.route?.protocols ?? [];
    return protocols.length === 1 ? protocols[0] : 'http';
  },
};

const responseMethods: Record<string, PdkMethod> = {
  'kong.response.get_status': (ctx) => answerOf(ctx).status,
  'kong.response.get_header': tooEarly,
  'kong.response.get_headers': tooEarly,
  'kong.response.get_source': (ctx) => answerOf(ctx).source,
  'kong.response.get_raw_body': tooEarly,
  'kong.service.response.get_status': tooEarly,
  'kong.service.response.get_header': tooEarly,
  'kong.service.response.get_headers': tooEarly,
  'kong.service.response.get_raw_body': tooEarly,
  'kong.response.set_status': () => undefined,
  'kong.response.set_header': (ctx, [name, value]) => {
    setResponseHeader(ctx, ctx.responseHeaders, stringArgument(name, 'header name'), value);
    return undefined;
  },
  'kong.response.add_header': (ctx, [name, value]) => {
    const header = stringArgument(name, 'header name').replaceAll('_', '-');
    for (const item of headerValuesOf(header, value)) ctx.responseHeaders.add(header, item);
    return undefined;
  },
  'kong.response.clear_header': (ctx, [name]) => {
    ctx.responseHeaders.clear(stringArgument(name, 'header name').replaceAll('_', '-'));
    return undefined;
  },
  'kong.response.set_headers': (ctx, [headers]) => {
    if (typeof headers !== 'object') throw new LuaError('headers must be a table');
    for (const [name, value] of Object.entries(headers))
      setResponseHeader(ctx, ctx.responseHeaders, name, value);
    return undefined;
  },
  'kong.response.exit': (ctx, [status, body, headers]) => exit(ctx, status, body, headers),
  'kong.response.error': (ctx, [status, message, headers]) => error(ctx, status, message, headers),
};

const NODE_ID = '3b8ad9b4-0f1f-4f9e-8d0e-57a7d1a7d001';

const otherMethods: Record<string, PdkMethod> = {
  'kong.ctx.shared.set': (ctx, [key, value]) => {
    ctx.shared.set(luaToString(key), value);
    return undefined;
  },
  'kong.ctx.shared.get': (ctx, [key]) => ctx.shared.get(luaToString(key)),
  'kong.nginx.set_ctx': (ctx, [key, value]) => {
    ctx.nginxContext.set(luaToString(key), value);
    return undefined;
  },
  'kong.nginx.get_ctx': (ctx, [key]) => ctx.nginxContext.get(luaToString(key)),
  'kong.nginx.get_var': (ctx, [name]) => nginxVariable(ctx, stringArgument(name, 'bad variable name: it')),
  'kong.nginx.get_tls1_version_str': () => undefined,
  'kong.nginx.req_start_time': (ctx) => ctx.startTime,
  'kong.nginx.get_subsystem': () => 'http',
  'kong.node.get_id': () => NODE_ID,
  'kong.ip.is_trusted': () => false,
  'kong.router.get_route': routeTable,
  'kong.router.get_service': serviceTable,
  'kong.log.serialize': (ctx) =>
    JSON.stringify({
      response: { status: answerOf(ctx).status },
      request: { method: ctx.method, uri: ctx.downstream.uri, id: ctx.id },
      consumer: toJson(ctx.consumer),
      client_ip: ctx.downstream.remoteAddress,
      route: toJson(routeTable(ctx)),
      service: toJson(serviceTable(ctx)),
    }),
  'kong.log.set_serialize_value': () => undefined,
  'kong.log': logMethod('notice'),
  'kong.log.debug': logMethod('debug'),
  'kong.log.info': logMethod('info'),
  'kong.log.notice': logMethod('notice'),
  'kong.log.warn': logMethod('warn'),
  'kong.log.err': logMethod('error'),
  'kong.log.crit': logMethod('crit'),
  'kong.log.alert': logMethod('alert'),
};

const METHODS = new Map<string, PdkMethod>(
  Object.entries({
    ...requestMethods,
    ...clientMethods,
    ...responseMethods,
    ...serviceMethods,
    ...otherMethods,
  }),
);

/**
 * Kong runs the log phase of external plugins in a timer, without the request: what it has not put aside, and what is not
 * in ngx.ctx, raises there. (kong/runloop/plugin_servers/plugin.lua)
 */
const NEEDS_THE_REQUEST =
  /^kong\.(?:request\.(?!get_headers?$)|nginx\.get_var$|client\.get_(?:forwarded_)?(?:ip|port)$)/;

/** The method of that full name, or undefined. */
export function pdkMethod(name: string): PdkMethod | undefined {
  const method = METHODS.get(name);
  if (method === undefined || !NEEDS_THE_REQUEST.test(name)) return method;
  return (ctx, args) => {
    if (ctx.answer !== undefined) throw new LuaError('API disabled in the context of ngx.timer');
    return method(ctx, args);
  };
}
