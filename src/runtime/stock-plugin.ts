/**
 * What the files of plugins/ hand to the stock `kong-js-pluginserver`. There, an exception in a phase is logged and
 * the request goes on: so nothing may leave `access`, and where no answer can be given the phase never ends, which Kong
 * answers itself. docs/stock-server.md says what that server can't guarantee.
 */
import { Ending, type Lifetime } from '../lib/abortable.ts';
import { kongPlugins, VERSION } from '../generated/kong-schema.ts';
import { createLogger, describeError } from '../lib/logger.ts';
import { HkaError } from '../lib/errors.ts';
import { findConfigFile, loadConfig } from './config.ts';
import { Runtime } from './runtime.ts';
import type { PluginDefinition, PluginInstance } from '../plugin/kong.ts';
import { createPlugins } from '../plugin/plugins.ts';
import { adaptStockKong, type StockKong } from '../plugin/stock-kong.ts';

type PluginName = keyof typeof kongPlugins;

/** One runtime for all instances of the process, whichever plugin they are of. */
let shared: Promise<ReadonlyMap<string, PluginDefinition>> | undefined;
let deadlineMs = 5000;

async function start(): Promise<ReadonlyMap<string, PluginDefinition>> {
  const config = loadConfig(findConfigFile(undefined));
  deadlineMs = config.server.eventDeadlineMs;
  const runtime = await Runtime.create(config, createLogger(config.log.level));
  await runtime.start();
  return new Map(createPlugins(runtime).map((plugin) => [plugin.name, plugin]));
}

function startShared(): NonNullable<typeof shared> {
  const started = start();
  // A start that failed may work the next time: the configuration can be mended without a restart.
  started.catch(() => {
    shared = undefined;
  });
  return started;
}

class StockInstance {
  readonly instance: Promise<PluginInstance>;

  constructor(plugin: PluginName, config: unknown) {
    shared ??= startShared();
    this.instance = shared.then((definitions) => {
      const definition = definitions.get(plugin);
      if (definition === undefined)
        throw new HkaError('HKA_INTERNAL', `no plugin "${plugin}" in this server`);
      return definition.start(config);
    });
    this.instance.catch((error: unknown) => {
      createLogger('info').error(
        { plugin, err: describeError(error) },
        'plugin not started; its routes answer 500',
      );
    });
  }
}

/** A plugin that decides nothing lets the request go on, whatever is wrong. */
async function watch(started: StockInstance, phase: 'access' | 'log', stock: StockKong): Promise<void> {
  try {
    await (await started.instance)[phase]?.(adaptStockKong(stock), untilDeadline());
  } catch (error) {
    createLogger('info').warn({ err: describeError(error) }, 'an event that decides nothing failed');
  }
}

async function access(started: StockInstance, stock: StockKong): Promise<void> {
  try {
    const instance = await started.instance;
    if (instance.access === undefined) throw new HkaError('HKA_INTERNAL', 'a plugin has no access phase');
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

function untilDeadline(): Lifetime {
  const ending = new Ending();
  setTimeout(
    () => ending.end(new HkaError('HKA_EVENT_DEADLINE', `not decided within ${deadlineMs} ms`)),
    deadlineMs,
  ).unref();
  return ending;
}

/** The server takes a plugin's phases from the methods of its class. */
function accessPlugin(plugin: PluginName) {
  return class {
    readonly #started: StockInstance;
    constructor(config: unknown) {
      this.#started = new StockInstance(plugin, config);
    }
    access(stock: StockKong): Promise<void> {
      return access(this.#started, stock);
    }
  };
}

function logPlugin(plugin: PluginName) {
  return class {
    readonly started: StockInstance;
    constructor(config: unknown) {
      this.started = new StockInstance(plugin, config);
    }
    log(stock: StockKong): Promise<void> {
      return watch(this.started, 'log', stock);
    }
  };
}

/** Compares in both phases, and decides in neither. */
function shadowPlugin(plugin: PluginName) {
  return class extends logPlugin(plugin) {
    access(stock: StockKong): Promise<void> {
      return watch(this.started, 'access', stock);
    }
  };
}

function makeClass(plugin: PluginName, phases: readonly string[]) {
  if (!phases.includes('log')) return accessPlugin(plugin);
  return phases.includes('access') ? shadowPlugin(plugin) : logPlugin(plugin);
}

function describe(plugin: PluginName) {
  const { name, fields, priority, phases } = kongPlugins[plugin];
  return {
    Plugin: makeClass(plugin, phases),
    Name: name,
    Schema: fields,
    Version: VERSION,
    Priority: priority,
  };
}

export const stockPlugins = {
  'hashed-key-auth': describe('hashed-key-auth'),
  'vault-upstream-secrets': describe('vault-upstream-secrets'),
  'vault-upstream-watch': describe('vault-upstream-watch'),
  'hashed-key-auth-shadow': describe('hashed-key-auth-shadow'),
  'hashed-key-auth-shadow-access': describe('hashed-key-auth-shadow-access'),
} as const;
