/** Whether back-ups of the pepper hold what is in use. Only check values are compared. */
import type { PepperRing } from '../keys/pepper.ts';
import { parsePepper } from '../keys/pepper.ts';
import { readPrivateFile } from '../lib/atomic-file.ts';
import { Secret } from '../lib/secret.ts';
import type { Config } from '../runtime/config.ts';
import { fail, ok, skipped, warn, withPart, type Check } from './check.ts';

const HOW = 'hashed-key-auth doctor --pepper-backup FILE, for each file';

export const pepperBackup: Check = {
  id: 'pepper-backup',
  title: 'pepper is backed up',
  otherwise: `Name a file (0600) with the pepper as it is in use, a version a line: ${HOW}.`,
  run: (context) =>
    withPart(
      'the pepper',
      async () => context.peppers(),
      (ring) => {
        const versions = inFiles(ring, context.config());
        if (versions.length === 0)
          return skipped("Vault's Transit engine has it: back Vault up, and try that out (docs/pepper.md)");
        if (context.pepperBackups.length === 0) {
          return warn(
            'nobody has said where a back-up is: without the pepper no key verifies ever again',
            `Copy it to where the credentials are not, and have the copy looked at: ${HOW}.`,
          );
        }
        const saved = new Set(context.pepperBackups.flatMap(checksIn));
        const lacking = versions.filter((id) => !saved.has(ring.get(id).check));
        if (lacking.length === 0) return ok(`versions ${versions.join(', ')} are in the back-up`);
        const found = `versions ${lacking.join(', ')} are in none of the files`;
        const advice = `Back up what is in use now, and look again: ${HOW}.`;
        return lacking.includes(ring.current.id) ? fail(found, advice) : warn(found, advice);
      },
    ),
};

/** Versions whose bytes a file can hold. */
function inFiles(ring: PepperRing, { pepper }: Config): readonly string[] {
  const inTransit = new Set(
    pepper.versions.flatMap(({ id, transit }) => (transit === undefined ? [] : [id])),
  );
  return ring.ids.filter((id) => !inTransit.has(id));
}

/** One pepper a line. */
function checksIn(file: string): string[] {
  const text = readPrivateFile(file, 'the back-up of the pepper', 'HKA_PEPPER_UNREADABLE');
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line, at) => parsePepper('backup', new Secret(line), `${file}, line ${at + 1}`).check);
}
