/**
 * Whether only the owner can reach pepper files, and nobody else can put others in their place; and whether that owner is
 * the same user for all: a file that root made is one that the server's user can't read.
 */
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
      ({ pepper, file: configFile }) => {
        const files = pepper.versions.flatMap(({ file }) => (file === undefined ? [] : [file]));
        if (files.length === 0) return skipped('no pepper lies in a file');
        const user = userOf([...files, configFile]);
        const faults = files.flatMap((file) => faultsOf(file, user));
        if (faults.length === 0) return ok(files.join(', '));
        return fail(
          faults.map(({ found }) => found).join('; '),
          [...new Set(faults.map(({ advice }) => advice))].join(' && '),
        );
      },
    ),
};

/** Who owns the first of these that is not root's; root when all are. */
function userOf(files: readonly string[]): number {
  return (
    files.map((file) => statSync(file, { throwIfNoEntry: false })?.uid ?? 0).find((uid) => uid !== 0) ?? 0
  );
}

/** `user`: who, as it seems, runs serve. */
function faultsOf(file: string, user: number): { readonly found: string; readonly advice: string }[] {
  try {
    const folder = dirname(file);
    const [target, own, around] = [statSync(file), lstatSync(file), statSync(folder)];
    const mode = (bits: number): string => (bits & 0o7777).toString(8).padStart(4, '0');
    const self = process.geteuid?.() ?? user;
    // To root it is nothing to read anybody's file; then the owners tell who has to.
    const mine = self === 0 ? user : self;
    return [
      ...((target.mode & 0o077) === 0
        ? []
        : [{ found: `${file} has mode ${mode(target.mode)}`, advice: `chmod 600 ${file}` }]),
      ...(target.uid === mine && [0, mine].includes(own.uid)
        ? []
        : [
            {
              found: `${file} belongs to uid ${target.uid}, not to uid ${mine}`,
              advice: `chown it to the user that runs serve`,
            },
          ]),
      ...((around.mode & 0o022) === 0 || (around.mode & STICKY) !== 0
        ? []
        : [{ found: `${folder} has mode ${mode(around.mode)}`, advice: `chmod go-w ${folder}` }]),
    ];
  } catch (error) {
    return [{ found: `${file}: ${errnoOf(error) ?? 'fault'}`, advice: `put the pepper back in its place` }];
  }
}
