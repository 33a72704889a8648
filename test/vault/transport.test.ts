import { createServer, type Server, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import * as assert from 'uvu/assert';
import { Secret } from '../../src/lib/secret.ts';
import { VaultTransport, type Exchange } from '../../src/vault/transport.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { suite } from '../helpers/suite.ts';
import { canary, clientFor, everyView, failure } from './support.ts';

const test = suite('HTTP exchange with Vault');

/** Behind the proxy: answers every request with this. */
let answer: (response: ServerResponse) => void;
let backend: Server;
let proxy: FaultProxy;
const transports: VaultTransport[] = [];

test.before(async () => {
  backend = createServer((_request, response) => answer(response));
  await new Promise<void>((done) => backend.listen(0, '127.0.0.1', done));
  proxy = await startFaultProxy(`http://127.0.0.1:${(backend.address() as AddressInfo).port}`);
});

test.beforeEach(() => {
  answer = (response) => response.end('{"data":{"ok":true}}');
  proxy.set({ kind: 'pass' });
});

test.after(async () => {
  for (const transport of transports) transport.close();
  await proxy.close();
  backend.closeAllConnections();
  await new Promise((done) => backend.close(done));
});

function transportTo(address: string, timeoutMs = 5000): VaultTransport {
  const transport = new VaultTransport({ address: new URL(address), timeoutMs });
  transports.push(transport);
  return transport;
}

function get(token = 'unused'): Exchange {
  return { method: 'GET', path: '/v1/secret/data/app', headers: { 'X-Vault-Token': token } };
}

test('an answer is its status and its JSON object', async () => {
  const reply = await transportTo(proxy.address).exchange(get());
  assert.is(reply.status, 200);
  assert.equal(reply.body, { data: { ok: true } });
});

test('fifty reads, one after the other, use one connection', async () => {
  const before = proxy.connections();
  const transport = transportTo(proxy.address);
  for (let round = 0; round < 50; round += 1) await transport.exchange(get());
  assert.is(proxy.connections() - before, 1);
});

test('a read is repeated when the kept connection turns out to be closed', async () => {
  const used = new Set<unknown>();
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    // As a load balancer that has forgotten the connection does.
    if (used.has(request.socket)) request.socket.resetAndDestroy();
    else response.end('{"data":{}}');
    used.add(request.socket);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const transport = transportTo(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  assert.is((await transport.exchange(get())).status, 200);
  assert.is((await transport.exchange(get())).status, 200);
  assert.is(requests, 3);
  server.closeAllConnections();
  server.close();
});

test('a read is not repeated when it was a new connection that broke', async () => {
  const before = proxy.requests.length;
  proxy.set({ kind: 'reset' });
  await failure(() => transportTo(proxy.address).exchange(get()));
  assert.is(proxy.requests.length - before, 1);
});

test('a write is never repeated', async () => {
  const transport = transportTo(proxy.address);
  const before = proxy.requests.length;
  proxy.set({ kind: 'reset' });
  const error = await failure(() =>
    transport.exchange({ method: 'POST', path: '/v1/auth/approle/login', headers: {}, body: {} }),
  );
  assert.is(error.code, 'HKA_VAULT_UNAVAILABLE');
  assert.is(proxy.requests.length - before, 1);
});

for (const kind of ['hang', 'drip'] as const) {
  test(`the deadline ends an exchange that meets: ${kind}`, async () => {
    proxy.set({ kind });
    const error = await failure(() => transportTo(proxy.address, 100).exchange(get()));
    assert.is(error.code, 'HKA_VAULT_TIMEOUT');
    assert.match(error.message, /within 100 ms/);
  });
}

test('a body without end is cut off at 4 MiB', async () => {
  proxy.set({ kind: 'flood' });
  const error = await failure(() => transportTo(proxy.address, 60_000).exchange(get()));
  assert.is(error.code, 'HKA_VAULT_MALFORMED');
  assert.match(error.message, /more than 4194304 bytes/);
});

test('an answer cut in the middle of its body is an outage, not half a secret', async () => {
  proxy.set({ kind: 'cut' });
  assert.is((await failure(() => transportTo(proxy.address).exchange(get()))).code, 'HKA_VAULT_UNAVAILABLE');
});

test('refused and reset connections are outages', async () => {
  const other = await startFaultProxy('http://127.0.0.1:9');
  await other.down();
  const refused = await failure(() => transportTo(other.address).exchange(get()));
  assert.is(refused.code, 'HKA_VAULT_UNAVAILABLE');
  assert.match(refused.message, /ECONNREFUSED/);
  proxy.set({ kind: 'reset' });
  const reset = await failure(() => transportTo(proxy.address).exchange(get()));
  assert.is(reset.code, 'HKA_VAULT_UNAVAILABLE');
});

test('a name that does not resolve is an outage', async () => {
  const error = await failure(() => transportTo('http://vault.invalid:8200').exchange(get()));
  assert.ok(['HKA_VAULT_UNAVAILABLE', 'HKA_VAULT_TIMEOUT'].includes(error.code), error.code);
});

for (const body of ['<html>It works!</html>', '"text"', '[1]', '42', 'null', '{"data":', '']) {
  test(`200 with ${JSON.stringify(body)} is malformed`, async () => {
    proxy.set({ kind: 'answer', status: 200, body });
    assert.is((await failure(() => transportTo(proxy.address).exchange(get()))).code, 'HKA_VAULT_MALFORMED');
  });
}

test('bytes that are not UTF-8 are malformed, instead of other characters in a secret', async () => {
  answer = (response) => response.end(Buffer.from('{"data":{"password":"caf\xe9"}}', 'latin1'));
  assert.is((await failure(() => transportTo(proxy.address).exchange(get()))).code, 'HKA_VAULT_MALFORMED');
});

test('what is not HTTP is malformed, and its bytes are not in the error', async () => {
  const secret = canary('bytes');
  const server = createTcpServer((socket) => socket.end(`${secret}\r\n\r\n`));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const error = await failure(() => transportTo(address).exchange(get()));
  assert.is(error.code, 'HKA_VAULT_MALFORMED');
  assert.not.match(everyView(error), /canary/);
  server.close();
});

test('Retry-After is kept', async () => {
  proxy.set({ kind: 'answer', status: 429, body: '{"errors":[]}', headers: { 'retry-after': '7' } });
  assert.is((await transportTo(proxy.address).exchange(get())).retryAfterMs, 7000);
});

for (const status of [301, 302, 303, 307, 308]) {
  test(`a redirect (${status}) is not followed, and its target sees nothing`, async () => {
    const target = await startFaultProxy('http://127.0.0.1:9');
    proxy.set({
      kind: 'answer',
      status,
      body: '',
      headers: { location: `${target.address}/v1/secret/data/app` },
    });
    const { client, transport } = clientFor(proxy.address);
    const error = await failure(() =>
      client.write('auth/approle/login', { secret_id: canary('id') }, { token: new Secret(canary('token')) }),
    );
    assert.is(error.code, 'HKA_VAULT_UNAVAILABLE');
    assert.match(
      error.message,
      /redirect, which is not followed: the address must be that of the active node/,
    );
    assert.is(target.connections(), 0);
    transport.close();
    await target.close();
  });
}

test.run();
