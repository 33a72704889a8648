/**
 * Kong's side of MsgPack:1: every step of an event is a call of its own, over whichever connection the pool gives. An
 * error of the RPC is only logged, and the request goes on: this protocol fails open once an instance is known.
 */
import { decodeMultiStream, encode } from '@msgpack/msgpack';
import { CosocketError } from './cosocket.ts';
import {
  LuaError,
  NilAndError,
  fromText,
  isTable,
  toBytes,
  toText,
  type LuaTable,
  type LuaValue,
} from './lua.ts';
import { pdkMethod } from './pdk.ts';
import type { RequestContext } from './request-context.ts';
import type { ExternalPlugin, PluginSettings, Worker } from './worker.ts';

/** Errors of the plugin server, as opposed to errors in Kong. */
class RpcError extends Error {
  override name = 'RpcError';
}

const MULTI_MAPS = new Set([
  'kong.request.get_query',
  'kong.request.get_headers',
  'kong.response.get_headers',
  'kong.service.response.get_headers',
]);

const STEPS: Record<string, string> = {
  'kong.client.get_credential': 'plugin.StepCredential',
  'kong.client.load_consumer': 'plugin.StepConsumer',
  'kong.client.get_consumer': 'plugin.StepConsumer',
  'kong.client.authenticate': 'plugin.StepCredential',
  'kong.node.get_memory_stats': 'plugin.StepMemoryStats',
  'kong.router.get_route': 'plugin.StepRoute',
  'kong.router.get_service': 'plugin.StepService',
  'kong.request.get_query': 'plugin.StepMultiMap',
  'kong.request.get_headers': 'plugin.StepMultiMap',
};

function fromWire(value: unknown): LuaValue {
  if (value === null || value === undefined) return undefined;
  if (typeof value === 'string') return fromText(value);
  if (typeof value === 'number' || typeof value === 'boolean') return value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
  if (Array.isArray(value)) return value.map(fromWire);
  if (typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [fromText(name), fromWire(item)]));
  }
  throw new LuaError(`no Lua value for a ${typeof value}`);
}

function toWire(value: LuaValue): unknown {
  if (typeof value === 'string') return toText(value);
  if (Array.isArray(value)) return value.map(toWire);
  if (isTable(value)) {
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(([name, item]) => [toText(name), toWire(item)]),
    );
  }
  return value;
}

/** A table of headers or arguments: every value is a list, `true` an empty one. */
function multiMap(table: LuaValue): unknown {
  return Object.fromEntries(
    Object.entries((table ?? {}) as LuaTable).map(([name, value]) => [
      toText(name),
      value === true ? [] : typeof value === 'string' ? [toText(value)] : toWire(value),
    ]),
  );
}

async function call(worker: Worker, plugin: ExternalPlugin, method: string, args: unknown): Promise<unknown> {
  const id = worker.nextSequence();
  try {
    const connection = await worker.pool.connect(plugin.server.socket);
    connection.send(encode([0, id, method, [args]]));
    const bytes = async function* (): AsyncGenerator<Uint8Array> {
      for (;;) yield await connection.receiveAny();
    };
    for await (const message of decodeMultiStream(bytes())) {
      const [kind, replyId, error, result] = message as [number, number, unknown, unknown];
      // A notification.
      if (kind === 2) continue;
      if (kind !== 1 || replyId !== id) throw new LuaError('RPC response expected from Go plugin server');
      connection.setKeepalive();
      if (error !== null && error !== undefined)
        throw new RpcError(typeof error === 'string' ? error : 'error');
      return result;
    }
  } catch (error) {
    if (error instanceof CosocketError)
      throw new RpcError(error.message === 'closed' ? 'no data' : error.message);
    throw error;
  }
  throw new RpcError('no data');
}

export async function startInstance(
  worker: Worker,
  plugin: ExternalPlugin,
  settings: PluginSettings,
): Promise<number> {
  const status = (await call(worker, plugin, 'plugin.StartInstance', {
    Name: plugin.name,
    Config: settings.json,
  })) as { Id: number };
  return status.Id;
}

export async function closeInstance(worker: Worker, plugin: ExternalPlugin, id: number): Promise<void> {
  await call(worker, plugin, 'plugin.CloseInstance', id);
}

interface Step {
  EventId: number;
  Data: 'ret' | { Method: string; Args: unknown };
}

/** One PDK call, and the RPC that carries its result. */
async function runMethod(
  ctx: RequestContext,
  method: string,
  args: unknown,
): Promise<{ step: string; data: unknown }> {
  const implementation = pdkMethod(method);
  if (implementation === undefined) {
    ctx.log('error', `could not find pdk method: ${method}`);
    return { step: 'plugin.Step', data: undefined };
  }
  const given = fromWire(args);
  const returned = await implementation(ctx, Array.isArray(given) ? given : [given]);
  // As in Kong 3.9.3 (mp_rpc.lua, call_pdk_method): only the first result is kept, an error beside it is lost.
  const result = returned instanceof NilAndError ? undefined : returned;
  const step = STEPS[method] ?? 'plugin.Step';
  if (MULTI_MAPS.has(method)) return { step, data: multiMap(result) };
  if (method === 'kong.request.get_raw_body') {
    // Seen on Kong 3.9.3: a body in a file has no string, and the encoder raises.
    if (typeof result !== 'string') throw new LuaError("attempt to get length of local 'str' (a nil value)");
    return { step, data: toBytes(result) };
  }
  return { step, data: toWire(result) };
}

/** Runs one event to its end, or gives up on it and lets the request go on. */
export async function handleEvent(
  worker: Worker,
  plugin: ExternalPlugin,
  settings: PluginSettings,
  ctx: RequestContext,
  phase: 'access' | 'log',
): Promise<void> {
  for (;;) {
    const instanceId = await worker.instanceId(plugin, settings, ctx);
    try {
      let step = (await call(worker, plugin, 'plugin.HandleEvent', {
        InstanceId: instanceId,
        EventName: phase,
      })) as Step | undefined;
      while (step !== undefined && step.Data !== 'ret') {
        const { step: method, data } = await runMethod(ctx, step.Data.Method, step.Data.Args);
        step = (await call(worker, plugin, method, { EventId: step.EventId, Data: data })) as
          Step | undefined;
      }
      return;
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      if (!/no plugin instance/i.test(error.message)) {
        ctx.log('error', error.message);
        return;
      }
      worker.resetInstances(plugin.name);
      ctx.log('warn', error.message);
    }
  }
}

/** What a failed StartInstance raises. */
export function isRpcError(error: unknown): error is Error {
  return error instanceof RpcError;
}
