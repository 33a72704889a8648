/** Whether the configuration can be read and is without faults, and whether others may change it or the credentials. */
import { statSync } from 'node:fs';
import type { Config } from '../runtime/config.ts';
import { fail, ok, type Check } from './check.ts';

const OTHERS_WRITE = 0o002;

export const configReadable: Check = {
  id: 'config-readable',
  title: 'configuration',
  run: async (context) => {
    const config = context.config();
    const open = filesOf(config).filter((file) => othersMayWrite(file));
    if (open.length === 0) return ok(config.file);
    return fail(
      `every user of this machine may change ${open.join(' and ')}, and with it whose keys are good`,
      `run: chmod o-w ${open.join(' ')}`,
    );
  },
};

function filesOf({ file, store }: Config): readonly string[] {
  return [file, ...(store.path === undefined ? [] : [store.path])];
}

/** Not where it is not there, or in a folder that is closed: other checks tell of that. */
function othersMayWrite(file: string): boolean {
  try {
    return (statSync(file).mode & OTHERS_WRITE) !== 0;
  } catch {
    return false;
  }
}
