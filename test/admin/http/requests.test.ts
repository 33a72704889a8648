/** What clients send that is wrong, hostile or slow: each is told what is wrong, and nothing else happens. */
import { connect } from 'node:net';
import * as assert from 'uvu/assert';
import { suite } from '../../helpers/suite.ts';
import { exchange, fieldsAtFault, startAdmin, type Admin, type Answer } from './fixture.ts';

const test = suite('admin requests');

let admin: Admin;
let id: string;

test.before(async () => {
  admin = await startAdmin({
    server: { timeouts: { headers: 500, request: 900, idle: 2000, drain: 500 } },
  });
  ({ id } = await admin.issue('alice'));
});
test.after(() => admin.close());

const ISSUE = '/consumers/alice/hashed-key-auth';
const LONG = 'x'.repeat(300);

/** Method, path, body, headers; the field that must be named. */
const BAD: readonly [
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string>,
  field: string,
][] = [
  ['POST', ISSUE, { name: '' }, {}, 'name'],
  ['POST', ISSUE, { name: LONG }, {}, 'name'],
  ['POST', ISSUE, { name: 5 }, {}, 'name'],
  ['POST', ISSUE, { name: null }, {}, 'name'],
  ['POST', ISSUE, { name: 'a\u0000b' }, {}, 'name'],
  ['POST', ISSUE, { tags: 'a' }, {}, 'tags'],
  ['POST', ISSUE, { tags: ['a', ''] }, {}, 'tags[1]'],
  ['POST', ISSUE, { tags: ['a/b'] }, {}, 'tags[0]'],
  ['POST', ISSUE, { tags: ['a', 'a'] }, {}, 'tags'],
  ['POST', ISSUE, { tags: Array.from({ length: 65 }, (_, at) => `t${at}`) }, {}, 'tags'],
  ['POST', ISSUE, { expires_at: 'tomorrow' }, {}, 'expires_at'],
  ['POST', ISSUE, { expires_at: '2027-02-30T00:00:00Z' }, {}, 'expires_at'],
  ['POST', ISSUE, { expires_at: '2027-02-20' }, {}, 'expires_at'],
  ['POST', ISSUE, { expires_at: '2020-01-01T00:00:00Z' }, {}, 'expires_at'],
  ['POST', ISSUE, { key: 'my-own-key' }, {}, 'key'],
  ['POST', ISSUE, { hash: 'x' }, {}, 'hash'],
  ['POST', ISSUE, '{"constructor":{"prototype":{}}}', {}, 'body'],
  ['POST', ISSUE, [], {}, 'body'],
  ['POST', ISSUE, 'null', {}, 'body'],
  ['POST', ISSUE, '"text"', {}, 'body'],
  ['POST', ISSUE, {}, { 'idempotency-key': 'two words' }, 'idempotency-key'],
  ['POST', ISSUE, {}, { 'idempotency-key': LONG }, 'idempotency-key'],
  ['POST', ISSUE, {}, { 'idempotency-key': '' }, 'idempotency-key'],
  ['POST', `${ISSUE}?x=1`, {}, {}, 'x'],
  ['POST', `/consumers/${'y'.repeat(1025)}/hashed-key-auth`, {}, {}, 'consumer'],
  ['POST', '/consumers/a%0ab/hashed-key-auth', {}, {}, 'consumer'],
  ['GET', '/hashed-key-auths?size=0', undefined, {}, 'size'],
  ['GET', '/hashed-key-auths?size=1001', undefined, {}, 'size'],
  ['GET', '/hashed-key-auths?size=ten', undefined, {}, 'size'],
  ['GET', '/hashed-key-auths?size=1&size=2', undefined, {}, 'size'],
  ['GET', '/hashed-key-auths?size=1.5', undefined, {}, 'size'],
  ['GET', '/hashed-key-auths?offset=abc', undefined, {}, 'offset'],
  ['GET', `/hashed-key-auths?offset=${'A'.repeat(48)}`, undefined, {}, 'offset'],
  ['GET', '/hashed-key-auths?state=lost', undefined, {}, 'state'],
  ['GET', '/hashed-key-auths?tag=', undefined, {}, 'tag'],
  ['GET', '/hashed-key-auths?name=%00', undefined, {}, 'name'],
  ['GET', '/hashed-key-auths?expiring_before=soon', undefined, {}, 'expiring_before'],
  ['GET', '/hashed-key-auths?unused_since=1', undefined, {}, 'unused_since'],
  ['GET', '/hashed-key-auths?hash=x', undefined, {}, 'hash'],
  ['GET', '/hashed-key-auths?__proto__=x', undefined, {}, '__proto__'],
  ['GET', '/hashed-key-auths/not-a-uuid', undefined, {}, 'id'],
  ['GET', '/audit-log?size=0', undefined, {}, 'size'],
  ['GET', '/audit-log?before=0', undefined, {}, 'before'],
  ['GET', '/audit-log?before=99999999999999999999', undefined, {}, 'before'],
  ['PATCH', '/hashed-key-auths/ID', {}, {}, 'body'],
  ['PATCH', '/hashed-key-auths/ID', { name: '' }, {}, 'name'],
  ['PATCH', '/hashed-key-auths/ID', { name: [] }, {}, 'name'],
  ['PATCH', '/hashed-key-auths/ID', { tags: null }, {}, 'tags'],
  ['PATCH', '/hashed-key-auths/ID', { expires_at: 1 }, {}, 'expires_at'],
  ['PATCH', '/hashed-key-auths/ID', { expires_at: '2020-01-01T00:00:00Z' }, {}, 'expires_at'],
  ['PATCH', '/hashed-key-auths/ID', { previous: {} }, {}, 'previous'],
  ['PATCH', '/hashed-key-auths/ID', { state: 'active' }, {}, 'state'],
  ['PATCH', '/hashed-key-auths/ID', { consumer: 'bob' }, {}, 'consumer'],
  ['POST', '/hashed-key-auths/ID/rotate', { overlap_seconds: -1 }, {}, 'overlap_seconds'],
  ['POST', '/hashed-key-auths/ID/rotate', { overlap_seconds: 1e9 }, {}, 'overlap_seconds'],
  ['POST', '/hashed-key-auths/ID/rotate', { overlap_seconds: 0.5 }, {}, 'overlap_seconds'],
  ['POST', '/hashed-key-auths/ID/rotate', { overlap_seconds: '60' }, {}, 'overlap_seconds'],
  ['POST', '/hashed-key-auths/ID/rotate', { overlap: 60 }, {}, 'overlap'],
  ['POST', '/hashed-key-auths/ID/revoke', { reason: '' }, {}, 'reason'],
  ['POST', '/hashed-key-auths/ID/revoke', { reason: 'x'.repeat(1025) }, {}, 'reason'],
  ['POST', '/hashed-key-auths/ID/revoke', { reason: 'a\nb' }, {}, 'reason'],
];

