/** Plugin instances as the supervisor knows them: their numbers, and which workers have taken them. */
import { randomInt } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { StartedInstance } from './messages.ts';

const MAX_INSTANCES = 5000;
/** Of all configurations together, as JSON: a new worker gets them all in one message. Kong's have a few hundred bytes each. */
const MAX_TOTAL_LENGTH = 64 * 1024 * 1024;
const MAX_ID = 0x7fff_ffff;

interface Waiting {
  readonly missing: Set<number>;
  readonly done: () => void;
}

export class InstanceRegistry {
  readonly #instances = new LRUCache<number, StartedInstance>({
    max: MAX_INSTANCES,
    maxSize: MAX_TOTAL_LENGTH,
    sizeCalculation: ({ config }) => 1 + (JSON.stringify(config) ?? '').length,
  });
  readonly #waiting = new Map<number, Waiting>();
  /** From a random number on: ids must not repeat over restarts (see src/server/instances.ts). */
  #nextId = randomInt(1, MAX_ID);

  add(plugin: string, config: unknown): StartedInstance {
    do {
      this.#nextId = this.#nextId >= MAX_ID ? 1 : this.#nextId + 1;
    } while (this.#instances.has(this.#nextId));
    const started = { instance: this.#nextId, plugin, config };
    this.#instances.set(started.instance, started);
    return started;
  }

  remove(instance: number): void {
    this.#instances.delete(instance);
  }

  list(): readonly StartedInstance[] {
    return [...this.#instances.values()];
  }

  /** Resolves when all of `workers` have taken it or are gone, or after `maxWaitMs`. */
  takenByAll(instance: number, workers: readonly number[], maxWaitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(instance);
        resolve();
      };
      const timer = setTimeout(done, maxWaitMs);
      this.#waiting.set(instance, { missing: new Set(workers), done });
    });
  }

  taken(instance: number, worker: number): void {
    const waiting = this.#waiting.get(instance);
    if (waiting === undefined) return;
    waiting.missing.delete(worker);
    if (waiting.missing.size === 0) waiting.done();
  }

  /** A worker has ended. */
  left(worker: number): void {
    for (const instance of this.#waiting.keys()) this.taken(instance, worker);
  }
}
