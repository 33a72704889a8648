/**
 * One nginx worker as far as plugin servers are concerned: its pool of connections and the instances it has started.
 * An instance that another request is starting is waited for; one whose configuration has changed is replaced.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { CosocketError, type CosocketPool } from './cosocket.ts';
import type { PluginServerDefinition } from './gateway.ts';
import { LuaError } from './lua.ts';
import * as msgpack from './msgpack-rpc.ts';
import type { FieldSchema } from './plugin-schema.ts';
import * as protobuf from './protobuf-rpc.ts';
import type { RequestContext } from './request-context.ts';

export interface ExternalPlugin {
  readonly name: string;
  readonly priority: number;
  readonly protocol: 'ProtoBuf:1' | 'MsgPack:1';
  readonly phases: readonly string[];
  readonly server: PluginServerDefinition;
  readonly schema: FieldSchema;
}

/** One plugin configuration as a plugin server gets it. */
export interface PluginSettings {
  readonly id: string;
  /** Changes with every load of the configuration. */
  readonly sequence: number;
  readonly json: string;
}

interface Instance {
  readonly pluginName: string;
  sequence: number;
  /** Undefined while it is being started. */
  id: number | undefined;
}

/** How long Kong waits for another request that is starting the instance. */
const CLAIM_WAIT_MS = 10_000;

export class Worker {
  readonly pool: CosocketPool;
  readonly #instances = new Map<string, Instance>();
  readonly #onRepeat: () => void;
  readonly #onReset: (pluginName: string) => void;
  #sequence = 0;

  constructor(pool: CosocketPool, onRepeat: () => void, onReset: (pluginName: string) => void) {
    this.pool = pool;
    this.#onRepeat = onRepeat;
    this.#onReset = onReset;
  }

  nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  countRepeat(): void {
    this.#onRepeat();
  }

  /** Forgets the plugin's instances, here and in the other workers. */
  resetInstances(pluginName: string): void {
    this.#onReset(pluginName);
  }

  forget(pluginName: string): void {
    for (const [key, instance] of this.#instances) {
      if (instance.pluginName === pluginName) this.#instances.delete(key);
    }
  }

  /** The id of the running instance, started if need be. Throws a LuaError when it can't be started. */
  async instanceId(plugin: ExternalPlugin, settings: PluginSettings, ctx: RequestContext): Promise<number> {
    let instance = this.#instances.get(settings.id);
    const until = performance.now() + CLAIM_WAIT_MS;
    while (instance !== undefined && instance.id === undefined) {
      await delay(20);
      if (performance.now() > until) {
        this.#instances.delete(settings.id);
        throw new CosocketError(`Could not claim instance_id for ${plugin.name} (key: ${settings.id})`);
      }
      instance = this.#instances.get(settings.id);
    }
    if (instance?.id !== undefined && instance.sequence === settings.sequence) return instance.id;
    const oldId = instance?.id;
    const claimed: Instance = instance ?? {
      pluginName: plugin.name,
      sequence: settings.sequence,
      id: undefined,
    };
    claimed.id = undefined;
    this.#instances.set(settings.id, claimed);
    let id: number;
    try {
      id =
        plugin.protocol === 'ProtoBuf:1'
          ? await protobuf.startInstance(this, plugin, settings, ctx)
          : await msgpack.startInstance(this, plugin, settings);
    } catch (error) {
      // What Kong's own code raises in between leaves the claim behind; only the RPC's errors give it back.
      if (!(error instanceof CosocketError) && !msgpack.isRpcError(error)) throw error;
      ctx.log('error', `starting instance: ${error.message}`);
      this.#instances.delete(settings.id);
      throw new LuaError(error.message);
    }
    claimed.id = id;
    claimed.sequence = settings.sequence;
    if (oldId !== undefined) {
      const closing =
        plugin.protocol === 'ProtoBuf:1'
          ? protobuf.closeInstance(this, plugin, oldId, ctx)
          : msgpack.closeInstance(this, plugin, oldId);
      // Kong does not mind when this fails.
      await closing.catch(() => undefined);
    }
    return id;
  }

  handleEvent(
    plugin: ExternalPlugin,
    settings: PluginSettings,
    ctx: RequestContext,
    phase: 'access' | 'log',
  ): Promise<void> {
    return plugin.protocol === 'ProtoBuf:1'
      ? protobuf.handleEvent(this, plugin, settings, ctx, phase)
      : msgpack.handleEvent(this, plugin, settings, ctx, phase);
  }
}
