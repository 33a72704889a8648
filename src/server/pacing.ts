/**
 * Whether to sleep until the next bytes come from Kong. A process that sleeps takes longer to wake up than Kong to reply,
 * so where the next bytes are to be expected at once, it looks for them again and again for a moment instead.
 *
 * What is to be expected comes from what was: separately for replies that an event waits for, and for the next event. Where
 * several events wait at a time, there is always something to do, and looking would only take time from Kong.
 *
 * Where very many wait and bytes come all the time, it is Kong that everybody waits for, and to wake this process up is work of
 * Kong's: for every single reply. So it then sleeps for a moment whatever comes, and takes what has come meanwhile together.
 */

/**
 * How long the next bytes are looked for. A process wakes up in a few dozen microseconds, on a virtual machine in more. Between
 * an event and the next one of the same client lie its upstream's answer and its own next request, on slow machines 0.2 ms.
 */
const LOOK_MS = { reply: 0.15, event: 0.4 } as const;
/** Events that wait for Kong at once from which on they are many. */
const MANY = 2;
/**
 * A crowd: so many events wait for Kong, lately there were twice as many at times (a few that all wait at once leave Kong nothing
 * else to do), and bytes usually come after less than so long. How long is slept then. Measured with 4 to 256 connections: it
 * gains 4 to 14 % of the throughput from 32 on; without the second condition it would cost 5 % at 8.
 */
const CROWD = 6;
const CROWD_AT_TIMES = 12;
const CROWD_GAP_MS = 0.2;
const CROWD_SLEEP_MS = 0.1;
/** Part of the most that lately waited at once that is forgotten whenever bytes come. */
const FORGOTTEN = 1 / 512;
/** A look that comes so long after the one before, with nothing done in between: another process was given the core. */
const TAKEN_MS = 1;
/** How long it is left to others then. */
const REST_MS = 50;
/** Weight of the last time in what is to be expected. */
const NEWEST = 1 / 16;

export class Pacing {
  readonly #now: () => number;
  readonly #schedule: (look: () => void) => void;
  readonly #sleep: (ms: number) => void;
  #waiting = 0;
  /** The most that waited at once, lately. */
  #atTimes = 0;
  #lastAt = 0;
  #lookedAt = 0;
  /** When bytes had come last at the last look in a crowd. */
  #seenAt = -1;
  #idleMs = 0;
  /** Usual time between bytes, in milliseconds. */
  #gapMs = 1;
  /** How often (0 to 1) bytes came while not many events waited. */
  #alone = 1;
  #scheduled = false;
  #restsUntil = 0;
  /** Whether an event waited for Kong when bytes came last. */
  #waited = false;
  /** How often (0 to 1) the next bytes came in time: replies, events. */
  readonly #soon = { reply: 1, event: 0 };

  /**
   * `now` in milliseconds; `schedule` calls back after the next look for bytes that doesn't sleep; `sleep` stops the process
   * for so many milliseconds.
   */
  constructor(
    now: () => number = () => performance.now(),
    schedule: (look: () => void) => void = (look) => void setImmediate(look),
    sleep: (ms: number) => void = stopFor,
  ) {
    this.#now = now;
    this.#schedule = schedule;
    this.#sleep = sleep;
  }

  /** An event has begun (+1) or ceased (-1) to wait for a reply of Kong's. */
  countWaiting(by: 1 | -1): void {
    this.#waiting += by;
    if (this.#waiting > this.#atTimes) this.#atTimes = this.#waiting;
  }

  /** Called whenever bytes have come, and what they ask for has been done. */
  active(): void {
    const now = this.#now();
    const kind = this.#kind;
    const gapMs = now - this.#lastAt;
    const soon = gapMs < LOOK_MS[kind] ? 1 : 0;
    this.#soon[kind] += (soon - this.#soon[kind]) * NEWEST;
    this.#alone += ((this.#waiting < MANY ? 1 : 0) - this.#alone) * NEWEST;
    this.#gapMs += (Math.min(gapMs, 1) - this.#gapMs) * NEWEST;
    this.#atTimes -= this.#atTimes * FORGOTTEN;
    this.#lastAt = now;
    this.#waited = this.#waiting > 0;
    if (this.#scheduled || !(this.#isCrowded || (now >= this.#restsUntil && this.#isWorthIt))) return;
    this.#scheduled = true;
    this.#schedule(this.#look);
  }

  get #isCrowded(): boolean {
    return this.#waiting >= CROWD && this.#atTimes >= CROWD_AT_TIMES && this.#gapMs < CROWD_GAP_MS;
  }

  /** What is expected next. */
  get #kind(): 'reply' | 'event' {
    return this.#waited ? 'reply' : 'event';
  }

  get #isWorthIt(): boolean {
    return this.#waiting < MANY && this.#alone > 0.75 && this.#soon[this.#kind] > 0.5;
  }

  /** Time spent looking for nothing, in milliseconds: this process could have slept instead. */
  get idleMs(): number {
    return this.#idleMs;
  }

  /** Sleeps only where there is nothing to do: who has to work through what many Kong workers send has no time for it. */
  #lookAmongMany(): void {
    const nothingCame = this.#lastAt === this.#seenAt;
    this.#seenAt = this.#lastAt;
    this.#scheduled = !nothingCame;
    if (nothingCame) this.#sleep(CROWD_SLEEP_MS);
    else this.#schedule(this.#look);
  }

  readonly #look = (): void => {
    if (this.#isCrowded) {
      this.#lookAmongMany();
      return;
    }
    const now = this.#now();
    if (this.#lookedAt > this.#lastAt) this.#idleMs += Math.min(now - this.#lookedAt, LOOK_MS[this.#kind]);
    if (now - Math.max(this.#lookedAt, this.#lastAt) > TAKEN_MS) this.#restsUntil = now + REST_MS;
    this.#lookedAt = now;
    if (this.#isWorthIt && now - this.#lastAt < LOOK_MS[this.#kind]) this.#schedule(this.#look);
    else this.#scheduled = false;
  };
}

const NEVER = new Int32Array(new SharedArrayBuffer(4));

function stopFor(ms: number): void {
  Atomics.wait(NEVER, 0, 0, ms);
}
