/** An HTTP client that sends exactly the headers it is given, duplicates and odd names included. */
import { request, type IncomingHttpHeaders } from 'node:http';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export function send(
  url: string,
  options: { method?: string; headers?: readonly (readonly [string, string])[]; body?: string | Buffer } = {},
): Promise<HttpAnswer> {
  const { pathname, host, hostname, port } = new URL(url);
  // URL would re-spell the query: it is taken as it was written.
  const queryAt = url.indexOf('?');
  const path = pathname + (queryAt === -1 ? '' : url.slice(queryAt));
  return new Promise((resolve, reject) => {
    const headers = [['Host', host], ['Connection', 'close'], ...(options.headers ?? [])].flat();
    if (options.body !== undefined) headers.push('Content-Length', String(Buffer.byteLength(options.body)));
    const outgoing = request(
      { hostname, port, path, method: options.method ?? 'GET', headers, agent: false },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('error', reject);
        incoming.on('end', () =>
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: Buffer.concat(chunks).toString(),
          }),
        );
      },
    );
    outgoing.on('error', reject);
    outgoing.end(options.body);
  });
}
