/**
 * Slows guessing down. Failures are counted for each client address and each key id in token buckets; who has used them
 * up gets 429 in place of 401, and keys of a form that could be guessed are no longer looked at for that address. While
 * failures stand in the way of good requests, they are answered a little later (delayMs at most).
 *
 * Invariant: nothing here stands in the way of a key that can't be guessed (an issued one, or an imported one of 128 bits)
 * or that is already verified: whatever others do, from wherever, can't lock such a key out. Memory is bounded; the
 * buckets that were used least recently are forgotten first.
 */
import { isIPv6 } from 'node:net';
import type { Lifetime } from '../lib/abortable.ts';
import { Alarms } from '../lib/alarms.ts';
import { Buckets } from '../lib/buckets.ts';
import { isYounger, type Clock } from '../lib/clock.ts';

export interface ThrottleOptions {
  readonly enabled: boolean;
  readonly addressBurst: number;
  readonly addressPerSecond: number;
  readonly keyIdBurst: number;
  readonly keyIdPerSecond: number;
  /** The longest a refusal is held back while few are; see {@link heldBackMs}. */
  readonly delayMs: number;
  /** Answers held back at once. */
  readonly maxDelayed: number;
  readonly maxEntries: number;
}

/** What is counted to tell a flood by. Short: until a flood is told, it is in the way of the good requests. */
const WINDOW_MS = 20;
/** Failures in two windows from which on many more are to be expected: 750 in a second. */
const FLOOD_FAILURES = 30;
/**
 * How many times as many failures as good requests are a flood. Measured against the good requests of the last seconds: a
 * busy key that has just been revoked is none.
 */
const FLOOD_SHARE = 2;
/**
 * Refusals held back at once from which on a flood goes on, however few failures come: they are few because these are held
 * back, and each of them is followed by the next one as soon as it is answered.
 */
const STILL_HELD = 8;
/** Part of the average number of good requests in a window that the next window makes up: two seconds of memory. */
const NEWEST = WINDOW_MS / 2000;
/** Good requests are worth being protected for so long after the last one; and so long a flood counts as one. */
const REMEMBER_MS = 2000;

export class GuessThrottle {
  /** Answers given with 429, for metrics. */
  throttled = 0;
  readonly enabled: boolean;
  readonly #addresses: Buckets;
  readonly #keyIds: Buckets;
  readonly #clock: Clock;
  readonly #delayMs: number;
  readonly #maxDelayed: number;
  readonly #alarms = new Alarms(10);
  #delayed = 0;
  #among = 1;
  #window = 0;
  #failures = 0;
  #failuresBefore = 0;
  #admitted = 0;
  #admittedBefore = 0;
  /** Average of a window. */
  #admittedUsually = 0;
  #admittedAt = -Infinity;
  #floodedAt = -Infinity;
  #inTheWayAt = -Infinity;