for (const [method, path, body, headers, field] of BAD) {
  const shown = `${method} ${path.slice(0, 60)} ${JSON.stringify(body)?.slice(0, 50) ?? ''} ${JSON.stringify(headers).slice(0, 50)}`;
  test(`${shown} is refused, naming ${field}`, async () => {
    const before = JSON.stringify([...admin.store.records]);
    const answer = await admin.call(method, path.replace('ID', id), { body, headers });
    assert.is(answer.status, 400, answer.text);
    assert.is(answer.headers['content-type']?.split(';')[0], 'application/problem+json');
    assert.is(answer.json['code'], 'HKA_REQUEST_INVALID');
    assert.ok(fieldsAtFault(answer).includes(field), answer.text);
    assert.is(JSON.stringify([...admin.store.records]), before, 'it changes nothing');
  });
}

test('all faults are told at once, by kind, and no value is repeated', async () => {
  const secret = 'hka_canary_canary';
  const answer = await admin.call('POST', ISSUE, {
    body: { name: [secret], tags: secret, expires_at: secret, token: secret },
  });
  assert.equal(fieldsAtFault(answer).toSorted(), ['expires_at', 'name', 'tags', 'token']);
  assert.match(answer.text, 'must be a string, found an array');
  assert.not.match(answer.text, secret);
});

const json = { 'content-type': 'application/json' };

