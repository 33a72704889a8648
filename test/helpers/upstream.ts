/**
 * An upstream that answers with what reached it, and remembers every request: tests of an authentication plugin ask
 * first of all what did NOT get through. Answers JSON `{method, url, rawHeaders, body}`; `?status=` picks the status.
 */
import { createServer, type IncomingHttpHeaders } from 'node:http';
import { createServer as createHttp2Server, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';

export interface RecordedRequest {
  method: string;
  /** Path and query as they were sent. */
  url: string;
  /** Names and values alternately, in the order and spelling of the wire. */
  rawHeaders: string[];
  headers: IncomingHttpHeaders;
  /** The body, one character for each byte (latin1). */
  body: string;
}

export interface Upstream {
  port: number;
  /** `http://127.0.0.1:port` */
  url: string;
  /** Every request that reached it, oldest first. */
  requests: RecordedRequest[];
  count(): number;
  /** Forgets what was recorded. */
  reset(): void;
  close(): Promise<void>;
}

/** All values that a recorded request has under a header name, in order, whatever the case. */
export function headerValues(
  request: Pick<RecordedRequest, 'rawHeaders'> | undefined,
  name: string,
): string[] {
  const values: string[] = [];
  const raw = request?.rawHeaders ?? [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    if (raw[at]?.toLowerCase() === name.toLowerCase()) values.push(raw[at + 1] ?? '');
  }
  return values;
}

/** Starts an upstream on a free loopback port. With `http2` it speaks HTTP/2 without TLS, as gRPC services do. */
export async function startUpstream(options: { http2?: boolean } = {}): Promise<Upstream> {
  const requests: RecordedRequest[] = [];
  const sessions = new Set<ServerHttp2Session>();

  interface Incoming extends AsyncIterable<unknown> {
    method?: string | undefined;
    url?: string | undefined;
    rawHeaders: string[];
    headers: IncomingHttpHeaders;
  }
  interface Outgoing {
    writeHead(status: number, headers: Record<string, string | number>): unknown;
    end(body: string): unknown;
  }

  const answer = async (request: Incoming, response: Outgoing): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const recorded: RecordedRequest = {
      method: request.method ?? '',
      url: request.url ?? '',
      rawHeaders: request.rawHeaders,
      headers: request.headers,
      body: Buffer.concat(chunks).toString('latin1'),
    };
    requests.push(recorded);
    const status = /[?&]status=(\d{3})/.exec(recorded.url)?.[1];
    const body = JSON.stringify({
      method: recorded.method,
      url: recorded.url,
      rawHeaders: recorded.rawHeaders,
      body: recorded.body,
    });
    response.writeHead(status === undefined ? 200 : Number(status), {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'x-upstream': 'echo',
    });
    response.end(body);
  };
  const handle = (request: Incoming, response: Outgoing): void => {
    answer(request, response).catch(() => {
      // The client went away in the middle of its request: there is nobody to answer.
    });
  };

  const server = options.http2 === true ? createHttp2Server(handle) : createServer(handle);
  server.on('session', (session: ServerHttp2Session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;

  return {
    port,
    url: `http://127.0.0.1:${port}`,
    requests,
    count: () => requests.length,
    reset: () => {
      requests.length = 0;
    },
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        for (const session of sessions) session.destroy();
        if ('closeAllConnections' in server) server.closeAllConnections();
      }),
  };
}
