/** All checks, in the order in which they are run: what others need comes first. */
import type { Check } from './check.ts';
import { configReadable } from './config-readable.ts';
import { pepperBackup } from './pepper-backup.ts';
import { pepperFiles } from './pepper-files.ts';
import { pepperMatches } from './pepper-matches.ts';
import { pepperReadable } from './pepper-readable.ts';
import { pepperStrength } from './pepper-strength.ts';
import { storeReachable } from './store-reachable.ts';
import { vaultLogin } from './vault-login.ts';

export const CHECKS: readonly Check[] = [
  configReadable,
  vaultLogin,
  storeReachable,
  pepperReadable,
  pepperFiles,
  pepperStrength,
  pepperMatches,
  pepperBackup,
];
