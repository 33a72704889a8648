/**
 * argon2id over keys: parameters at least OWASP's (m = 19 MiB, t = 2, p = 1), a salt of its own for each hash, the pepper
 * as argon2's secret. All calls pass a {@link BoundedQueue}: memory is at most `concurrency` × m.
 */
import { randomBytes, timingSafeEqual, type KeyObject } from 'node:crypto';
import argon2 from 'argon2';
import { BoundedQueue, type BoundedQueueOptions } from './bounded-queue.ts';
import type { PepperVersion } from './pepper.ts';
import { formatPhc, parsePhc, type PhcHash } from './phc.ts';

export interface Argon2Parameters {
  readonly memoryKib: number;
  readonly time: number;
  readonly parallelism: number;
}

/** OWASP Password Storage Cheat Sheet's minimum for argon2id. */
export const OWASP_MINIMUM: Argon2Parameters = { memoryKib: 19456, time: 2, parallelism: 1 };

const SALT_BYTES = 16;
const HASH_BYTES = 32;

export class KeyHasher {
  readonly parameters: Argon2Parameters;
  readonly queue: BoundedQueue;
  #calls = 0;

  /** Told how long each computation took, in milliseconds, without the wait for it. */
  onComputed: (ms: number) => void = () => undefined;

  constructor(parameters: Argon2Parameters, queue: BoundedQueueOptions) {
    this.parameters = parameters;
    this.queue = new BoundedQueue(queue);
  }

  /** How many argon2 computations were started. */
  get calls(): number {
    return this.#calls;
  }

  /** A PHC string for `key`. */
  async hash(key: string, pepper: PepperVersion, signal?: AbortSignal): Promise<string> {
    const salt = randomBytes(SALT_BYTES);
    const wanted = { ...this.parameters, salt, hash: Buffer.alloc(HASH_BYTES) };
    const { argon2Secret } = await pepper.keysFor(key);
    const hash = await this.queue.run(() => this.#compute(key, wanted, argon2Secret), signal);
    return formatPhc({ ...wanted, hash });
  }

  /** Whether `key` gave `stored`, without a pepper where none is given. Throws HKA_HASH_INVALID before any work when `stored` is not within the limits. */
  async verify(
    key: string,
    stored: string,
    pepper: PepperVersion | undefined,
    signal?: AbortSignal,
  ): Promise<boolean> {
    const parsed = parsePhc(stored);
    const secret = pepper === undefined ? undefined : (await pepper.keysFor(key)).argon2Secret;
    const hash = await this.queue.run(() => this.#compute(key, parsed, secret), signal);
    return timingSafeEqual(hash, parsed.hash);
  }

  /** Whether a stored hash was made with less than today's parameters. */
  isBehind(stored: string): boolean {
    const parsed = parsePhc(stored);
    const { memoryKib, time, parallelism } = this.parameters;
    return parsed.memoryKib < memoryKib || parsed.time < time || parsed.parallelism < parallelism;
  }

  async #compute(key: string, phc: PhcHash, secret: KeyObject | undefined): Promise<Buffer> {
    this.#calls += 1;
    const begun = performance.now();
    const hash = await argon2.hash(key, {
      raw: true,
      type: argon2.argon2id,
      version: 0x13,
      memoryCost: phc.memoryKib,
      timeCost: phc.time,
      parallelism: phc.parallelism,
      salt: phc.salt,
      hashLength: phc.hash.length,
      ...(secret === undefined ? {} : { secret: secret.export() }),
    });
    this.onComputed(performance.now() - begun);
    return hash;
  }
}
