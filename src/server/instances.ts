/**
 * The plugin instances that Kong has started. Ids start at a random number: a restarted server must not answer for an id
 * of its previous life, which would run another route's configuration (seen on the stock server).
 *
 * Kong's workers never tell when they die, so instances that nobody uses any more are dropped beyond a bound; Kong starts
 * a dropped one again.
 */
import { randomInt } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { PluginDefinition, PluginInstance } from '../plugin/kong.ts';

const MAX_ID = 0x7fff_ffff;

export interface RunningInstance {
  readonly id: number;
  readonly definition: PluginDefinition;
  readonly plugin: PluginInstance;
  /** Unix milliseconds. */
  readonly startedAt: number;
}

export class InstanceTable {
  readonly #instances: LRUCache<number, RunningInstance>;
  #nextId = randomInt(1, MAX_ID);

  constructor(maxInstances: number) {
    this.#instances = new LRUCache({ max: maxInstances });
  }

  get size(): number {
    return this.#instances.size;
  }

  /** Under a number of its own. */
  add(definition: PluginDefinition, plugin: PluginInstance): RunningInstance {
    while (this.#instances.has(this.#nextId)) this.#advance();
    const id = this.#nextId;
    this.#advance();
    return this.put(id, definition, plugin);
  }

  /** Under a number that somebody else has given. */
  put(id: number, definition: PluginDefinition, plugin: PluginInstance): RunningInstance {
    const instance = { id, definition, plugin, startedAt: Date.now() };
    this.#instances.set(id, instance);
    return instance;
  }

  get(id: number): RunningInstance | undefined {
    return this.#instances.get(id);
  }

  remove(id: number): RunningInstance | undefined {
    const instance = this.#instances.peek(id);
    this.#instances.delete(id);
    return instance;
  }

  #advance(): void {
    this.#nextId = this.#nextId >= MAX_ID ? 1 : this.#nextId + 1;
  }
}
