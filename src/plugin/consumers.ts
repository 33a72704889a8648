/**
 * Consumers as Kong knows them. A plugin server has no database of Kong's: consumers are asked for during a request and
 * kept for a short, stated time, so that a changed or deleted consumer is noticed within it.
 */
import { LRUCache } from 'lru-cache';
import { isYounger, type Clock } from '../lib/clock.ts';
import { HkaError } from '../lib/errors.ts';
import type { ConsumerRef } from '../store/record.ts';
import type { Consumer, Kong } from './kong.ts';

interface Entry {
  readonly consumer: Consumer | undefined;
  readonly at: number;
}

export class ConsumerCache {
  readonly #entries: LRUCache<string, Entry>;
  readonly #ttlMs: number;
  readonly #clock: Clock;

  constructor(options: { maxEntries: number; ttlMs: number }, clock: Clock) {
    this.#entries = new LRUCache({ max: options.maxEntries });
    this.#ttlMs = options.ttlMs;
    this.#clock = clock;
  }

  /** At once when it is known, else from Kong. Undefined when Kong has no such consumer. */
  get(kong: Kong, ref: ConsumerRef): Consumer | undefined | Promise<Consumer | undefined> {
    const slot = ref.id === undefined ? `name:${ref.username ?? ''}` : `id:${ref.id}`;
    const known = this.#entries.get(slot);
    if (known !== undefined && isYounger(this.#clock, known.at, this.#ttlMs)) return known.consumer;
    const { id, username = '' } = ref;
    return id === undefined
      ? this.#load(
          slot,
          () => kong.client.load_consumer(username, true),
          (found) => isNamed(found, username),
        )
      : this.#load(
          slot,
          () => kong.client.load_consumer(id),
          (found) => found.id === id,
        );
  }

  /** By id or username, as `anonymous` names it. */
  getByName(kong: Kong, name: string): Consumer | undefined | Promise<Consumer | undefined> {
    const slot = `any:${name}`;
    const known = this.#entries.get(slot);
    if (known !== undefined && isYounger(this.#clock, known.at, this.#ttlMs)) return known.consumer;
    return this.#load(
      slot,
      () => kong.client.load_consumer(name, true),
      (found) => isNamed(found, name),
    );
  }

  /** What is remembered serves other connections, too: it must be the consumer that was asked for. */
  async #load(
    slot: string,
    load: () => Promise<Consumer | undefined>,
    isWanted: (found: Consumer) => boolean,
  ): Promise<Consumer | undefined> {
    const at = this.#clock.now();
    const consumer = await load();
    if (consumer !== undefined && !isWanted(consumer)) {
      throw new HkaError('HKA_PROTOCOL', 'Kong answered with another consumer than was asked for');
    }
    this.#entries.set(slot, { consumer, at });
    return consumer;
  }
}

function isNamed(consumer: Consumer, name: string): boolean {
  return consumer.username === name || consumer.id === name;
}
