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
/** Each keeps a connection. */
const MAX_WAITS = 100;
/** So that no sender takes all of them. */
const MAX_WAITS_EACH = 10;
/** Looks become rarer, as whoever has waited long is not in for a precise number. */
const MAX_LOOK_MS = 100;

/** Waits for the gateways on one store. */
export class GatewayWait {
  readonly #store: Pick<CredentialStore, 'acknowledgements' | 'kind'>;
  readonly #running = new Map<string, number>();
  #looks: Looks | undefined;

  constructor(store: Pick<CredentialStore, 'acknowledgements' | 'kind'>) {
    this.#store = store;
  }

  /** Runs `change` of `who` and waits. What can't be waited for is told before anything is done. */
  async after<T>(
    who: string,
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
    const own = this.#running.get(who) ?? 0;
    const all = [...this.#running.values()].reduce((sum, count) => sum + count, 0);
    if (own >= MAX_WAITS_EACH || all >= MAX_WAITS) {
      const many = own >= MAX_WAITS_EACH ? `${own} requests of this sender` : String(all);
      throw new HkaError('HKA_RATE_LIMITED', `nothing was done: ${many} wait for gateways already`, {
        details: { retryAfter: Math.ceil(DEFAULT_WAIT_MS / 1000) },
      });
    }
    this.#running.set(who, own + 1);
    try {
      return await this.#after(acknowledgements, timeoutMs, change);
    } finally {
      const left = (this.#running.get(who) ?? 1) - 1;
      if (left === 0) this.#running.delete(who);
      else this.#running.set(who, left);
    }
  }

  async #after<T>(
    acknowledgements: Acknowledgements,
    timeoutMs: number,
    change: () => Promise<T>,
  ): Promise<{ readonly done: T; readonly wait: WaitView }> {
    if (this.#looks?.source !== acknowledgements) this.#looks = new Looks(acknowledgements);
    const looks = this.#looks;
    const known = await looks.recent();
    const done = await change();
    const { unseen } = acknowledgements;
    const { gateways, heard } = await waitForGateways(acknowledgements, timeoutMs, known, () => looks.next());
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

/**
 * Looks at what gateways say, shared among all who wait: however many they are, there is one at a time, and none before the
 * store says that another is worth it.
 */
class Looks {
  readonly source: Acknowledgements;
  /** One that has not begun. */
  #coming: Promise<readonly GatewayState[]> | undefined;
  #running: Promise<unknown> = Promise.resolve();
  #begunAt = -Infinity;
  #seen: { readonly states: readonly GatewayState[]; readonly at: number } | undefined;

  constructor(source: Acknowledgements) {
    this.source = source;
  }

  /** One that begins after the call: it shows a gateway that has come since. */
  next(): Promise<readonly GatewayState[]> {
    this.#coming ??= this.#look();
    return this.#coming;
  }

  /** One that may be as old as the pause between two: a change must not wait for the waiting of others. */
  async recent(): Promise<readonly GatewayState[]> {
    const seen = this.#seen;
    if (seen !== undefined && performance.now() - seen.at <= this.source.lookMs) return seen.states;
    return this.next();
  }

  async #look(): Promise<readonly GatewayState[]> {
    await this.#running;
    const pause = this.#begunAt + this.source.lookMs - performance.now();
    if (pause > 0) await delay(pause);
    this.#coming = undefined;
    const begun = performance.now();
    this.#begunAt = begun;
    const states = this.source.gateways();
    this.#running = states.catch(() => undefined);
    this.#seen = { states: await states, at: begun };
    return this.#seen.states;
  }
}

export interface Waited {
  readonly gateways: readonly Acknowledged[];
  /** Whether the last look at what gateways say has worked: if not, nothing is known of those that have come since. */
  readonly heard: boolean;
}

/**
 * In milliseconds; of what was announced to `store` before the call. `known`: gateways that are waited for in any case. `look`:
 * at what they say at a time after its call.
 */
export async function waitForGateways(
  store: Acknowledgements,
  timeoutMs: number,
  known: readonly GatewayState[] = [],
  look: () => Promise<readonly GatewayState[]> = () => store.gateways(),
): Promise<Waited> {
  const { sequence } = store;
  const begun = performance.now();
  const delays = new Map<string, Acknowledged>();
  for (const { id, name } of known) delays.set(id, { gateway: name, delayMs: undefined });
  for (;;) {
    // The change is made: that the store has gone away since must not hide it.
    const gateways = await look().catch(() => undefined);
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
