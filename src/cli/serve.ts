/** `serve`: the plugin server, until SIGTERM or SIGINT. */
import { createLogger, describeError } from '../lib/logger.ts';
import { createHashedKeyAuth } from '../plugin/hashed-key-auth.ts';
import { findConfigFile, loadConfig } from '../runtime/config.ts';
import { Runtime } from '../runtime/runtime.ts';
import { PluginServer } from '../server/plugin-server.ts';

export async function serve(configFile: string | undefined): Promise<number> {
  const config = loadConfig(findConfigFile(configFile));
  const logger = createLogger(config.log.level);
  // Nothing that a request causes may end the process: Kong would repeat that request on the next one.
  process.on('uncaughtException', (error) =>
    logger.error({ err: describeError(error) }, 'uncaught; still serving'),
  );
  process.on('unhandledRejection', (error) =>
    logger.error({ err: describeError(error) }, 'unhandled; still serving'),
  );

  const stopped = new Promise<NodeJS.Signals>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  const runtime = new Runtime(config, logger);
  await runtime.start();
  const { socket, socketMode, socketGroup, eventDeadlineMs, drainMs, maxConnections, maxFrameBytes } =
    config.server;
  const server = new PluginServer(
    {
      socket,
      socketMode: Number.parseInt(socketMode, 8),
      ...(socketGroup === undefined ? {} : { socketGroup }),
      eventDeadlineMs,
      drainMs,
      maxConnections,
      maxFrameBytes,
    },
    [createHashedKeyAuth(runtime)],
    logger,
  );
  await server.listen();
  const signal = await stopped;
  logger.info({ signal, events: server.runningEvents }, 'ending; requests in flight may finish');
  await server.close();
  await runtime.close();
  logger.info({}, 'ended');
  return 0;
}
