/** How fast a migration may go, so that it leaves Kong and its database their share. */
import { setTimeout as delay } from 'node:timers/promises';

export interface Pace {
  /** Resolves when the next one may begin. */
  turn(): Promise<void>;
}

const UNLIMITED: Pace = { turn: () => Promise.resolve() };

/** `perSecond`: undefined is as fast as it goes. No burst makes up for a pause. */
export function createPace(perSecond: number | undefined): Pace {
  if (perSecond === undefined) return UNLIMITED;
  const interval = 1000 / perSecond;
  let next = performance.now();
  return {
    turn: async () => {
      const now = performance.now();
      const mine = Math.max(next, now);
      next = mine + interval;
      if (mine > now) await delay(mine - now);
    },
  };
}

/** Runs `work` on every item, `width` at a time, without collecting the items first. */
export async function eachAtOnce<T>(
  items: AsyncIterable<readonly T[]>,
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.asyncIterator]();
  let page: readonly T[] = [];
  let at = 0;
  let ended = false;
  let failed = false;
  let reading: Promise<void> | undefined;
  const read = async (): Promise<void> => {
    const { done, value } = await iterator.next();
    if (done === true) ended = true;
    else {
      page = value;
      at = 0;
    }
  };
  const take = async (): Promise<T | undefined> => {
    while (!ended && !failed && at >= page.length) {
      reading ??= read().finally(() => {
        reading = undefined;
      });
      await reading;
    }
    if (failed || at >= page.length) return undefined;
    at += 1;
    return page[at - 1];
  };
  const worker = async (): Promise<void> => {
    try {
      for (let item = await take(); item !== undefined; item = await take()) await work(item);
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  try {
    const outcomes = await Promise.allSettled(Array.from({ length: width }, worker));
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure !== undefined) throw failure.reason;
  } finally {
    await iterator.return?.();
  }
}
