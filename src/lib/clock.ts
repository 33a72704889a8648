/** Time as a dependency, so that tests can move it. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
}

export const systemClock: Clock = { now: () => Date.now() };

/** Whether `since` is less than `ms` ago. Not for what lies ahead: after the clock was set back nobody knows how old it is. */
export function isYounger(clock: Clock, since: number, ms: number): boolean {
  const age = clock.now() - since;
  return age >= 0 && age < ms;
}

/** A clock for tests that moves only when told to. */
export class ManualClock implements Clock {
  #nowMs: number;

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  advance(byMs: number): void {
    this.#nowMs += byMs;
  }
}
