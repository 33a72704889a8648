/**
 * How often a token may ask what tells something of a key that it does not know: by verifying it, and by importing one that
 * begins alike. One limit for both, so that neither is a way around the other.
 */
import { Buckets } from '../../lib/buckets.ts';
import type { Clock } from '../../lib/clock.ts';
import { HkaError } from '../../lib/errors.ts';
import type { Principal } from './permissions.ts';

const LIMIT = { burst: 20, perSecond: 2, maxEntries: 10_000 };
/** Of one request: more could never be charged. */
export const MAX_GUESSES = LIMIT.burst;

export class Guesses {
  readonly #buckets: Buckets;

  constructor(clock: Clock) {
    this.#buckets = new Buckets(LIMIT, clock);
  }

  /** Throws HKA_RATE_LIMITED where so many are not left; then none is charged. */
  charge({ actor }: Principal, count: number): void {
    if (this.#buckets.charge(actor.name, count)) return;
    throw new HkaError('HKA_RATE_LIMITED', 'too many keys to be verified, or starts of keys to be imported', {
      details: { retryAfter: Math.ceil(count / LIMIT.perSecond) },
    });
  }
}
