/** Alive, ready, metrics, the description, paging; and that nothing secret is in any answer or log line. */
import * as assert from 'uvu/assert';
import type { Logger } from '../../../src/lib/logger.ts';
import { HkaError } from '../../../src/lib/errors.ts';
import { keysOf } from '../../../src/store/record.ts';
import { eventually } from '../../helpers/eventually.ts';
import { suite } from '../../helpers/suite.ts';
import { NOBODY, startAdmin } from './fixture.ts';

const test = suite('admin status');

test('ready says what is out of reach, to whoever asks, and not why', async () => {
  let pepper: Error | undefined;
  let ok = true;
  const admin = await startAdmin({
    deps: {
      storeHealth: () => ({ ok, live: ok, problem: 'host db.internal is away' }),
      checkPepper: () => (pepper === undefined ? Promise.resolve() : Promise.reject(pepper)),
    },
  });
  const ask = () => admin.call('GET', '/ready', { token: undefined });
  assert.equal((await ask()).json, { ready: true, store: true, pepper: true });
  pepper = new HkaError('HKA_PEPPER_UNREADABLE', '/etc/pepper is gone');
  admin.clock.advance(1000);
  const blind = await ask();
  assert.is(blind.status, 503);
  assert.equal(blind.json, { ready: false, store: true, pepper: false });
  pepper = undefined;
  ok = false;
  admin.clock.advance(1000);
  assert.equal((await ask()).json, { ready: false, store: false, pepper: true });
  assert.is((await admin.call('GET', '/live', { token: undefined })).status, 200, 'alive all the same');
  assert.not.match(admin.answers.map(({ text }) => text).join(), /internal|etc/);
  await admin.close();
});

test('however often anybody asks, the pepper is read once a second, and never twice at once', async () => {
  let reads = 0;
  let release: () => void = () => undefined;
  const gate = new Promise<void>((done) => (release = done));
  const admin = await startAdmin({
    deps: {
      checkPepper: () => {
        reads += 1;
        return reads === 1 ? gate : Promise.reject(new Error('away'));
      },
    },
  });
  const ask = async () => (await admin.call('GET', '/ready', { token: undefined })).status;
  const all = Promise.all(Array.from({ length: 20 }, ask));
  await eventually('it is being read', () => reads > 0);
  // A read that takes longer than it is remembered.
  admin.clock.advance(5000);
  release();
  assert.equal(new Set(await all), new Set([200]));
  assert.is(await ask(), 200);
  assert.is(reads, 1);
  admin.clock.advance(1000);
  assert.equal([await ask(), await ask()], [503, 503], 'a failure is remembered as well');
  assert.is(reads, 2);
  await admin.close();
});

test('requests are counted by route, never by what was sent', async () => {
  const admin = await startAdmin();
  const { id } = await admin.issue('alice');
  await admin.call('GET', `/hashed-key-auths/${id}`);
  await admin.call('GET', '/some/where');
  const { text, headers } = await admin.call('GET', '/metrics');
  assert.match(headers['content-type'] ?? '', 'text/plain');
  assert.match(
    text,
    'hashed_key_auth_admin_requests_total{route="/hashed-key-auths/:id",method="GET",status="200"} 1',
  );
  assert.match(text, 'route="none",method="GET",status="404"} 1');
  assert.match(text, 'hashed_key_auth_admin_request_duration_seconds_bucket');
  assert.not.match(text, id);
  assert.not.match(text, 'alice');
  await admin.close();
});

test('the description is OpenAPI 3.1 with every route, and every refusal of each', async () => {
  const admin = await startAdmin();
  const { json } = await admin.call('GET', '/openapi.json');
  assert.is(json['openapi'], '3.1.0');
  const paths = json['paths'] as Record<string, Record<string, { operationId?: string; responses: object }>>;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, operation })),
  );
  assert.equal(operations.map(({ name }) => name).toSorted(), [
    'delete /hashed-key-auths/{id}',
    'get /audit-log',
    'get /consumers/{consumer}/hashed-key-auth',
    'get /hashed-key-auths',
    'get /hashed-key-auths/{id}',
    'get /live',
    'get /metrics',
    'get /openapi.json',
    'get /ready',
    'patch /hashed-key-auths/{id}',
    'post /consumers/{consumer}/hashed-key-auth',
    'post /hashed-key-auths/import',
    'post /hashed-key-auths/verify',
    'post /hashed-key-auths/{id}/revoke',
    'post /hashed-key-auths/{id}/rotate',
  ]);
  for (const { name, operation } of operations) {
    assert.ok(operation.operationId, name);
    for (const status of ['400', '401', '403', '429', '500', '503']) {
      assert.ok(status in operation.responses, `${name} ${status}`);
    }
  }
  assert.not.match(JSON.stringify(json), '#"', 'every reference leads into the document');
  await admin.close();
});

