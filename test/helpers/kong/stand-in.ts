/**
 * The stand-in Kong: an HTTP gateway that runs plugins of plugin servers as Kong 3.9.3 does, its faults included. Where a
 * real Kong can be had (KONG_BIN), it is held to the same tests.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2Server, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CosocketPool } from './cosocket.ts';
import {
  readDeclarative,
  type Configuration,
  type DeclarativeConfig,
  type PluginConfiguration,
  type Route,
} from './declarative.ts';
import type { Gateway, GatewayOptions, PluginServerDefinition } from './gateway.ts';
import { LuaError } from './lua.ts';
import { ManagedProcess } from './managed-process.ts';
import { NATIVE_PLUGINS } from './native-plugins.ts';
import { configSchema, prepareConfig, resolveReferences, type PluginSchema } from './plugin-schema.ts';
import { proxy } from './proxy.ts';
import {
  RequestContext,
  ResponseExit,
  type Downstream,
  type GatewayResponse,
  type Log,
} from './request-context.ts';
import { buildResponse, errorResponse, raisedResponse } from './responses.ts';
import { createRouter } from './router.ts';
import { Worker, type ExternalPlugin, type PluginSettings } from './worker.ts';

const run = promisify(execFile);
const NGINX_TIMEOUT_MS = 60_000;
const POOL_SIZE = 30;
const WORKSPACE = '0dfc3b1c-5a1a-4c1c-9f0b-9a3e5d0f1c11';

interface Dump {
  Protocol?: string;
  Plugins?: { Name: string; Priority: number; Phases: string[]; Schema: PluginSchema }[];
}

/** Everything that a load of a declarative configuration makes. */
interface Loaded {
  readonly configuration: Configuration;
  readonly match: ReturnType<typeof createRouter>;
  /** By plugin configuration id. */
  readonly settings: ReadonlyMap<string, PluginSettings>;
}

async function queryPlugin(server: PluginServerDefinition): Promise<ExternalPlugin> {
  const { stdout } = await run('sh', ['-c', server.queryCommand], { maxBuffer: 16 * 1024 * 1024 });
  const parsed = JSON.parse(stdout) as Dump | NonNullable<Dump['Plugins']>;
  const dump: Dump = Array.isArray(parsed) ? { Plugins: parsed } : parsed;
  // Kong loads the first plugin of a dump only.
  const first = dump.Plugins?.[0];
  if (first === undefined) throw new Error(`not a plugin info table: ${server.name}`);
  const protocol = dump.Protocol ?? 'MsgPack:1';
  if (protocol !== 'ProtoBuf:1' && protocol !== 'MsgPack:1') throw new Error(`unknown protocol ${protocol}`);
  return {
    name: first.Name,
    priority: first.Priority,
    protocol,
    phases: first.Phases,
    server,
    schema: configSchema(first.Schema),
  };
}

class StandInKong {
  readonly #workers: Worker[];
  readonly #plugins: ReadonlyMap<string, ExternalPlugin>;
  readonly #folder = mkdtempSync(join(tmpdir(), 'stand-in-kong-'));
  readonly #lines: string[] = [];
  #loaded: Loaded;
  #sequence = 0;
  #turn = 0;
  #repeats = 0;

  constructor(options: GatewayOptions, plugins: readonly ExternalPlugin[]) {
    this.#plugins = new Map(plugins.map((plugin) => [plugin.name, plugin]));
    this.#workers = Array.from({ length: options.workers ?? 1 }, () => {
      const pool = new CosocketPool({
        keepaliveTimeoutMs: options.keepaliveTimeoutMs ?? NGINX_TIMEOUT_MS,
        timeoutMs: options.requestTimeoutMs ?? NGINX_TIMEOUT_MS,
        size: POOL_SIZE,
      });
      return new Worker(
        pool,
        () => (this.#repeats += 1),
        (pluginName) => {
          for (const worker of this.#workers) worker.forget(pluginName);
        },
      );
    });
    this.#loaded = this.#read(options.config);
  }

  get repeats(): number {
    return this.#repeats;
  }