  constructor(options: ThrottleOptions, clock: Clock) {
    const { maxEntries } = options;
    this.enabled = options.enabled;
    this.#clock = clock;
    this.#delayMs = options.delayMs;
    this.#maxDelayed = options.maxDelayed;
    this.#addresses = new Buckets(
      { burst: options.addressBurst, perSecond: options.addressPerSecond, maxEntries },
      clock,
    );
    this.#keyIds = new Buckets(
      { burst: options.keyIdBurst, perSecond: options.keyIdPerSecond, maxEntries },
      clock,
    );
  }

  /** Shares the limits among so many throttles, each of which sees its part of the requests. */
  shareAmong(count: number): void {
    this.#addresses.among = count;
    this.#keyIds.among = count;
    this.#among = count;
  }

  /** Whether failures come in so fast that it is worth being prepared for the next one. */
  get isFlooded(): boolean {
    return isYounger(this.#clock, this.#floodedAt, REMEMBER_MS);
  }

  /** Counts a request that was let in. */
  admitted(): void {
    this.#turn();
    this.#admitted += 1;
    this.#admittedAt = this.#clock.now();
  }

  #countFailure(): void {
    this.#turn();
    this.#failures += 1;
    const failures = this.#failures + this.#failuresBefore;
    const goesOn = this.#delayed >= STILL_HELD;
    if (failures < FLOOD_FAILURES && !goesOn) return;
    const now = this.#clock.now();
    this.#floodedAt = now;
    if (!isYounger(this.#clock, this.#admittedAt, REMEMBER_MS)) return;
    const good = Math.max(this.#admitted + this.#admittedBefore, 2 * this.#admittedUsually);
    if (goesOn || failures > FLOOD_SHARE * good) this.#inTheWayAt = now;
  }

  /** Whether a flood of failures stands in the way of others: there are good requests, and the bad ones are far more. */
  get #standsInTheWay(): boolean {
    return isYounger(this.#clock, this.#inTheWayAt, REMEMBER_MS);
  }

  /** Whether a key that could be guessed may be looked at for this client. Counts as a failure until it is given back. */
  takeGuess(address: string): boolean {
    return !this.enabled || this.#addresses.charge(networkOf(address));
  }

  giveBack(address: string): void {
    this.#addresses.refund(networkOf(address));
  }

  /**
   * Counts a failed verification. Seconds to wait when there were too many; undefined when it may be answered as usual.
   * `keyId`: the public id inside the presented key, if it has one. `charged`: whether the address has paid already.
   */
  failed(address: string, keyId: string | undefined, charged = false): number | undefined {
    if (!this.enabled) return undefined;
    this.#countFailure();
    const byAddress = charged || this.#addresses.charge(networkOf(address));
    const byKeyId = keyId === undefined || this.#keyIds.charge(keyId);
    if (byAddress && byKeyId) return undefined;
    this.throttled += 1;
    return byAddress ? this.#keyIds.retryAfterSeconds : this.#addresses.retryAfterSeconds;
  }

  get delayed(): number {
    return this.#delayed;
  }

  /** Whether a refusal is held back now: never more than is said. */
  get holdsBack(): boolean {
    return this.#delayMs > 0 && this.#delayed < this.#maxDelayed / this.#among && this.#standsInTheWay;
  }

  /**
   * Resolves when a refusal may be answered. While a flood stands in the way of good requests that is later: whoever
   * guesses over so many connections gets as many answers a second, and the good ones get their turn. Resolves at once
   * when the event has ended.
   */
  holdBack(event: Lifetime): Promise<void> {
    if (event.endReason !== undefined) return Promise.resolve();
    this.#delayed += 1;
    return new Promise((resolve) => {
      const release = (): void => {
        this.#delayed -= 1;
        forget();
        cancel();
        resolve();
      };
      const forget = event.onEnd(release);
      const cancel = this.#alarms.set(
        heldBackMs(this.#delayMs, this.#delayed * this.#among, Math.random()),
        release,
      );
    });
  }

  #turn(): void {
    const window = Math.floor(this.#clock.now() / WINDOW_MS);
    if (window === this.#window) return;
    const passed = window - this.#window;
    this.#failuresBefore = passed === 1 ? this.#failures : 0;
    this.#admittedBefore = passed === 1 ? this.#admitted : 0;
    const sinceLast = this.#admittedUsually * (1 - NEWEST) + this.#admitted * NEWEST;
    this.#admittedUsually = sinceLast * (1 - NEWEST) ** Math.max(0, passed - 1);
    this.#failures = 0;
    this.#admitted = 0;
    this.#window = window;
  }
}

/** Refusals held back at once from which on they are held back longer: so many go in `delayMs`, however many wait. */
const FEW_HELD = 50;
/** The longest that many are held back, in milliseconds: clients and Kong wait for answers, and events have a deadline. */
const LONGEST_MS = 2000;

/**
 * How long a refusal is held back, in milliseconds. The more are (`held`), the longer: who guesses over more connections
 * gets no more answers for it. At times of their own: what came together would else go together, and stand in the way
 * then. `random`: 0 to 1.
 */
export function heldBackMs(delayMs: number, held: number, random: number): number {
  const longest = Math.min(delayMs * Math.max(1, held / FEW_HELD), Math.max(delayMs, LONGEST_MS));
  return longest * (0.5 + random / 2);
}

/** An IPv6 client has a /64 of addresses to itself. */
function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  // nginx shows IPv4 clients so when it listens on [::] for both.
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [head = '', tail] = address.toLowerCase().split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: Math.max(0, 8 - before.length - after.length) }, () => '0');
  return `${(tail === undefined ? before : [...before, ...zeros, ...after]).slice(0, 4).join(':')}/64`;
}
