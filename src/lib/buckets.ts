/**
 * Token buckets, one for each name: an address, a key id, a token. Each allows a burst and then so many a second. Whoever
 * calls chooses the names, so memory is bounded: the buckets that were used least recently are forgotten first.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from './clock.ts';

export interface BucketOptions {
  /** How many are allowed at once. */
  readonly burst: number;
  /** How many become allowed again each second. */
  readonly perSecond: number;
  readonly maxEntries: number;
}

interface Bucket {
  tokens: number;
  at: number;
}

export class Buckets {
  /** The limits are shared among so many that each count for themselves. */
  among = 1;
  readonly #options: BucketOptions;
  readonly #clock: Clock;
  readonly #buckets: LRUCache<string, Bucket>;

  constructor(options: BucketOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
    this.#buckets = new LRUCache({ max: options.maxEntries });
  }

  get size(): number {
    return this.#buckets.size;
  }

  get #burst(): number {
    return Math.max(1, this.#options.burst / this.among);
  }

  get #perSecond(): number {
    return this.#options.perSecond / this.among;
  }

  /** Counts `count` of `who`, all or none; false when there were not so many left. */
  charge(who: string, count = 1): boolean {
    let bucket = this.#buckets.get(who);
    if (bucket === undefined) {
      bucket = { tokens: this.#burst, at: this.#clock.now() };
      this.#buckets.set(who, bucket);
    }
    if (this.#refill(bucket) < count) return false;
    bucket.tokens -= count;
    return true;
  }

  /** Takes back one that was none. */
  refund(who: string): void {
    const bucket = this.#buckets.get(who);
    if (bucket !== undefined) bucket.tokens = Math.min(this.#burst, bucket.tokens + 1);
  }

  /** Seconds until one is allowed again, at least 1. */
  get retryAfterSeconds(): number {
    return Math.max(1, Math.ceil(1 / this.#perSecond));
  }

  #refill(bucket: Bucket): number {
    const now = this.#clock.now();
    // A clock that was set back gives nothing.
    const seconds = Math.max(0, now - bucket.at) / 1000;
    bucket.tokens = Math.min(this.#burst, bucket.tokens + seconds * this.#perSecond);
    bucket.at = now;
    return bucket.tokens;
  }
}
