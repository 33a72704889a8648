/** Issuing over HTTP: the key once, the same request again, the same name for another request. */
import { randomUUID } from 'node:crypto';
import * as assert from 'uvu/assert';
import { pepperVersion, PepperRing } from '../../../src/keys/pepper.ts';
import { KeyVerifier } from '../../../src/keys/verifier.ts';
import { credentialIds, rotationIds } from '../../../src/admin/http/idempotency.ts';
import { VERIFIER_CACHE } from '../../helpers/keys.ts';
import { suite } from '../../helpers/suite.ts';
import { startAdmin, type Admin, type Answer } from './fixture.ts';

const test = suite('admin issue');

let admin: Admin;
const PATH = '/consumers/alice/hashed-key-auth';

test.beforeEach(async () => {
  admin = await startAdmin({ tokens: { admin: { role: 'admin' }, other: { role: 'issuer' } } });
});
test.afterEach(() => admin.close());

async function isGood(key: unknown): Promise<boolean> {
  const { store, peppers, hasher, clock } = admin;
  const verifier = new KeyVerifier(
    { prefix: 'hka', cache: VERIFIER_CACHE, rehash: false },
    { store, peppers, hasher, clock },
  );
  const { ok } = await verifier.verify(String(key));
  verifier.close();
  return ok;
}

const named = (name: string) => ({ headers: { 'idempotency-key': name } });
const issue = (name: string, body: object = { name: 'n' }, token = admin.tokens['admin']): Promise<Answer> =>
  admin.call('POST', PATH, { body, token, ...named(name) });

test('a key is issued, works, and is said to be shown; who asked is in the audit log', async () => {
  const answer = await admin.call('POST', PATH, {
    body: { name: 'phone', tags: ['a', 'b'], expires_at: '2027-01-01T00:00:00+02:00' },
  });
  assert.is(answer.status, 201);
  assert.is(answer.headers.etag, '"1"');
  assert.is(answer.headers.location, `/hashed-key-auths/${String(answer.json['id'])}`);
  assert.is(answer.headers['cache-control'], 'no-store');
  assert.is(answer.json['expires_at'], '2026-12-31T22:00:00Z');
  assert.is(answer.json['key_shown'], true);
  assert.is(answer.json['consumer_checked'], false, 'there is no Kong to ask');
  assert.ok(await isGood(answer.json['key']));
  const [entry] = await admin.audit.entries(1);
  assert.is(entry?.actor, 'token:admin');
  assert.is(entry?.from, '127.0.0.1');
  assert.is(entry?.target, answer.json['id']);
});

test('no body is an empty body', async () => {
  assert.is((await admin.call('POST', PATH)).status, 201);
});

test('a UUID in the path is an id, anything else a username, whatever characters it has', async () => {
  const id = randomUUID();
  const byId = await admin.call('POST', `/consumers/${id.toUpperCase()}/hashed-key-auth`);
  assert.equal(byId.json['consumer'], { id });
  const odd = '../ä /?#%2e';
  const byName = await admin.call('POST', `/consumers/${encodeURIComponent(odd)}/hashed-key-auth`);
  assert.equal(byName.json['consumer'], { username: odd });
  const listed = await admin.call('GET', `/consumers/${encodeURIComponent(odd)}/hashed-key-auth`);
  assert.is((listed.json['data'] as unknown[]).length, 1);
});

test('the same request again gives the same credential without its key, and makes no second one', async () => {
  const first = await issue('order-1');
  const again = await issue('order-1');
  assert.is(first.status, 201);
  assert.is(again.status, 200);
  assert.is(again.json['id'], first.json['id']);
  assert.is(again.json['key_shown'], false);
  assert.not('key' in again.json);
  assert.is(admin.store.records.size, 1);
  assert.ok(await isGood(first.json['key']));
});

test('twenty at once make one credential, and one of them has its key', async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, () => issue('order-1')));
  assert.is(admin.store.records.size, 1);
  assert.is(answers.filter(({ status }) => status === 201).length, 1);
  assert.is(answers.filter(({ json }) => 'key' in json).length, 1);
  assert.is(new Set(answers.map(({ json }) => json['id'])).size, 1);
});

test('it holds for two services on one store, at once, and after a restart', async () => {
  const second = await admin.another();
  const ask = (service: Admin): Promise<Answer> =>
    service.call('POST', PATH, { body: { name: 'n' }, ...named('order-1') });
  const answers = await Promise.all([ask(admin), ask(second), ask(admin), ask(second)]);
  assert.is(admin.store.records.size, 1);
  assert.is(answers.filter(({ status }) => status === 201).length, 1);
  const third = await admin.another();
  assert.is((await ask(third)).status, 200);
  assert.is(admin.store.records.size, 1);
});

test('who never got the answer rotates, and has a key that works', async () => {
  const [wanted] = credentialIds(admin.peppers, {
    actor: 'token:admin',
    name: 'order-1',
    contents: { consumer: 'alice', body: { name: 'n' } },
  });
  // As if the process had been killed between the write and the answer.
  await issue('order-1');
  const repeat = await issue('order-1');
  assert.is(repeat.json['id'], wanted?.id);
  const rotated = await admin.call('POST', `/hashed-key-auths/${String(repeat.json['id'])}/rotate`, {
    body: { overlap_seconds: 0 },
  });
  assert.ok(await isGood(rotated.json['key']));
});

