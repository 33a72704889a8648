/**
 * Kong's side of ProtoBuf:1: one connection for a call, a loop of PDK calls during an event, and what Kong does when
 * anything goes wrong: answer 500, or, when the connection closed, start the instance again and repeat the event.
 */
import { CosocketError, type Cosocket } from './cosocket.ts';
import { LuaError, NilAndError, isTable, type LuaTable, type LuaValue } from './lua.ts';
import { pdkMethod, type PdkResult } from './pdk.ts';
import {
  decode,
  encode,
  unwrapList,
  unwrapStruct,
  unwrapValue,
  wrapStruct,
  wrapValue,
} from './protobuf-messages.ts';
import type { RequestContext } from './request-context.ts';
import { errorResponse } from './responses.ts';
import { ResponseExit } from './request-context.ts';
import type { ExternalPlugin, PluginSettings, Worker } from './worker.ts';

/** Argument and reply types of the service in pluginsocket.proto, by method. */
const SERVICE: Record<string, readonly [input: string, output: string]> = {
  'kong.client.get_ip': ['Empty', 'String'],
  'kong.client.get_forwarded_ip': ['Empty', 'String'],
  'kong.client.get_port': ['Empty', 'Int'],
  'kong.client.get_forwarded_port': ['Empty', 'Int'],
  'kong.client.get_credential': ['Empty', 'AuthenticatedCredential'],
  'kong.client.load_consumer': ['ConsumerSpec', 'Consumer'],
  'kong.client.get_consumer': ['Empty', 'Consumer'],
  'kong.client.authenticate': ['AuthenticateArgs', 'Empty'],
  'kong.client.get_protocol': ['Bool', 'String'],
  'kong.ctx.shared.set': ['KV', 'Empty'],
  'kong.ctx.shared.get': ['String', 'Value'],
  'kong.ip.is_trusted': ['String', 'Bool'],
  'kong.log.alert': ['ListValue', 'Empty'],
  'kong.log.crit': ['ListValue', 'Empty'],
  'kong.log.err': ['ListValue', 'Empty'],
  'kong.log.warn': ['ListValue', 'Empty'],
  'kong.log.notice': ['ListValue', 'Empty'],
  'kong.log.info': ['ListValue', 'Empty'],
  'kong.log.debug': ['ListValue', 'Empty'],
  'kong.log.set_serialize_value': ['KV', 'Empty'],
  'kong.log.serialize': ['Empty', 'String'],
  'kong.nginx.get_var': ['String', 'String'],
  'kong.nginx.get_tls1_version_str': ['Empty', 'String'],
  'kong.nginx.set_ctx': ['KV', 'String'],
  'kong.nginx.get_ctx': ['String', 'Value'],
  'kong.nginx.req_start_time': ['Empty', 'Number'],
  'kong.nginx.get_subsystem': ['Empty', 'String'],
  'kong.node.get_id': ['Empty', 'String'],
  'kong.request.get_scheme': ['Empty', 'String'],
  'kong.request.get_host': ['Empty', 'String'],
  'kong.request.get_port': ['Empty', 'Int'],
  'kong.request.get_forwarded_scheme': ['Empty', 'String'],
  'kong.request.get_forwarded_host': ['Empty', 'String'],
  'kong.request.get_forwarded_port': ['Empty', 'Int'],
  'kong.request.get_http_version': ['Empty', 'Number'],
  'kong.request.get_method': ['Empty', 'String'],
  'kong.request.get_path': ['Empty', 'String'],
  'kong.request.get_path_with_query': ['Empty', 'String'],
  'kong.request.get_raw_query': ['Empty', 'String'],
  'kong.request.get_query_arg': ['String', 'String'],
  'kong.request.get_query': ['Int', 'Struct'],
  'kong.request.get_header': ['String', 'String'],
  'kong.request.get_headers': ['Int', 'Struct'],
  'kong.request.get_raw_body': ['Empty', 'RawBodyResult'],
  'kong.request.get_uri_captures': ['Empty', 'UriCapturesResult'],
  'kong.response.get_status': ['Empty', 'Int'],
  'kong.response.get_header': ['String', 'String'],
  'kong.response.get_headers': ['Int', 'Struct'],
  'kong.response.get_source': ['Empty', 'String'],
  'kong.response.set_status': ['Int', 'Empty'],
  'kong.response.set_header': ['KV', 'Empty'],
  'kong.response.add_header': ['KV', 'Empty'],
  'kong.response.clear_header': ['String', 'Empty'],
  'kong.response.set_headers': ['Struct', 'Empty'],
  'kong.response.exit': ['ExitArgs', 'Empty'],
  'kong.router.get_route': ['Empty', 'Route'],
  'kong.router.get_service': ['Empty', 'Service'],
  'kong.service.set_upstream': ['String', 'Bool'],
  'kong.service.set_target': ['Target', 'Empty'],
  'kong.service.request.set_scheme': ['String', 'Empty'],
  'kong.service.request.set_path': ['String', 'Empty'],
  'kong.service.request.set_raw_query': ['String', 'Empty'],
  'kong.service.request.set_method': ['String', 'Empty'],
  'kong.service.request.set_query': ['Struct', 'Empty'],
  'kong.service.request.set_header': ['KV', 'Empty'],
  'kong.service.request.add_header': ['KV', 'Empty'],
  'kong.service.request.clear_header': ['String', 'Empty'],
  'kong.service.request.set_headers': ['Struct', 'Empty'],
  'kong.service.request.set_raw_body': ['ByteString', 'Empty'],
  'kong.service.response.get_status': ['Empty', 'Int'],
  'kong.service.response.get_header': ['String', 'String'],
  'kong.service.response.get_headers': ['Int', 'Struct'],
  'kong.service.response.get_raw_body': ['Empty', 'ByteString'],
};

