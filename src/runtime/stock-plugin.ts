/**
 * What plugins/hashed-key-auth.cjs hands to the stock `kong-js-pluginserver`. There, an exception in a phase is logged and
 * the request goes on: so nothing may leave `access`, and where no answer can be given the phase never ends, which Kong
 * answers itself. docs/stock-server.md says what that server can't guarantee.
 */
import { Ending, type Lifetime } from '../lib/abortable.ts';
import { kongConfigFields, PLUGIN_NAME, PLUGIN_PRIORITY, VERSION } from '../generated/kong-schema.ts';
import { createLogger, describeError } from '../lib/logger.ts';
import { HkaError } from '../lib/errors.ts';
import { findConfigFile, loadConfig } from './config.ts';
import { Runtime } from './runtime.ts';
import { createHashedKeyAuth } from '../plugin/hashed-key-auth.ts';
import type { PluginDefinition, PluginInstance } from '../plugin/kong.ts';
import { adaptStockKong, type StockKong } from '../plugin/stock-kong.ts';

/** One runtime for all instances of the process. */
let shared: Promise<PluginDefinition> | undefined;
let deadlineMs = 5000;

async function start(): Promise<PluginDefinition> {
  const config = loadConfig(findConfigFile(undefined));
  deadlineMs = config.server.eventDeadlineMs;
  const runtime = new Runtime(config, createLogger(config.log.level));
  await runtime.start();
  return createHashedKeyAuth(runtime);
}

class StockPlugin {
  readonly #instance: Promise<PluginInstance>;

  constructor(config: unknown) {
    shared ??= start();
    this.#instance = shared.then((definition) => definition.start(config));
    this.#instance.catch((error: unknown) => {
      // A start that failed may work the next time: the configuration can be mended without a restart.
      shared = undefined;
      createLogger('info').error({ err: describeError(error) }, 'plugin not started; its routes answer 500');
    });
  }

  async access(stock: StockKong): Promise<void> {
    try {
      const instance = await this.#instance;
      await instance.access(adaptStockKong(stock), untilDeadline());
    } catch {
      try {
        await stock.response.exit(500, '{"message":"An unexpected error occurred"}', {
          'Content-Type': 'application/json; charset=utf-8',
        });
      } catch {
        await new Promise(() => undefined);
      }
    }
  }
}

function untilDeadline(): Lifetime {
  const ending = new Ending();
  setTimeout(
    () => ending.end(new HkaError('HKA_EVENT_DEADLINE', `not decided within ${deadlineMs} ms`)),
    deadlineMs,
  ).unref();
  return ending;
}

export const stockPlugin = {
  Plugin: StockPlugin,
  Name: PLUGIN_NAME,
  Schema: kongConfigFields,
  Version: VERSION,
  Priority: PLUGIN_PRIORITY,
};
