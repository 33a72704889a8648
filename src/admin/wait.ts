/** Waits until every gateway that runs has acted upon a change, and says how long each took. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Acknowledgements } from '../store/acknowledgements.ts';

export interface Acknowledged {
  readonly gateway: string;
  /** From the beginning of the wait; undefined when it did not say so in time. */
  readonly delayMs: number | undefined;
}

const LOOK_MS = 10;

/** In milliseconds; of what was announced to `store` before the call. */
export async function waitForGateways(store: Acknowledgements, timeoutMs: number): Promise<Acknowledged[]> {
  const { sequence } = store;
  const begun = performance.now();
  const delays = new Map<string, Acknowledged>();
  for (;;) {
    const gateways = await store.gateways();
    const passed = performance.now() - begun;
    let missing = 0;
    for (const { id, name, sequence: reached } of gateways) {
      if (delays.get(id)?.delayMs !== undefined) continue;
      const done = reached >= sequence;
      delays.set(id, { gateway: name, delayMs: done ? Math.round(passed) : undefined });
      if (!done) missing += 1;
    }
    // One that has ended in the meantime lets nobody in.
    for (const id of delays.keys()) {
      if (!gateways.some((gateway) => gateway.id === id)) delays.delete(id);
    }
    if (missing === 0 || passed > timeoutMs) return [...delays.values()];
    await delay(LOOK_MS);
  }
}