test('a search finds by all of its filters, page by page, in order', async () => {
  const admin = await startAdmin();
  for (let at = 0; at < 7; at += 1) {
    await admin.issue(at < 5 ? 'alice' : 'bob', {
      name: `Phone ${at}`,
      tags: ['all', at % 2 === 0 ? 'even' : 'odd'],
      ...(at === 0 ? { expires_at: '2026-01-02T00:00:00Z' } : {}),
    });
  }
  const find = async (query: string): Promise<string[]> => {
    const names: string[] = [];
    let next: unknown = `/hashed-key-auths?size=2&${query}`;
    let pages = 0;
    while (typeof next === 'string') {
      const { json } = await admin.call('GET', next);
      names.push(...(json['data'] as { name: string }[]).map(({ name }) => name));
      assert.is('offset' in json, json['next'] !== null);
      ({ next } = json);
      pages += 1;
    }
    assert.is(pages, Math.max(1, Math.ceil(names.length / 2)), query);
    return names.toSorted();
  };
  assert.is((await find('')).length, 7);
  assert.equal(await find('consumer=bob'), ['Phone 5', 'Phone 6']);
  assert.equal(await find('consumer=alice&tag=odd'), ['Phone 1', 'Phone 3']);
  assert.equal(await find('name=PHONE+6'), ['Phone 6']);
  assert.equal(await find('expiring_before=2026-01-03T00:00:00Z'), ['Phone 0']);
  assert.equal(await find('unused_since=2025-12-31T23:00:00Z'), []);
  assert.is((await find('unused_since=2026-06-01T02:00:00%2B02:00')).length, 7);
  admin.clock.advance(2 * 86_400_000);
  assert.equal(await find('state=expired'), ['Phone 0']);
  assert.is((await find('state=active')).length, 6);
  const listed = await admin.call('GET', '/consumers/alice/hashed-key-auth?size=4');
  assert.is((listed.json['data'] as unknown[]).length, 4);
  assert.match(String(listed.json['next']), /^\/consumers\/alice\/hashed-key-auth\?size=4&offset=/);
  await admin.close();
});

test('the audit log is read page by page, newest first, and without the MACs that chain it', async () => {
  const admin = await startAdmin();
  for (const name of ['a', 'b', 'c']) await admin.issue(name);
  const numbers: number[] = [];
  let next: unknown = '/audit-log?size=4';
  while (typeof next === 'string') {
    const { json } = await admin.call('GET', next);
    numbers.push(...(json['data'] as { seq: number }[]).map(({ seq }) => seq));
    ({ next } = json);
  }
  assert.equal(numbers, [6, 5, 4, 3, 2, 1]);
  await admin.close();
});

test('no answer but that of the call that made a key has it; none has a hash, MAC, public id or token; nor has the log', async () => {
  const lines: string[] = [];
  const keep = (fields: object, message: string): void =>
    void lines.push(JSON.stringify({ ...fields, message }));
  const logger: Logger = { debug: keep, info: keep, warn: keep, error: keep };
  const admin = await startAdmin({ logger });
  const secrets: string[] = Object.values(admin.tokens);
  const keys: string[] = [];
  const collect = (): void => {
    for (const record of admin.store.records.values()) {
      for (const { hash, lookup } of keysOf(record)) {
        secrets.push(hash, ...(lookup.kind === 'issued' ? [lookup.mac, lookup.publicId] : [lookup.index]));
      }
    }
  };
  const { id, key } = await admin.issue('alice', { name: 'n' }, { headers: { 'idempotency-key': 'k' } });
  keys.push(key);
  collect();
  const path = `/hashed-key-auths/${id}`;
  const rotated = await admin.call('POST', `${path}/rotate`, { headers: { 'idempotency-key': 'r' } });
  keys.push(String(rotated.json['key']));
  collect();
  admin.answers.length = 0;
  await admin.call('POST', '/consumers/alice/hashed-key-auth', {
    body: { name: 'n' },
    headers: { 'idempotency-key': 'k' },
  });
  await admin.call('POST', `${path}/rotate`, { headers: { 'idempotency-key': 'r' } });
  await admin.call('POST', `${path}/rotate`, { body: { overlap_seconds: key } });
  await admin.call('GET', path);
  await admin.call('GET', '/hashed-key-auths');
  await admin.call('GET', '/consumers/alice/hashed-key-auth');
  await admin.call('PATCH', path, { body: { name: 'm' } });
  await admin.call('PATCH', path, { body: { name: 5, hash: key } });
  await admin.call('GET', `/hashed-key-auths?state=${key}`);
  await admin.call('GET', `/hashed-key-auths/${NOBODY}`);
  await admin.call('GET', '/audit-log');
  await admin.call('GET', '/metrics');
  await admin.call('GET', '/openapi.json');
  await admin.call('POST', `${path}/revoke`, { body: { reason: 'lost' } });
  await admin.call('GET', '/nowhere', { token: key });
  await admin.call('DELETE', path);
  const answers = admin.answers.map(({ text, headers }) => text + JSON.stringify(headers)).join('\n');
  const log = lines.join('\n') + admin.auditText();
  for (const secret of [...secrets, ...keys]) {
    for (const form of [secret, secret.split('_')[1] ?? secret, encodeURIComponent(secret)]) {
      assert.not.ok(answers.includes(form), `an answer has ${form.slice(0, 12)}…`);
      assert.not.ok(log.includes(form), `the log has ${form.slice(0, 12)}…`);
    }
  }
  assert.ok(lines.length > 10);
  await admin.close();
});

test.run();
