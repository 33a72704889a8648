/** Stands between gateway and plugin server and keeps every byte, by direction. */
import { connect, createServer, type Server, type Socket } from 'node:net';

export interface SocketTap {
  readonly path: string;
  /** What the gateway sent to the server. */
  fromGateway(): Buffer;
  /** What the server sent to the gateway. */
  fromServer(): Buffer;
  close(): Promise<void>;
}

export async function tapSocket(path: string, target: string): Promise<SocketTap> {
  const fromGateway: Buffer[] = [];
  const fromServer: Buffer[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((downstream) => {
    const upstream = connect(target);
    for (const [socket, other, kept] of [
      [downstream, upstream, fromGateway],
      [upstream, downstream, fromServer],
    ] as const) {
      sockets.add(socket);
      socket.on('data', (chunk: Buffer) => {
        kept.push(chunk);
        other.write(chunk);
      });
      socket.on('end', () => other.end());
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  });
  await new Promise<void>((done) => {
    server.listen(path, done);
  });
  return {
    path,
    fromGateway: () => Buffer.concat(fromGateway),
    fromServer: () => Buffer.concat(fromServer),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => {
        server.close(done);
      });
    },
  };
}
