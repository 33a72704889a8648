/** Whether the plugin server's socket is there, and only for those who may speak as Kong: whoever opens it may ask for secrets. */
import { statSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../lib/errors.ts';
import { fail, ok, warn, type Check, type CheckResult } from './check.ts';
import { withServer } from './server.ts';

const OTHERS_WRITE = 0o002;
const STICKY = 0o1000;

export const socket: Check = {
  id: 'socket',
  title: 'socket for Kong',
  run: (context) =>
    withServer(context, ({ server: { socket: path, socketMode } }) => {
      const stats = statOf(path);
      if (stats === undefined) {
        return fail(
          `${path} is not there`,
          `nothing serves Kong: start \`hashed-key-auth serve\`, or look into its log; --no-server leaves this out where none is meant to run`,
        );
      }
      if (!stats.isSocket()) return fail(`${path} is no socket`, 'remove it, and restart `serve`');
      return forWhom(path, stats, socketMode);
    }),
};

function forWhom(path: string, { mode, uid, gid }: Stats, configured: string): CheckResult {
  const found = `${path}, mode ${octal(mode)}, of uid ${uid} and gid ${gid}`;
  if ((mode & OTHERS_WRITE) !== 0) {
    return fail(
      `${found}: every user of this machine may speak to it as Kong does`,
      'set server.socket_mode to 0660 or stricter, with a group that only Kong and the server are in, and restart `serve`',
    );
  }
  const folder = statOf(dirname(path));
  if (folder !== undefined && (folder.mode & OTHERS_WRITE) !== 0 && (folder.mode & STICKY) === 0) {
    return fail(
      `${dirname(path)} can be written by everybody, who could put a socket of their own in its place`,
      `run: chmod o-w ${dirname(path)}`,
    );
  }
  if ((mode & 0o777) !== Number.parseInt(configured, 8)) {
    return warn(
      `${found}, and server.socket_mode is ${configured}`,
      'restart `serve`, if it is of before a change of the configuration; else find out who has changed the mode',
    );
  }
  return ok(found);
}

function octal(mode: number): string {
  return (mode & 0o777).toString(8).padStart(4, '0');
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