/** More repeats of one event than this end in 500; Kong itself knows no bound. */
const MAX_REPEATS = 500;

function unwrapArguments(type: string, message: LuaTable): LuaValue[] {
  switch (type) {
    case 'Empty':
      return [];
    case 'ListValue':
      return unwrapList(message);
    case 'Struct':
      return [unwrapStruct(message)];
    case 'KV':
      return [message['k'], unwrapValue(message['v'])];
    case 'Target':
      return [message['host'], message['port']];
    case 'ExitArgs':
      return [message['status'], message['body'], unwrapStruct(message['headers'])];
    case 'ConsumerSpec':
      return [message['id'], message['by_username']];
    case 'AuthenticateArgs':
      return [message['consumer'], message['credential']];
    default:
      return [message['v']];
  }
}

/** The reply's message; undefined for an empty reply. */
async function wrapResult(
  ctx: RequestContext,
  type: string,
  result: PdkResult,
): Promise<LuaTable | undefined> {
  if (type === 'RawBodyResult') {
    if (typeof result === 'string') return { content: result };
    const { file } = await ctx.body();
    if (file !== undefined) return { body_filepath: file };
    return { error: result instanceof NilAndError ? result.message : "Can't read request body" };
  }
  const value = result instanceof NilAndError ? undefined : result;
  switch (type) {
    case 'Empty':
      return undefined;
    case 'String':
    case 'ByteString':
    case 'Int':
    case 'Number':
    case 'Bool':
      return { v: value };
    case 'Value':
      return wrapValue(value);
    case 'Struct':
      return wrapStruct(value);
    default:
      return isTable(value) && !Array.isArray(value) ? value : undefined;
  }
}

async function callPdk(ctx: RequestContext, method: string, args: Buffer): Promise<Uint8Array> {
  const types = SERVICE[method];
  const implementation = pdkMethod(method);
  if (types === undefined || implementation === undefined)
    throw new CosocketError(`method "${method}" not found`);
  const [input, output] = types;
  const result = await implementation(ctx, unwrapArguments(input, decode(input, args)));
  const reply = await wrapResult(ctx, output, result);
  return reply === undefined ? Buffer.alloc(0) : encode(output, reply);
}

async function readFrame(connection: Cosocket): Promise<Buffer> {
  const length = (await connection.receive(4)).readUInt32LE(0);
  return connection.receive(length);
}

function writeFrame(connection: Cosocket, payload: Uint8Array): void {
  const frame = Buffer.alloc(4 + payload.length);
  frame.writeUInt32LE(payload.length);
  frame.set(payload, 4);
  connection.send(frame);
}

/** One call, with its PDK calls when it is an event. `ctx` owns the connection until it is back in the pool. */
async function call(
  worker: Worker,
  plugin: ExternalPlugin,
  ctx: RequestContext,
  command: string,
  message: LuaTable,
  isEvent: boolean,
): Promise<LuaTable> {
  const sequence = worker.nextSequence();
  const connection = await worker.pool.connect(plugin.server.socket);
  let inUse = true;
  ctx.atEnd(() => {
    if (inUse) connection.close();
  });
  const send = (payload: Uint8Array): void => {
    try {
      writeFrame(connection, payload);
    } catch (error) {
      // Kong asserts that a write works.
      throw new LuaError(String(error));
    }
  };
  send(encode('RpcCall', { sequence, [command]: message }));
  while (isEvent) {
    const method = (await readFrame(connection)).toString('latin1');
    if (method === '') break;
    const args = await readFrame(connection);
    send(await callPdk(ctx, method, args));
  }
  const last = await readFrame(connection);
  inUse = false;
  connection.setKeepalive();
  const reply = decode('RpcReturn', last);
  if (reply['sequence'] !== sequence) throw new LuaError('assertion failed!');
  return reply;
}

export async function startInstance(
  worker: Worker,
  plugin: ExternalPlugin,
  settings: PluginSettings,
  ctx: RequestContext,
): Promise<number> {
  const reply = await call(
    worker,
    plugin,
    ctx,
    'cmd_start_instance',
    { name: plugin.name, config: Buffer.from(settings.json).toString('latin1') },
    false,
  );
  const status = reply['instance_status'];
  if (!isTable(status) || Array.isArray(status))
    throw new LuaError("attempt to index field 'instance_status' (a nil value)");
  return status['instance_id'] as number;
}

export async function closeInstance(
  worker: Worker,
  plugin: ExternalPlugin,
  id: number,
  ctx: RequestContext,
): Promise<void> {
  await call(worker, plugin, ctx, 'cmd_close_instance', { instance_id: id }, false);
}

/** Runs one event to its end. Throws a ResponseExit or LuaError when the request ends here. */
export async function handleEvent(
  worker: Worker,
  plugin: ExternalPlugin,
  settings: PluginSettings,
  ctx: RequestContext,
  phase: 'access' | 'log',
): Promise<void> {
  for (let repeats = 0; ; repeats += 1) {
    try {
      const instanceId = await worker.instanceId(plugin, settings, ctx);
      await call(
        worker,
        plugin,
        ctx,
        'cmd_handle_event',
        { instance_id: instanceId, event_name: phase },
        true,
      );
      return;
    } catch (error) {
      if (!(error instanceof CosocketError)) throw error;
      if (!/no plugin instance|closed/i.test(error.message) || repeats >= MAX_REPEATS) {
        ctx.log('error', `pluginserver error: ${error.message}`);
        throw new ResponseExit(errorResponse(ctx, 500));
      }
      worker.resetInstances(plugin.name);
      worker.countRepeat();
      ctx.log('warn', error.message);
    }
  }
}
