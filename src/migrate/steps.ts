/** What comes next in a migration. */
import type { MigrationState } from './journal.ts';

export interface Step {
  /** `migrate import`, and so on. */
  readonly command: string;
  readonly why: string;
}

export function nextStep(state: MigrationState): Step {
  const step = (command: string, why: string): Step => ({ command: `migrate ${command}`, why });
  if (state.purgeDone !== undefined) return step('residue', 'to find what is left of plain keys elsewhere');
  if (state.purgeBegun !== undefined) return step('purge', 'which was interrupted');
  if (state.rollbackBegun) return step('rollback', 'which was interrupted');
  if (state.switchDone !== undefined) {
    return step('purge', 'once you are content (rollback is possible until then)');
  }
  if (state.switchBegun !== undefined) return step('switch --yes', 'which was interrupted');
  if (state.source === undefined) return step('plan', 'to see what an import would do');
  if (state.importDone === undefined || state.open !== undefined) {
    return step('import', state.open === undefined ? 'nothing is imported yet' : 'which was interrupted');
  }
  if (state.verifyDone === undefined) return step('verify', 'to see that every key works as before');
  if (state.verifyDone.failed > 0) return step('verify', 'after what failed was mended');
  if (state.shadows.size > 0)
    return step('shadow --report', 'to see whether both plugins decide alike; then `migrate switch`');
  return step('switch', 'which shows what would change');
}