test('the same name for something else is refused, and makes nothing', async () => {
  await issue('order-1', { name: 'n', tags: ['a'] });
  for (const body of [{ name: 'other', tags: ['a'] }, { name: 'n' }, {}]) {
    const answer = await issue('order-1', body);
    assert.is(answer.status, 422);
    assert.is(answer.json['code'], 'HKA_IDEMPOTENCY_MISMATCH');
  }
  const elsewhere = await admin.call('POST', '/consumers/bob/hashed-key-auth', {
    body: { name: 'n', tags: ['a'] },
    ...named('order-1'),
  });
  assert.is(elsewhere.status, 422);
  assert.is(admin.store.records.size, 1);
});

test('the order of fields makes no difference', async () => {
  await issue('order-1', { name: 'n', tags: ['a'] });
  assert.is((await issue('order-1', { tags: ['a'], name: 'n' })).status, 200);
});

test('names of one token mean nothing to another', async () => {
  const mine = await issue('order-1');
  const theirs = await issue('order-1', { name: 'n' }, admin.tokens['other']);
  assert.is(theirs.status, 201);
  assert.is.not(theirs.json['id'], mine.json['id']);
});

test('a repeat shows the credential as it is now, even revoked, changed or expired', async () => {
  const first = await issue('order-1', { expires_at: '2026-02-01T00:00:00Z' });
  const path = `/hashed-key-auths/${String(first.json['id'])}`;
  await admin.call('PATCH', path, { body: { name: 'renamed' } });
  await admin.call('POST', `${path}/revoke`);
  admin.clock.advance(365 * 86_400_000);
  const again = await issue('order-1', { expires_at: '2026-02-01T00:00:00Z' });
  assert.is(again.status, 200);
  assert.is(again.json['state'], 'revoked');
  assert.is(again.json['name'], 'renamed');
  assert.is(again.headers.etag, '"3"');
});

test('a new pepper version changes nothing for requests made before it', () => {
  const [one, two] = [pepperVersion('1', Buffer.alloc(32, 1)), pepperVersion('2', Buffer.alloc(32, 2))];
  const request = { actor: 'token:a', name: 'k', contents: {} };
  const [before] = credentialIds(new PepperRing([one], '1'), request);
  const after = credentialIds(new PepperRing([one, two], '2'), request);
  assert.is(after[1]?.id, before?.id);
  assert.is.not(after[0]?.id, before?.id);
  assert.match(before?.id ?? '', /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test('nothing of the names of requests can be moved between actor, name and contents', () => {
  const { peppers } = admin;
  const ids = [
    credentialIds(peppers, { actor: 'a', name: 'b', contents: 'c' }),
    credentialIds(peppers, { actor: 'ab', name: '', contents: 'c' }),
    credentialIds(peppers, { actor: 'a', name: 'b","c', contents: '' }),
  ].map(([first]) => first?.stem);
  assert.is(new Set(ids).size, 3);
  const rotations = ['x', 'y'].map(
    (id) => rotationIds(peppers, id, { actor: 'a', name: 'b', contents: 'c' })[0],
  );
  assert.is.not(rotations[0]?.stem, rotations[1]?.stem);
  assert.match(rotations[0]?.id ?? '', /^[0-9A-Za-z]{12}$/);
});

test('a rotation that is repeated makes no further key', async () => {
  const { id } = await admin.issue('alice');
  const rotate = (name: string, body: object = {}, headers: Record<string, string> = {}): Promise<Answer> =>
    admin.call('POST', `/hashed-key-auths/${id}/rotate`, {
      body,
      headers: { 'idempotency-key': name, ...headers },
    });
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => rotate('r1', { overlap_seconds: 60 }, { 'if-match': '"1"' })),
  );
  assert.equal(new Set(answers.map(({ status }) => status)), new Set([200]));
  const keys = answers.flatMap(({ json }) => ('key' in json ? [json['key']] : []));
  assert.is(keys.length, 1);
  assert.ok(await isGood(keys[0]));
  assert.is(admin.store.records.get(id)?.version, 2);
  assert.is((await rotate('r1', { overlap_seconds: 61 })).status, 422, 'with other contents');
  const next = await rotate('r2');
  assert.is(next.json['key_shown'], true);
  assert.is((await rotate('r1', { overlap_seconds: 60 })).json['key_shown'], false, 'while its key retires');
  assert.is(admin.store.records.get(id)?.version, 3);
});

test('a rotation is repeated across services and restarts, too', async () => {
  const { id } = await admin.issue('alice');
  const second = await admin.another();
  const rotate = (service: Admin): Promise<Answer> =>
    service.call('POST', `/hashed-key-auths/${id}/rotate`, named('r1'));
  const answers = await Promise.all([rotate(admin), rotate(second), rotate(admin), rotate(second)]);
  assert.equal(
    answers.map(({ status }) => status),
    [200, 200, 200, 200],
  );
  assert.is(answers.filter(({ json }) => 'key' in json).length, 1);
  assert.is(admin.store.records.get(id)?.version, 2);
});

test('when the store fails, nothing is said of why, and no key is handed out', async () => {
  admin.store.insert = () => Promise.reject(new Error('disk /var/lib/secret is full'));
  const answer = await admin.call('POST', PATH);
  assert.is(answer.status, 500);
  assert.not.match(answer.text, 'disk');
  assert.equal(await admin.log(), ['issue requested', 'issue failed']);
});

test.run();
