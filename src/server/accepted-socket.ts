/**
 * Reads a connection into one buffer for all of them. Node otherwise makes a buffer of 64 KiB for every read, which costs
 * more than what is done with the few bytes that Kong sends at a time.
 *
 * A socket that was accepted can't be given a buffer any more, so its handle goes to a new socket; `handle` is what Node's
 * own child_process passes sockets on with, and nothing documented does. Source: Node 20, lib/net.js.
 */
import * as net from 'node:net';

/** Shared: whoever is called with a part of it must be done with it, or have copied it, before it returns. */
const BUFFER = Buffer.allocUnsafeSlow(64 * 1024);

interface WithHandle {
  _handle: object | null;
}

/**
 * `accepted` comes from a server with `pauseOnConnect`. `onBytes` gets a view that is overwritten by the next read of any
 * connection. Without a handle to pass on, which only a socket that is closed already has, it is the accepted one.
 */
export function readShared(accepted: net.Socket, onBytes: (bytes: Buffer) => void): net.Socket {
  const owner = accepted as unknown as WithHandle;
  const { _handle: handle } = owner;
  if (handle === null) return accepted;
  owner._handle = null;
  const options = {
    handle,
    readable: true,
    writable: true,
    onread: {
      buffer: BUFFER,
      callback: (length: number) => {
        onBytes(BUFFER.subarray(0, length));
        return true;
      },
    },
  };
  const socket = new net.Socket(options);
  // The server counts the accepted one as open until then.
  socket.once('close', () => accepted.destroy());
  socket.resume();
  return socket;
}