test('a body of more than 64 KiB is refused, with and without its length', async () => {
  const answer = await admin.call('POST', ISSUE, { body: { name: 'x'.repeat(70_000) } });
  assert.is(answer.status, 413);
  const chunked = await new Promise<string>((resolve) => {
    const socket = connect(admin.port, '127.0.0.1');
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('close', () => resolve(text));
    socket.on('error', () => undefined);
    socket.write(
      `POST ${ISSUE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${admin.tokens['admin']}\r\n` +
        `Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    for (let at = 0; at < 20; at += 1) socket.write(`1000\r\n${'x'.repeat(4096)}\r\n`);
  });
  assert.match(chunked, /^HTTP\/1.1 413 /);
});

test('a body that is no JSON, or of another kind, is refused', async () => {
  const cases: [body: string, type: string, status: number][] = [
    ['{', 'application/json', 400],
    ['', 'application/json', 400],
    ['{"name":"a"}{}', 'application/json', 400],
    ['{"__proto__":{"x":1}}', 'application/json', 400],
    ['[[[['.repeat(10_000), 'application/json', 400],
    ['name=a', 'application/x-www-form-urlencoded', 415],
    ['{}', 'text/plain', 415],
    ['<a/>', 'application/xml', 415],
  ];
  for (const [body, type, status] of cases) {
    const answer = await admin.call('POST', ISSUE, { body, headers: { 'content-type': type } });
    assert.is(answer.status, status, `${type} ${body.slice(0, 20)}: ${answer.text}`);
    assert.is(answer.headers['content-type']?.split(';')[0], 'application/problem+json');
  }
});

test('before the sender is known nothing of a body is read', async () => {
  const answer = await admin.call('POST', ISSUE, { token: undefined, body: '{', headers: json });
  assert.is(answer.status, 401);
});

test('paths that are none are answered as problems', async () => {
  for (const [path, status] of [
    ['/%zz', 400],
    ['/hashed-key-auths/', 400],
    ['//hashed-key-auths', 404],
    ['/hashed-key-auths/../audit-log', 404],
    [`/${'a'.repeat(5000)}`, 404],
    ['/consumers//hashed-key-auth', 400],
  ] as const) {
    const answer = await admin.call('GET', path);
    assert.is(answer.status, status, `${path.slice(0, 40)} ${answer.text}`);
    assert.is(answer.headers['content-type']?.split(';')[0], 'application/problem+json');
  }
});

test('a method that a path does not take is told which it takes', async () => {
  const answer = await admin.call('DELETE', '/hashed-key-auths', { body: 'not json' });
  assert.is(answer.status, 405);
  assert.is(answer.headers.allow, 'GET, HEAD');
  for (const method of ['PUT', 'OPTIONS', 'TRACE', 'PROPFIND', 'PURGE']) {
    assert.is((await admin.call(method, '/live')).status, 405, method);
    assert.is((await admin.call(method, '/nowhere')).status, 404, method);
  }
});

test('HEAD is answered as GET, without a body', async () => {
  const answer = await admin.call('HEAD', `/hashed-key-auths/${id}`);
  assert.is(answer.status, 200);
  assert.is(answer.text, '');
  assert.is(answer.headers.etag, '"1"');
  const without = await admin.call('HEAD', `/hashed-key-auths/${id}`, { token: undefined });
  assert.is(without.status, 401, 'and to nobody else');
});

test('a sane request id comes back, any other is replaced', async () => {
  const ask = async (given: string): Promise<string | undefined> =>
    (await admin.call('GET', '/live', { headers: { 'x-request-id': given } })).headers[
      'x-request-id'
    ] as string;
  assert.is(await ask('trace-1.a_B'), 'trace-1.a_B');
  for (const odd of ['a b', '<script>', 'x'.repeat(65), '"'])
    assert.match((await ask(odd)) ?? '', /^[0-9a-f-]{36}$/);
  const failed = await admin.call('GET', '/nowhere', { headers: { 'x-request-id': 'trace-2' } });
  assert.is(failed.json['request_id'], 'trace-2');
});

/** Sends bytes, `pieces` with pauses between them, and gives what came until the end. */
function raw(pieces: readonly string[], pauseMs = 100): Promise<{ text: string; ms: number }> {
  const begun = performance.now();
  return new Promise((resolve) => {
    const socket = connect(admin.port, '127.0.0.1');
    let text = '';
    let at = 0;
    const timer = setInterval(() => {
      const piece = pieces[at];
      at += 1;
      if (piece !== undefined && socket.writable) socket.write(piece);
    }, pauseMs);
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearInterval(timer);
      resolve({ text, ms: performance.now() - begun });
    });
  });
}

test('a header that comes too slowly is cut', async () => {
  const { text, ms } = await raw([
    'GET /live HTTP/1.1\r\n',
    ...Array.from({ length: 100 }, () => 'X-A: b\r\n'),
  ]);
  assert.match(text, /^HTTP\/1.1 408 .*HKA_REQUEST_TIMEOUT/s);
  assert.ok(ms < 4000, String(ms));
});

test('a body that comes too slowly is cut', async () => {
  const head = `POST ${ISSUE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${admin.tokens['admin']}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n`;
  const { text, ms } = await raw([head, ...Array.from({ length: 200 }, () => ' ')]);
  assert.match(text, 'HTTP/1.1 408');
  assert.ok(ms < 5000, String(ms));
});

test('what is not HTTP, and a header that is too large, are problems', async () => {
  const nonsense = await raw(['\u0016\u0003\u0001\u0000\r\n\r\n'], 1);
  assert.match(nonsense.text, /^HTTP\/1.1 400 .*HKA_REQUEST_INVALID/s);
  const large = await raw([`GET /live HTTP/1.1\r\nHost: x\r\nX-Big: ${'x'.repeat(20_000)}\r\n\r\n`], 1);
  assert.match(large.text, /^HTTP\/1.1 431 .*HKA_HEADERS_TOO_LARGE/s);
  const both = await raw(
    [`POST ${ISSUE} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    1,
  );
  assert.match(both.text, /^HTTP\/1.1 400 /, 'two lengths are how requests are smuggled');
});

test('beyond the rate, a token gets 429 and others do not', async () => {
  const limited = await startAdmin({
    tokens: { admin: { role: 'admin' }, other: { role: 'auditor' } },
    server: { rateLimitPerSecond: 5 },
  });
  const ask = (token: string | undefined): Promise<Answer> =>
    exchange('GET', '/hashed-key-auths', { ...(token && { token }), connection: { port: limited.port } });
  const statuses = [];
  for (let at = 0; at < 12; at += 1) statuses.push((await ask(limited.tokens['admin'])).status);
  assert.equal(statuses, [...Array.from({ length: 10 }, () => 200), 429, 429]);
  const refused = await ask(limited.tokens['admin']);
  assert.is(refused.headers['retry-after'], '1');
  assert.is((await ask(limited.tokens['other'])).status, 200);
  limited.clock.advance(1000);
  assert.is((await ask(limited.tokens['admin'])).status, 200, 'a second later');
  await limited.close();
});

test.run();
