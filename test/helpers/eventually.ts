/** Waiting for a condition, in place of sleeping and hoping. */
import { setTimeout as delay } from 'node:timers/promises';

/** Resolves with the first value that is not undefined or false. Rejects when none came in `timeoutMs`. */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  timeoutMs = 20_000,
  pauseMs = 10,
): Promise<Exclude<T, undefined | false>> {
  const until = performance.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>;
    if (performance.now() > until) throw new Error(`did not happen within ${timeoutMs} ms: ${what}`);
    await delay(pauseMs);
  }
}
