/** Whether the clocks agree: keys expire, and revocations count, by that of the machine that looks. */
import { messageOf } from '../lib/errors.ts';
import type { DoctorContext } from './context.ts';
import { fail, ok, skipped, warn, withPart, type Check } from './check.ts';

const WARN_MS = 2000;
const FAIL_MS = 30_000;

interface Reading {
  readonly from: string;
  /** Theirs less ours, in ms; positive: we are behind. */
  readonly offset: number;
  /** How far that may be off. */
  readonly uncertainty: number;
}

export const clock: Check = {
  id: 'clock',
  title: 'clock',
  run: (context) =>
    withPart(
      'the configuration',
      async () => context.config(),
      async () => {
        const { readings, problems } = await readingsOf(context);
        if (readings.length === 0) {
          const why =
            problems.length === 0 ? 'neither PostgreSQL nor Vault is configured' : problems.join('; ');
          return skipped(`nothing to compare with: ${why}`);
        }
        const found = readings.map(textOf).join('; ');
        const worst = Math.max(...readings.map(({ offset, uncertainty }) => Math.abs(offset) - uncertainty));
        if (worst < WARN_MS) return ok(found);
        const advice = `keys expire too late or too early by as much: have the clocks set by NTP (chrony, systemd-timesyncd)`;
        return worst < FAIL_MS ? warn(found, advice) : fail(found, advice);
      },
    ),
};

async function readingsOf(
  context: DoctorContext,
): Promise<{ readonly readings: readonly Reading[]; readonly problems: readonly string[] }> {
  const readings: Reading[] = [];
  const problems: string[] = [];
  const unreachable = (what: string): undefined => {
    problems.push(`${what} is not to be had; see the check of it`);
    return undefined;
  };
  const read = async (
    from: string,
    resolution: number,
    ask: () => Promise<number | undefined>,
  ): Promise<void> => {
    try {
      const before = Date.now();
      const theirs = await ask();
      const after = Date.now();
      if (theirs === undefined) return;
      const uncertainty = (after - before + resolution) / 2;
      readings.push({ from, offset: theirs + resolution / 2 - (before + after) / 2, uncertainty });
    } catch (error) {
      problems.push(`${from}: ${messageOf(error)}`);
    }
  };
  if (context.config().store.type === 'postgres') {
    const store = await context.store().catch(() => unreachable('PostgreSQL'));
    await read('PostgreSQL', 0, async () => store?.serverTime?.());
  }
  const vaults = await context.startedVaults().catch(() => unreachable('Vault'));
  // It tells whole seconds.
  if (vaults !== undefined) await read('Vault', 1000, () => vaults.serverTime());
  return { readings, problems };
}

function textOf({ from, offset, uncertainty }: Reading): string {
  if (Math.abs(offset) <= uncertainty + 100) return `as that of ${from}`;
  const seconds = (Math.abs(offset) / 1000).toFixed(1);
  return `${seconds} s ${offset > 0 ? 'behind' : 'before'} that of ${from}`;
}
