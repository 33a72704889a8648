/**
 * A socket that is bound here and listened on elsewhere. This process keeps it open and takes nothing from it: so there
 * is no moment without a socket when the worker that listens dies, connections wait in the kernel until the next one does.
 *
 * `_createServerHandle` is what Node's own cluster module makes such handles with; nothing documented does.
 */
import * as net from 'node:net';
import { getSystemErrorName } from 'node:util';
import type { SocketHandle } from '../server/plugin-server.ts';

type CreateServerHandle = (path: string, port: -1, addressType: -1) => SocketHandle | number;

/** Throws what the system says, with its `code`. */
export function bindSocket(path: string): SocketHandle {
  const { _createServerHandle: create } = net as unknown as { _createServerHandle?: CreateServerHandle };
  if (create === undefined)
    throw new Error('this version of Node cannot share a socket; set server.workers to 1');
  // Until it is published with its final rights, the umask of this moment is what protects the socket.
  const umask = process.umask(0o177);
  try {
    const handle = create(path, -1, -1);
    if (typeof handle !== 'number') return handle;
    const code = getSystemErrorName(handle);
    throw Object.assign(new Error(`bind ${code}`), { code });
  } finally {
    process.umask(umask);
  }
}
