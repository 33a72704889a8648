/** All checks, in the order in which they are run: what others need comes first. */
import type { Check } from './check.ts';
import { clock } from './clock.ts';
import { configReadable } from './config-readable.ts';
import { kongConf } from './kong-conf.ts';
import { limits } from './limits.ts';
import { pepperBackup } from './pepper-backup.ts';
import { pepperFiles } from './pepper-files.ts';
import { pepperMatches } from './pepper-matches.ts';
import { pepperReadable } from './pepper-readable.ts';
import { pepperStrength } from './pepper-strength.ts';
import { protocol } from './protocol.ts';
import { socket } from './socket.ts';
import { storeReachable } from './store-reachable.ts';
import { vaultLogin } from './vault-login.ts';
import { vaultRights } from './vault-rights.ts';
import { goodKey, unknownKey } from './verification.ts';
import { versions } from './versions.ts';

export const CHECKS: readonly Check[] = [
  configReadable,
  versions,
  vaultLogin,
  vaultRights,
  storeReachable,
  pepperReadable,
  pepperFiles,
  pepperStrength,
  pepperMatches,
  pepperBackup,
  clock,
  socket,
  limits,
  protocol,
  kongConf,
  unknownKey,
  goodKey,
];
