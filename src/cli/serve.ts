/** `serve`: the plugin server, until SIGTERM or SIGINT; SIGHUP reads the configuration again. */
import { createLogger, describeError } from '../lib/logger.ts';
import { createHashedKeyAuth } from '../plugin/hashed-key-auth.ts';
import { findConfigFile, loadConfig } from '../runtime/config.ts';
import { ReloadableRuntime } from '../runtime/reloadable.ts';
import { PluginServer } from '../server/plugin-server.ts';

export async function serve(configFile: string | undefined): Promise<number> {
  const file = findConfigFile(configFile);
  const config = loadConfig(file);
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
  const runtime = new ReloadableRuntime(config, logger);
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
  let reloading = Promise.resolve();
  process.on('SIGHUP', () => {
    // One after another: the last file read is the one that counts.
    reloading = reloading.then(async () => {
      try {
        await runtime.reload(loadConfig(file));
        logger.info({ file }, 'configuration read again');
      } catch (error) {
        logger.error({ err: describeError(error) }, 'the new configuration is refused; the former one stays');
      }
    });
  });
  const signal = await stopped;
  logger.info({ signal, events: server.runningEvents }, 'ending; requests in flight may finish');
  await server.close();
  await runtime.close();
  logger.info({}, 'ended');
  return 0;
}
