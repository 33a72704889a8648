/**
 * Waits until every gateway that runs has acted upon a change, and says how long each took. For the command line and for HTTP,
 * which answer alike.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { HkaError } from '../lib/errors.ts';
import type { Acknowledgements, GatewayState } from '../store/acknowledgements.ts';
import type { CredentialStore } from '../store/store.ts';

export interface Acknowledged {
  readonly gateway: string;
  /** From the beginning of the wait; undefined when it did not say so in time. */
  readonly delayMs: number | undefined;
}

/** What a wait has come to, as it is shown. */
export interface WaitView {
  /** Whether every gateway that is known of has said that it refuses the key. */
  readonly acknowledged: boolean;
  readonly gateways: readonly { readonly gateway: string; readonly delay_ms: number | null }[];
  /** Which gateways may run unseen; absent where every gateway can report. */
  readonly unseen?: string;
}

/** Gateways look for changes twice a second at least; a notification takes milliseconds. */
export const DEFAULT_WAIT_MS = 5000;
/** Each costs a few looks a second at the store. */
const MAX_WAITS = 100;
/** Looks become rarer, as whoever has waited long is not in for a precise number. */
const MAX_LOOK_MS = 100;

/** Waits for the gateways on one store. */
export class GatewayWait {
  readonly #store: Pick<CredentialStore, 'acknowledgements' | 'kind'>;
  #running = 0;

  constructor(store: Pick<CredentialStore, 'acknowledgements' | 'kind'>) {
    this.#store = store;
  }

  /** Runs `change` and waits. What can't be waited for is told before anything is done. */
  async after<T>(
    timeoutMs: number,
    change: () => Promise<T>,
  ): Promise<{ readonly done: T; readonly wait: WaitView }> {
    const { acknowledgements, kind } = this.#store;
    if (acknowledgements === undefined) {
      throw new HkaError(
        'HKA_USAGE',
        `nothing was done: a store of the type "${kind}" is none that gateways report to`,
      );
    }
    if (this.#running >= MAX_WAITS) {
      throw new HkaError('HKA_RATE_LIMITED', `nothing was done: ${MAX_WAITS} wait for gateways already`, {
        details: { retryAfter: Math.ceil(DEFAULT_WAIT_MS / 1000) },
      });
    }
    this.#running += 1;
    try {
      return await this.#after(acknowledgements, timeoutMs, change);
    } finally {
      this.#running -= 1;
    }
  }

  async #after<T>(
    acknowledgements: Acknowledgements,
    timeoutMs: number,
    change: () => Promise<T>,
  ): Promise<{ readonly done: T; readonly wait: WaitView }> {
    const known = await acknowledgements.gateways();
    const done = await change();
    const { unseen } = acknowledgements;
    const { gateways, heard } = await waitForGateways(acknowledgements, timeoutMs, known);
    return {
      done,
      wait: {
        acknowledged: heard && gateways.every(({ delayMs }) => delayMs !== undefined),
        gateways: gateways.map(({ gateway, delayMs }) => ({ gateway, delay_ms: delayMs ?? null })),
        ...(unseen === undefined ? {} : { unseen }),
      },
    };
  }
}

export interface Waited {
  readonly gateways: readonly Acknowledged[];
  /** Whether the last look at what gateways say has worked: if not, nothing is known of those that have come since. */
  readonly heard: boolean;
}

/** In milliseconds; of what was announced to `store` before the call. `known`: gateways that are waited for in any case. */
export async function waitForGateways(
  store: Acknowledgements,
  timeoutMs: number,
  known: readonly GatewayState[] = [],
): Promise<Waited> {
  const { sequence } = store;
  const begun = performance.now();
  const delays = new Map<string, Acknowledged>();
  for (const { id, name } of known) delays.set(id, { gateway: name, delayMs: undefined });
  for (;;) {
    // The change is made: that the store has gone away since must not hide it.
    const gateways = await store.gateways().catch(() => undefined);
    const passed = performance.now() - begun;
    let missing = 0;
    for (const { id, name, sequence: reached } of gateways ?? []) {
      if (delays.get(id)?.delayMs !== undefined) continue;
      const done = reached >= sequence;
      delays.set(id, { gateway: name, delayMs: done ? Math.round(passed) : undefined });
      if (!done) missing += 1;
    }
    // One that has ended in the meantime lets nobody in.
    for (const id of gateways === undefined ? [] : delays.keys()) {
      if (!gateways?.some((gateway) => gateway.id === id)) delays.delete(id);
    }
    const heard = gateways !== undefined;
    if ((heard && missing === 0) || passed > timeoutMs) return { gateways: [...delays.values()], heard };
    const pause = Math.max(store.lookMs, Math.min(MAX_LOOK_MS, passed / 20));
    await delay(Math.min(pause, Math.max(1, timeoutMs - passed + 1)));
  }
}
