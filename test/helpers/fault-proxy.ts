/**
 * A proxy in front of a real Vault that can be told to fail, at run time. It records every request that reaches it, so
 * that a test can say what was sent and, more often, what was not.
 */
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export type Fault =
  /** Everything goes through. */
  | { readonly kind: 'pass' }
  /** Connections are accepted and reset. */
  | { readonly kind: 'reset' }
  /** Requests are read and never answered. */
  | { readonly kind: 'hang' }
  /** Answers come this much later. */
  | { readonly kind: 'slow'; readonly ms: number }
  /** Answered here; Vault sees nothing of it. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly body: string;
      readonly headers?: Record<string, string>;
    }
  /** Vault's answer, cut off in the middle of its body. */
  | { readonly kind: 'cut' }
  /** Head of a 200 at once, then a byte of body every few milliseconds, without end. */
  | { readonly kind: 'drip' }
  /** A 200 whose body does not end. */
  | { readonly kind: 'flood' };

export interface ProxiedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface FaultProxy {
  readonly address: string;
  /** Every request that reached it, oldest first. */
  readonly requests: readonly ProxiedRequest[];
  /** How many requests had a path that contains `part`. */
  count(part: string): number;
  /** How many TCP connections it has accepted. */
  connections(): number;
  /** Faults apply to the paths that contain `part`, if it is given; others pass. */
  set(fault: Fault, part?: string): void;
  /** Closes the listening socket and every connection: connecting is then refused. */
  down(): Promise<void>;
  /** Listens again, on the same port. */
  up(): Promise<void>;
  close(): Promise<void>;
}

const DRIP_MS = 5;

export async function startFaultProxy(target: string): Promise<FaultProxy> {
  const { hostname, port } = new URL(target);
  const requests: ProxiedRequest[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  let fault: Fault = { kind: 'pass' };
  let faultPath = '';

  const forward = (
    request: IncomingMessage,
    body: Buffer,
    response: ServerResponse,
    relay: (answer: IncomingMessage, bytes: Buffer) => void,
  ): void => {
    const forwarded = httpRequest(
      {
        host: hostname,
        port,
        method: request.method,
        path: request.url,
        headers: request.headers,
        agent: false,
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => relay(answer, Buffer.concat(chunks)));
      },
    );
    forwarded.on('error', () => response.destroy());
    forwarded.end(body);
  };

  const pass = (response: ServerResponse) => (answer: IncomingMessage, bytes: Buffer) => {
    response.writeHead(answer.statusCode ?? 500, answer.headers);
    response.end(bytes);
  };

  const drip = (response: ServerResponse, everyMs: number, chunk: string): void => {
    response.writeHead(200, { 'content-type': 'application/json' });
    const timer = setInterval(() => response.write(chunk), everyMs);
    response.on('close', () => clearInterval(timer));
  };

  const handle = (request: IncomingMessage, body: Buffer, response: ServerResponse): void => {
    const now: Fault = (request.url ?? '').includes(faultPath) ? fault : { kind: 'pass' };
    switch (now.kind) {
      case 'pass':
        forward(request, body, response, pass(response));
        return;
      case 'reset':
        response.socket?.resetAndDestroy();
        return;
      case 'hang':
        return;
      case 'slow':
        setTimeout(() => forward(request, body, response, pass(response)), now.ms).unref();
        return;
      case 'answer':
        response.writeHead(now.status, {
          'content-length': Buffer.byteLength(now.body),
          'content-type': 'application/json',
          ...now.headers,
        });
        response.end(now.body);
        return;
      case 'cut':
        forward(request, body, response, (answer, bytes) => {
          response.writeHead(answer.statusCode ?? 500, { ...answer.headers, 'content-length': bytes.length });
          response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy());
        });
        return;
      case 'drip':
        drip(response, DRIP_MS, ' ');
        return;
      case 'flood':
        drip(response, 1, ' '.repeat(256 * 1024));
        return;
    }
  };

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      requests.push({
        method: request.method ?? '',
        path: request.url ?? '',
        headers: request.headers,
        body: body.toString(),
      });
      handle(request, body, response);
    });
  });
  server.on('connection', (socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
  });
  const listen = (on: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(on, '127.0.0.1', () => {
        server.off('error', reject);
        resolve();
      });
    });
  const down = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = new Promise<void>((done) => server.close(() => done()));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  await listen(0);
  const own = (server.address() as AddressInfo).port;

  return {
    address: `http://127.0.0.1:${own}`,
    requests,
    count: (part) => requests.filter(({ path }) => path.includes(part)).length,
    connections: () => connections,
    set: (next, part = '') => {
      fault = next;
      faultPath = part;
    },
    down,
    up: () => listen(own),
    close: down,
  };
}
