/** What the checks of a running plugin server have in common. */
import type { Config } from '../runtime/config.ts';
import { skipped, withPart, type CheckResult } from './check.ts';
import type { DoctorContext } from './context.ts';

/** What to do where it does not answer. */
export const NO_ANSWER =
  'start `hashed-key-auth serve`; where it runs, look at what it says in its log, and whether this user may use its socket';

/** Skipped where no server is meant to run, and without a configuration. */
export function withServer(
  context: DoctorContext,
  work: (config: Config) => Promise<CheckResult> | CheckResult,
): Promise<CheckResult> {
  if (!context.expectsServer) return Promise.resolve(skipped('left out with --no-server'));
  return withPart('the configuration', async () => context.config(), work);
}