  readonly log: Log = (level, message) => {
    this.#lines.push(`${new Date().toISOString()} [${level}] ${message}`);
    // The log of a long run would otherwise grow without end.
    if (this.#lines.length > 200_000) this.#lines.splice(0, 100_000);
  };

  logText(): string {
    return this.#lines.join('\n');
  }

  load(config: DeclarativeConfig): void {
    this.#loaded = this.#read(config);
  }

  close(): void {
    for (const worker of this.#workers) worker.pool.closeAll();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Handles one request from beginning to end. */
  async handle(downstream: Downstream): Promise<void> {
    const { configuration, match, settings } = this.#loaded;
    const ctx = new RequestContext(downstream, configuration, this.log, this.#folder);
    const logging: (() => Promise<void>)[] = [];
    let response: GatewayResponse;
    let source: 'service' | 'exit' | 'error' = 'exit';
    try {
      response = await this.#process(ctx, match, settings, logging);
      source = ctx.proxied ? 'service' : 'error';
    } catch (error) {
      if (error instanceof ResponseExit) response = error.response;
      else {
        source = 'error';
        this.log('error', error instanceof LuaError ? error.message : `stand-in: ${String(error)}`);
        response = raisedResponse(ctx);
      }
    }
    ctx.end();
    response.headers.set('X-Kong-Request-Id', [ctx.id]);
    await downstream.respond({
      status: response.status,
      headers: response.headers.toRaw(),
      body: response.body ?? Buffer.alloc(0),
    });
    ctx.answer = { status: response.status, source };
    for (const log of logging) await this.#log(log);
    ctx.end();
  }

  /** In Kong's log phase there is nobody to be answered: whatever is raised is logged. */
  async #log(handler: () => Promise<void>): Promise<void> {
    try {
      await handler();
    } catch (error) {
      this.log('error', `log phase: ${String(error)}`);
    }
  }

  async #process(
    ctx: RequestContext,
    match: Loaded['match'],
    settings: Loaded['settings'],
    logging: (() => Promise<void>)[],
  ): Promise<GatewayResponse> {
    const found = match({
      method: ctx.method,
      host: ctx.host,
      path: ctx.path,
      header: (name) => ctx.headers.first(name),
    });
    if (found === undefined) {
      return buildResponse(
        ctx,
        404,
        { message: 'no Route matched with those values', request_id: ctx.id },
        undefined,
      );
    }
    const { route } = found;
    ctx.route = route;
    ctx.service = route.service;
    ctx.prefix = found.prefix;
    if (route.service !== undefined) {
      const { protocol, host, port } = route.service;
      const plainPort = port === (protocol === 'https' ? 443 : 80);
      ctx.upstream = {
        scheme: protocol,
        host,
        port,
        path: found.upstreamPath,
        hostHeader: route.preserveHost
          ? (ctx.headers.all('host')[0] ?? '')
          : plainPort
            ? host
            : `${host}:${port}`,
      };
    }
    const worker = this.#workers[(this.#turn += 1) % this.#workers.length];
    if (worker === undefined) return errorResponse(ctx, 500);
    // A plugin that ends the request ends the access phase of those after it; their log phase runs.
    let ended: { readonly reason: unknown } | undefined;
    const attempt = async (access: () => void | Promise<void>): Promise<void> => {
      try {
        await access();
      } catch (reason) {
        ended = { reason };
      }
    };
    for (const plugin of this.#pluginsFor(route)) {
      ctx.plugin = { name: plugin.name, id: plugin.id };
      const native = NATIVE_PLUGINS.get(plugin.name);
      if (native !== undefined) {
        if (ended === undefined) await attempt(() => native.access(ctx, plugin.config ?? {}));
        continue;
      }
      const external = this.#plugins.get(plugin.name);
      const own = settings.get(plugin.id);
      if (external === undefined || own === undefined) continue;
      const { name, id } = plugin;
      if (external.phases.includes('log')) {
        logging.push(() => {
          ctx.plugin = { name, id };
          return worker.handleEvent(external, own, ctx, 'log');
        });
      }
      if (external.phases.includes('access') && ended === undefined)
        await attempt(() => worker.handleEvent(external, own, ctx, 'access'));
    }
    if (ended !== undefined) throw ended.reason;
    return proxy(ctx);
  }

  /** The most specific configuration of each plugin, the highest priority first. */
  #pluginsFor(route: Route): PluginConfiguration[] {
    const chosen = new Map<string, { plugin: PluginConfiguration; weight: number }>();
    for (const plugin of this.#loaded.configuration.plugins) {
      if (!plugin.enabled || plugin.consumerId !== undefined) continue;
      if (plugin.routeId !== undefined && plugin.routeId !== route.id) continue;
      if (plugin.serviceId !== undefined && plugin.serviceId !== route.service?.id) continue;
      const weight = (plugin.routeId === undefined ? 0 : 2) + (plugin.serviceId === undefined ? 0 : 1);
      const known = chosen.get(plugin.name);
      if (known === undefined || weight > known.weight) chosen.set(plugin.name, { plugin, weight });
    }
    return [...chosen.values()]
      .map(({ plugin }) => plugin)
      .toSorted((a, b) => this.#priorityOf(b.name) - this.#priorityOf(a.name) || (a.name < b.name ? 1 : -1));
  }

  #priorityOf(name: string): number {
    return NATIVE_PLUGINS.get(name)?.priority ?? this.#plugins.get(name)?.priority ?? 0;
  }

  #read(config: DeclarativeConfig): Loaded {
    const configuration = readDeclarative(config);
    const settings = new Map<string, PluginSettings>();
    for (const plugin of configuration.plugins) {
      const external = this.#plugins.get(plugin.name);
      if (external === undefined) {
        if (!NATIVE_PLUGINS.has(plugin.name))
          throw new Error(
            `plugin '${plugin.name}' not enabled; add it to the 'plugins' configuration property`,
          );
        continue;
      }
      const prepared = prepareConfig(plugin.name, external.schema, plugin.config);
      const resolved = resolveReferences(external.schema, prepared, process.env, (reference) =>
        this.log('notice', `could not resolve ${reference}`),
      );
      // Kong counts every configuration it loads; go-pdk takes the number for the instance's id.
      this.#sequence += 1;
      const own = {
        ...resolved,
        __key__: `plugins:${plugin.name}:${plugin.routeId ?? ''}:${plugin.serviceId ?? ''}::::${WORKSPACE}`,
        __seq__: this.#sequence,
        __ws_id: WORKSPACE,
        __plugin_id: plugin.id,
        ...(plugin.routeId === undefined ? {} : { route_id: plugin.routeId }),
        ...(plugin.serviceId === undefined ? {} : { service_id: plugin.serviceId }),
      };
      settings.set(plugin.id, { id: plugin.id, sequence: this.#sequence, json: JSON.stringify(own) });
    }
    return { configuration, match: createRouter(configuration.routes), settings };
  }
}

async function collect(stream: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function downstreamOf(request: IncomingMessage, response: ServerResponse, serverPort: number): Downstream {
  return {
    httpVersion: request.httpVersion === '1.0' ? 1 : 1.1,
    method: request.method ?? 'GET',
    uri: request.url ?? '/',
    rawHeaders: request.rawHeaders,
    remoteAddress: request.socket.remoteAddress ?? '',
    remotePort: request.socket.remotePort ?? 0,
    serverPort,
    readBody: () => collect(request),
    respond: async ({ status, headers, body }) => {
      const bytes = Buffer.isBuffer(body) ? body : await collect(body);
      response.writeHead(status, [...headers, 'Content-Length', String(bytes.length)]);
      response.end(request.method === 'HEAD' ? undefined : bytes);
    },
  };
}

function startHttp2(kong: StandInKong): { server: Server; close: () => void } {
  const sessions = new Set<ServerHttp2Session>();
  const server = createHttp2Server((request, response) => {
    const port = (server.address() as AddressInfo).port;
    const downstream: Downstream = {
      httpVersion: 2,
      method: request.method,
      uri: request.url,
      rawHeaders: request.rawHeaders.flatMap((text, index, all) =>
        index % 2 === 0 && !text.startsWith(':') ? [text, all[index + 1] ?? ''] : [],
      ),
      remoteAddress: request.socket.remoteAddress ?? '',
      remotePort: request.socket.remotePort ?? 0,
      serverPort: port,
      readBody: () => collect(request),
      respond: async ({ status, headers, body }) => {
        const bytes = Buffer.isBuffer(body) ? body : await collect(body);
        for (let at = 0; at + 1 < headers.length; at += 2)
          response.appendHeader((headers[at] ?? '').toLowerCase(), headers[at + 1] ?? '');
        response.writeHead(status);
        response.end(bytes);
      },
    };
    kong.handle(downstream).catch(() => response.end());
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  return {
    server,
    close: () => {
      for (const session of sessions) session.destroy();
    },
  };
}

function listen(server: Server): Promise<number> {
  return new Promise((done) => {
    server.listen(0, '127.0.0.1', () => done((server.address() as AddressInfo).port));
  });
}

export async function startStandInKong(options: GatewayOptions): Promise<Gateway> {
  const plugins = await Promise.all(options.pluginServers.map(queryPlugin));
  const kong = new StandInKong(options, plugins);
  const managed = options.pluginServers.flatMap(({ name, startCommand }) =>
    startCommand === undefined
      ? []
      : [new ManagedProcess(name, startCommand, (line) => kong.log('info', line))],
  );
  for (const process of managed) process.start();
  const http = createServer({ maxHeaderSize: 65_536 }, (request, response) => {
    const { port } = http.address() as AddressInfo;
    kong.handle(downstreamOf(request, response, port)).catch((error: unknown) => {
      kong.log('error', `stand-in: ${String(error)}`);
      response.destroy();
    });
  });
  http.maxHeadersCount = 2000;
  const http2 = startHttp2(kong);
  const port = await listen(http);
  const http2Port = await listen(http2.server);
  return {
    kind: 'stand-in',
    url: `http://127.0.0.1:${port}`,
    h2cUrl: `http://127.0.0.1:${http2Port}`,
    log: () => kong.logText(),
    reload: (config) => {
      kong.load(config);
      return Promise.resolve();
    },
    repeats: () => kong.repeats,
    stop: async () => {
      await Promise.all(managed.map((process) => process.stop()));
      http.closeAllConnections();
      http2.close();
      await Promise.all([http, http2.server].map((server) => new Promise((done) => server.close(done))));
      kong.close();
    },
  };
}
