/** Asking Kong whether a consumer exists, before a key is issued for it. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import * as assert from 'uvu/assert';
import { KongConsumers } from '../../../src/admin/consumers.ts';
import { Secret } from '../../../src/lib/secret.ts';
import { suite } from '../../helpers/suite.ts';
import { startAdmin, type Admin } from './fixture.ts';

const test = suite('admin consumers');

const ALICE = { id: '2f6f1a0e-6f4e-4d2b-9d8e-0c6a6f1f9b11', username: 'alice', custom_id: 'crm 7/ä' };
const NAMELESS = { id: '3f6f1a0e-6f4e-4d2b-9d8e-0c6a6f1f9b11', username: null, custom_id: 'nameless' };

let admin: Admin;
let url: string;
let seen: { url: string; token: unknown }[];
let answer: (request: IncomingMessage, response: ServerResponse) => void;

function likeKong(request: IncomingMessage, response: ServerResponse): void {
  const { pathname, searchParams } = new URL(request.url ?? '', 'http://kong');
  const send = (status: number, body: object): void =>
    void response.writeHead(status).end(JSON.stringify(body));
  const consumers = [ALICE, NAMELESS];
  const customId = searchParams.get('custom_id');
  if (pathname === '/consumers') {
    send(200, { data: consumers.filter(({ custom_id }) => custom_id === customId), next: null });
    return;
  }
  const name = decodeURIComponent(pathname.slice('/consumers/'.length));
  const found = consumers.find(({ id, username }) => id === name || username === name);
  send(found === undefined ? 404 : 200, found ?? { message: 'Not found' });
}

const kong = createServer((request, response) => {
  seen.push({ url: request.url ?? '', token: request.headers['kong-admin-token'] });
  answer(request, response);
});

test.before(async () => {
  await new Promise<void>((done) => kong.listen(0, '127.0.0.1', done));
  url = `http://127.0.0.1:${(kong.address() as AddressInfo).port}`;
  admin = await startAdmin({
    tokens: { admin: { role: 'admin' }, mine: { role: 'issuer', consumers: ['alice'] } },
    consumers: new KongConsumers({
      adminUrl: `${url}/`,
      token: () => new Secret('kong-token\n'),
      timeoutMs: 300,
    }),
  });
});
test.after(async () => {
  await admin.close();
  kong.closeAllConnections();
  kong.close();
});
test.beforeEach(() => {
  seen = [];
  answer = likeKong;
});

const issue = (consumer: string, token = admin.tokens['admin']) =>
  admin.call('POST', `/consumers/${encodeURIComponent(consumer)}/hashed-key-auth`, { token });

test('a consumer is found by id, username and custom_id, and stored with what Kong says', async () => {
  for (const name of [ALICE.id, ALICE.username, ALICE.custom_id]) {
    const { status, json } = await issue(name);
    assert.is(status, 201, name);
    assert.equal(json['consumer'], { id: ALICE.id, username: 'alice' });
    assert.is(json['consumer_checked'], true);
  }
  assert.equal((await issue('nameless')).json['consumer'], { id: NAMELESS.id });
  assert.ok(seen.every(({ token }) => token === 'kong-token'));
});

test('an unknown consumer is 404, and nothing is issued', async () => {
  const before = admin.store.records.size;
  for (const name of ['nobody', '..', '.', '../consumers/alice', 'alice?x', 'alice#']) {
    const { status, json } = await issue(name);
    assert.is(status, 404, name);
    assert.is(json['code'], 'HKA_CONSUMER_NOT_FOUND');
  }
  assert.is(admin.store.records.size, before);
  assert.ok(
    seen.every((asked) => asked.url.startsWith('/consumers')),
    JSON.stringify(seen),
  );
});

test('a limited token gets its consumer by any name, and others as if they were not there', async () => {
  const token = admin.tokens['mine'];
  assert.is((await issue(ALICE.custom_id, token)).status, 201);
  const beyond = await issue('nameless', token);
  const unknown = await issue('nobody', token);
  assert.is(beyond.status, 404);
  assert.is(beyond.json['detail'], unknown.json['detail']);
});

const BROKEN: readonly [
  name: string,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
][] = [
  ['answers 500', (_request, response) => void response.writeHead(500).end('inside')],
  ['refuses the token', (_request, response) => void response.writeHead(401).end('{}')],
  ['leads elsewhere', (_request, response) => void response.writeHead(302, { location: '/x' }).end()],
  ['answers what is no JSON', (_request, response) => void response.writeHead(200).end('<html>')],
  ['answers something else', (_request, response) => void response.writeHead(200).end('{"id":5}')],
  ['answers null', (_request, response) => void response.writeHead(200).end('null')],
  ['answers without end', (_request, response) => void response.writeHead(200).write('x'.repeat(2_000_000))],
  ['says nothing', () => undefined],
  ['hangs up', (request) => void request.socket.destroy()],
  [
    'gives a consumer that was not asked for',
    (request, response) =>
      void (request.url?.includes('?') === true
        ? response.writeHead(200).end(JSON.stringify({ data: [ALICE] }))
        : response.writeHead(404).end('{}')),
  ],
];

for (const [name, how] of BROKEN) {
  test(`when Kong ${name}, the answer is 503 and nothing is issued`, async () => {
    answer = how;
    const before = admin.store.records.size;
    const { status, json, text, headers } = await issue('bob');
    assert.is(status, 503, text);
    assert.is(json['code'], 'HKA_KONG_UNAVAILABLE');
    assert.is(headers['retry-after'], '1');
    assert.not.match(text, url);
    assert.is(admin.store.records.size, before);
  });
}

test('a repeat is answered while Kong is away', async () => {
  const call = { headers: { 'idempotency-key': 'away' } };
  await admin.call('POST', '/consumers/alice/hashed-key-auth', call);
  answer = (_request, response) => void response.writeHead(500).end();
  assert.is((await admin.call('POST', '/consumers/alice/hashed-key-auth', call)).status, 200);
});

test.run();
