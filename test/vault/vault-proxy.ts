/** An HTTP proxy in front of a Vault on loopback: it counts calls, and can change what an answer says. */
import { createServer, request, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface VaultProxy {
  readonly address: string;
  /** Every call so far, as `GET secret/data/app`, without `/v1/` and query. */
  readonly calls: readonly string[];
  /** Those whose path begins so. */
  count(call: string): number;
  close(): Promise<void>;
}

export async function startVaultProxy(
  vaultAddress: string,
  rewrite: (call: string, body: string) => string = (_call, body) => body,
): Promise<VaultProxy> {
  const calls: string[] = [];
  const server = createServer((incoming, outgoing) => {
    const { method = '', url = '', headers } = incoming;
    const call = `${method} ${url.replace(/^\/v1\//, '').replace(/\?.*$/, '')}`;
    calls.push(call);
    const forwarded = request(`${vaultAddress}${url}`, { method, headers, agent: false }, (answer) => {
      read(answer)
        .then((body) => {
          const text = rewrite(call, body);
          const { 'content-length': _length, ...rest } = answer.headers;
          outgoing.writeHead(answer.statusCode ?? 502, {
            ...rest,
            'content-length': Buffer.byteLength(text),
          });
          outgoing.end(text);
        })
        .catch(() => outgoing.destroy());
    });
    forwarded.on('error', () => outgoing.destroy());
    incoming.pipe(forwarded);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    count: (call) => calls.filter((one) => one.startsWith(call)).length,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

async function read(stream: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
