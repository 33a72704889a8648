/**
 * Timers and time of the Vault layer, injected so that a test can live through an hour at once.
 *
 * Node turns a delay of 2^31 ms and more into 1 ms: two thirds of Vault's default token life (768 h) are near enough
 * that a longer one turns a renewal into a flood. {@link systemTimers} waits in stages instead.
 */
import type { Clock } from '../lib/clock.ts';

/** The longest delay that Node's setTimeout takes. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** Takes back what was scheduled. Harmless when it has run already. */
export type Cancel = () => void;

export interface Timers {
  /** Runs `run` once, not before `delayMs` have passed. Any delay is taken, however long. Keeps no process alive. */
  schedule(run: () => void, delayMs: number): Cancel;
}

export const systemTimers: Timers = {
  schedule(run, delayMs) {
    const until = monotonicClock.now() + delayMs;
    let timer: NodeJS.Timeout;
    const arm = (): void => {
      const left = until - monotonicClock.now();
      timer = setTimeout(left > MAX_DELAY_MS ? arm : run, Math.min(Math.max(0, left), MAX_DELAY_MS));
      timer.unref();
    };
    arm();
    return () => clearTimeout(timer);
  },
};

/** Milliseconds since the epoch, as they were when the process started: steps of the system's clock change no age. */
export const monotonicClock: Clock = { now: () => performance.timeOrigin + performance.now() };

/** A number from 0 to below 1. */
export type Random = () => number;
