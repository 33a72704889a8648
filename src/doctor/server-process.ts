/** The process that listens on a Unix socket, by what the kernel tells. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { isNameBeside } from '../lib/socket-file.ts';

const LISTENING = '00010000';

/** Its id; undefined when there is none, or none that this user may look at. */
export function listenerOf(socket: string): number | undefined {
  const links = new Set(inodesOf(socket).map((inode) => `socket:[${inode}]`));
  if (links.size === 0) return undefined;
  // The lowest id is that of the parent: workers have the socket from it.
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .toSorted((a, b) => a - b)
    .find((pid) => hasOpen(pid, links));
}

/** The kernel tells the name that it was made under: one beside its own, which it was then renamed from. */
function inodesOf(socket: string): string[] {
  const found: string[] = [];
  for (const line of (textOf('/proc/net/unix') ?? '').split('\n')) {
    const [, , , flags, , , inode, ...path] = line.trim().split(/\s+/);
    const name = path.join(' ');
    if (flags !== LISTENING || inode === undefined) continue;
    if (name === socket || isNameBeside(name, socket)) found.push(inode);
  }
  return found;
}

function hasOpen(pid: number, links: ReadonlySet<string>): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => links.has(readlinkSync(`/proc/${pid}/fd/${fd}`)));
  } catch {
    // Another user's, or gone by now.
    return false;
  }
}

/** Undefined for what can't be read. */
export function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
