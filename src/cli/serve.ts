/** `serve`: the plugin server, until SIGTERM or SIGINT; SIGHUP reads the configuration again. */
import { availableParallelism } from 'node:os';
import type { RunningAdmin } from './admin.ts';
import { createLogger, describeError, type Logger } from '../lib/logger.ts';
import { createRegistry, serveMetrics, Timings, type MetricsSource } from '../metrics/metrics.ts';
import { createPlugins } from '../plugin/plugins.ts';
import type { InjectionCounts, RequestCounts, ShadowCounts } from '../plugin/request-counts.ts';
import { findConfigFile, loadConfig, type Config } from '../runtime/config.ts';
import { ReloadableRuntime } from '../runtime/reloadable.ts';
import { socketFileOf, SocketServer, type SocketOptions } from '../server/socket-server.ts';
import { Supervisor } from '../workers/supervisor.ts';
import { startWarmUp } from '../workers/warm-up.ts';

export async function serve(configFile: string | undefined): Promise<number> {
  const file = findConfigFile(configFile);
  const config = withWorkers(loadConfig(file));
  const logger = createLogger(config.log.level);
  // Nothing that a request causes may end the process: Kong would repeat that request on the next one.
  process.on('uncaughtException', (error) =>
    logger.error({ err: describeError(error) }, 'uncaught; still serving'),
  );
  process.on('unhandledRejection', (error) =>
    logger.error({ err: describeError(error) }, 'unhandled; still serving'),
  );

  const stopped = new Promise<NodeJS.Signals>((resolve) => {
    // Not `once`: the file lock's library ends the process on a signal that nobody else listens to any more.
    process.on('SIGTERM', resolve);
    process.on('SIGINT', resolve);
  });
  // From now on, too: a signal that nobody listens to ends the process.
  const hangUp = new Repeated();
  process.on('SIGHUP', () => hangUp.ask());
  const timings = new Timings();
  const runtime = await ReloadableRuntime.create(config, logger, timings);
  await runtime.start();
  const server = createServer(config, runtime, logger);
  try {
    await server.listen();
  } catch (error) {
    await server.close();
    await runtime.close();
    throw error;
  }
  const metrics = await startMetrics(config, server, runtime, timings, logger);
  const admin = await startAdminIfWanted(config, logger);
  // Workers do it themselves.
  if (server instanceof SocketServer) startWarmUp(config, () => server.runningEvents > 0, logger);
  const reload = async (): Promise<void> => {
    try {
      const reread = withWorkers(loadConfig(file));
      await runtime.reload(reread);
      server.use?.(reread);
      logger.info({ file }, 'configuration read again');
    } catch (error) {
      logger.error({ err: describeError(error) }, 'the new configuration is refused; the former one stays');
    }
    await admin?.reloadTokens();
  };
  // One after another: the last file read is the one that counts. What came while it started may be about a later file.
  hangUp.start(reload);
  const signal = await stopped;
  logger.info({ signal, events: server.runningEvents }, 'ending; requests in flight may finish');
  metrics?.close();
  await admin?.close();
  await server.close();
  await runtime.close();
  logger.info({}, 'ended');
  return 0;
}

/** Work that is asked for again and again. It runs once at a time; being asked often meanwhile, or before it can, is as good as once. */
class Repeated {
  #work: (() => Promise<void>) | undefined;
  #asked = false;
  #running = false;

  ask(): void {
    this.#asked = true;
    if (!this.#running) void this.#run();
  }

  /** From now on `work`, which never rejects, is done when it is asked for. */
  start(work: () => Promise<void>): void {
    this.#work = work;
    if (this.#asked) this.ask();
  }

  async #run(): Promise<void> {
    if (this.#work === undefined) return;
    this.#running = true;
    while (this.#asked) {
      this.#asked = false;
      await this.#work();
    }
    this.#running = false;
  }
}

/** An admin service that can't start stops nothing: requests matter more than changes of keys. */
async function startAdminIfWanted(config: Config, logger: Logger): Promise<RunningAdmin | undefined> {
  if (!config.admin.inServe) return undefined;
  const { startAdmin } = await import('./admin.ts');
  try {
    return await startAdmin(config, logger);
  } catch (error) {
    logger.error({ err: describeError(error) }, 'there is no admin service');
    return undefined;
  }
}

/** What serves: this process alone, or workers that it looks after. */
interface Server {
  listen(): Promise<void>;
  close(): Promise<void>;
  readonly runningEvents: number;
  readonly connections: number;
  readonly workers: number;
  /** Of other processes than this one. */
  readonly requests?: RequestCounts;
  readonly injections?: InjectionCounts;
  readonly shadow?: ShadowCounts;
  readonly delayed?: number;
  /** Takes a configuration that was read again. */
  use?(config: Config): void;
}

/** A metrics address that is taken stops nothing: requests matter more than counting them. */
async function startMetrics(
  config: Config,
  server: Server,
  runtime: ReloadableRuntime,
  timings: Timings,
  logger: Logger,
): Promise<{ close(): void } | undefined> {
  if (config.metrics === undefined) return undefined;
  const source: MetricsSource = {
    requests: () => server.requests ?? runtime.requests,
    injections: () => server.injections ?? runtime.injections,
    shadow: () => server.shadow ?? runtime.shadow,
    verifications: () => runtime.verifications(),
    argon2: () => runtime.argon2(),
    server: () => ({
      workers: server.workers,
      connections: server.connections,
      events: server.runningEvents,
    }),
    delayed: () => server.delayed ?? runtime.throttle.delayed,
    notReady: () => runtime.notReady(),
    oldestSecretSeconds: () => runtime.oldestSecretSeconds(),
    secrets: () => runtime.secretStates(),
    vaults: () => runtime.vaultStates(),
  };
  const registry = createRegistry(source, timings);
  try {
    return await serveMetrics(config.metrics.listen, registry, () => runtime.notReady(), logger);
  } catch (error) {
    logger.error({ err: describeError(error) }, 'there are no metrics');
    return undefined;
  }
}

const MAX_DEFAULT_WORKERS = 4;

function withWorkers(config: Config): Config {
  const { workers } = config.server;
  if (workers > 0) return config;
  return {
    ...config,
    server: { ...config.server, workers: Math.min(MAX_DEFAULT_WORKERS, availableParallelism()) },
  };
}

function createServer(config: Config, runtime: ReloadableRuntime, logger: Logger): Server {
  const { server } = config;
  const socket: SocketOptions = {
    socket: server.socket,
    socketMode: Number.parseInt(server.socketMode, 8),
    ...(server.socketGroup === undefined ? {} : { socketGroup: server.socketGroup }),
  };
  if (server.workers > 1) {
    const supervisor = new Supervisor(config, socketFileOf(socket, logger), runtime, logger);
    runtime.actedUpon = () => supervisor.actedUpon();
    return supervisor;
  }
  return new SocketServer({ ...server, ...socket }, createPlugins(runtime), logger);
}
