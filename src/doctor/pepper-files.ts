/** Whether only the owner can reach pepper files, and nobody else can put others in their place. */
import { lstatSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../lib/errors.ts';
import { fail, ok, skipped, withPart, type Check } from './check.ts';

/** Kept by sticky folders such as /tmp: nobody can replace what others own there. */
const STICKY = 0o1000;

export const pepperFiles: Check = {
  id: 'pepper-files',
  title: 'pepper files are private',
  run: (context) =>
    withPart(
      'the configuration',
      async () => context.config(),
      ({ pepper }) => {
        const files = pepper.versions.flatMap(({ file }) => (file === undefined ? [] : [file]));
        if (files.length === 0) return skipped('no pepper lies in a file');
        const faults = files.flatMap(faultsOf);
        if (faults.length === 0) return ok(files.join(', '));
        return fail(
          faults.map(({ found }) => found).join('; '),
          [...new Set(faults.map(({ advice }) => advice))].join(' && '),
        );
      },
    ),
};

function faultsOf(file: string): { readonly found: string; readonly advice: string }[] {
  try {
    const folder = dirname(file);
    const [target, own, around] = [statSync(file), lstatSync(file), statSync(folder)];
    const mode = (bits: number): string => (bits & 0o7777).toString(8).padStart(4, '0');
    const mine = [0, process.geteuid?.() ?? 0];
    return [
      ...((target.mode & 0o077) === 0
        ? []
        : [{ found: `${file} has mode ${mode(target.mode)}`, advice: `chmod 600 ${file}` }]),
      ...(mine.includes(target.uid) && mine.includes(own.uid)
        ? []
        : [
            { found: `${file} belongs to uid ${target.uid}`, advice: `chown it to the user that runs serve` },
          ]),
      ...((around.mode & 0o022) === 0 || (around.mode & STICKY) !== 0
        ? []
        : [{ found: `${folder} has mode ${mode(around.mode)}`, advice: `chmod go-w ${folder}` }]),
    ];
  } catch (error) {
    return [{ found: `${file}: ${errnoOf(error) ?? 'fault'}`, advice: `put the pepper back in its place` }];
  }
}
