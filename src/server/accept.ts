/**
 * Takes connections and reads them into one buffer for all. What Node does by itself costs more than what is done with the
 * few bytes that Kong sends at a time: 64 KiB are made for every read, and a refused request means a new connection.
 *
 * The handle of the listener and its `onconnection` are what Node's own net module works with; nothing documented does.
 * Where they are missing, everything works as documented, and slower. Source: Node 20, lib/net.js.
 */
import { Socket, type Server } from 'node:net';

/** What is read at once, at most. */
export const READ_BYTES = 64 * 1024;
/** Whoever is called with a part of it must be done with it, or have copied it, before it returns. */
const BUFFER = Buffer.allocUnsafeSlow(READ_BYTES);

/** `onBytes` gets a view that is overwritten by the next read of any connection. */
export type Accepted = (begin: (onBytes: (bytes: Buffer) => void) => Socket) => void;

interface ListeningHandle {
  onconnection: (this: unknown, status: number, client: { close(): void } | undefined) => void;
}

/** To be called for a server without listeners for `connection`, once it listens. */
export function acceptInto(server: Server, accepted: Accepted): void {
  const handle = handleOf(server);
  if (handle === undefined) {
    server.on('connection', (socket) => accepted((onBytes) => socket.on('data', clearingAfter(onBytes))));
    return;
  }
  const usual = handle.onconnection;
  handle.onconnection = function onConnection(status, client): void {
    if (status !== 0 || client === undefined) usual.call(this, status, client);
    else accepted((onBytes) => readShared(client, onBytes));
  };
}

function handleOf(server: Server): ListeningHandle | undefined {
  const { _handle: handle } = server as unknown as { _handle?: Partial<ListeningHandle> | null };
  return typeof handle?.onconnection === 'function' ? (handle as ListeningHandle) : undefined;
}

function readShared(handle: object, onBytes: (bytes: Buffer) => void): Socket {
  const taken = clearingAfter(onBytes);
  const options = {
    handle,
    readable: true,
    writable: true,
    // A peer that has closed reads nothing any more: there is no half to shut down.
    allowHalfOpen: true,
    onread: {
      buffer: BUFFER,
      callback: (length: number) => {
        taken(BUFFER.subarray(0, length));
        return true;
      },
    },
  };
  const socket = new Socket(options);
  socket.once('end', () => socket.destroy());
  socket.resume();
  return socket;
}

/** Keys are in what is read. */
function clearingAfter(onBytes: (bytes: Buffer) => void): (bytes: Buffer) => void {
  return (bytes) => {
    onBytes(bytes);
    bytes.fill(0);
  };
}
