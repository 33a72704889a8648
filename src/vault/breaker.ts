/**
 * A circuit breaker in front of a Vault that is out of reach: after an outage nobody calls until a delay has passed, then
 * one caller tries, the others wait for what it finds. A dead Vault sees one call in each delay, whatever the traffic.
 */
import type { Clock } from '../lib/clock.ts';
import type { HkaError } from '../lib/errors.ts';
import { backoffMs, retryDelayMs } from './outage.ts';
import type { Random } from './timers.ts';

const BASE_MS = 1000;
const MAX_MS = 30_000;

export class OutageBreaker {
  readonly #clock: Clock;
  readonly #random: Random;
  #outage: { error: HkaError; attempts: number; retryAt: number; probing: boolean } | undefined;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** The error that the last call met, while the outage lasts. */
  get error(): HkaError | undefined {
    return this.#outage?.error;
  }

  /** When the next call may be made; 0 when at once. */
  get retryAt(): number {
    return this.#outage?.retryAt ?? 0;
  }

  /** Whether a call may be made now. Whoever gets true must make it and report how it ended. */
  tryEnter(): boolean {
    const outage = this.#outage;
    if (outage === undefined) return true;
    if (outage.probing || this.#clock.now() < outage.retryAt) return false;
    outage.probing = true;
    return true;
  }

  /** Vault has answered, with whatever. */
  succeeded(): void {
    this.#outage = undefined;
  }

  failed(error: HkaError): void {
    const outage = this.#outage;
    // A call that began before the outage was known says nothing new.
    if (outage !== undefined && !outage.probing) return;
    const attempts = (outage?.attempts ?? 0) + 1;
    const delay = retryDelayMs(error, backoffMs(attempts, BASE_MS, MAX_MS, this.#random), MAX_MS);
    this.#outage = { error, attempts, retryAt: this.#clock.now() + delay, probing: false };
  }
}
