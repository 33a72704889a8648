/** Changing credentials over HTTP, and who has seen which version. */
import * as assert from 'uvu/assert';
import { suite } from '../../helpers/suite.ts';
import { NOBODY, startAdmin, type Admin, type Answer } from './fixture.ts';

const test = suite('admin changes');

let admin: Admin;
let id: string;
let path: string;

test.beforeEach(async () => {
  admin = await startAdmin();
  ({ id } = await admin.issue('alice', { name: 'n', tags: ['a'], expires_at: '2030-01-01T00:00:00Z' }));
  path = `/hashed-key-auths/${id}`;
});
test.afterEach(() => admin.close());

const patch = (body: object, headers: Record<string, string> = {}): Promise<Answer> =>
  admin.call('PATCH', path, { body, headers });

test('PATCH changes what it names; null takes away; the rest stays', async () => {
  const renamed = await patch({ name: 'm' });
  assert.is(renamed.json['name'], 'm');
  assert.equal(renamed.json['tags'], ['a']);
  assert.is(renamed.headers.etag, '"2"');
  const cleared = await patch({ name: null, expires_at: null, tags: [] });
  assert.not('name' in cleared.json);
  assert.not('expires_at' in cleared.json);
  assert.equal(cleared.json['tags'], []);
});

test('PATCH with previous: null ends the overlap after a rotation', async () => {
  const rotated = await admin.call('POST', `${path}/rotate`, { body: { overlap_seconds: 3600 } });
  assert.ok('previous' in rotated.json);
  const ended = await patch({ previous: null });
  assert.not('previous' in ended.json);
});

test('rotating without a body has an overlap of a day', async () => {
  const { json } = await admin.call('POST', `${path}/rotate`);
  const until = (json['previous'] as { until: string }).until;
  assert.is(Date.parse(until) - admin.clock.now(), 86_400_000);
});

test('revoking twice keeps the first reason', async () => {
  await admin.call('POST', `${path}/revoke`, { body: { reason: 'lost' } });
  const again = await admin.call('POST', `${path}/revoke`, { body: { reason: 'later' } });
  assert.is(again.status, 200);
  assert.is(again.json['revoked_reason'], 'lost');
  const rotated = await admin.call('POST', `${path}/rotate`);
  assert.is(rotated.status, 409, 'what is revoked is not rotated');
});

test('what is deleted is gone', async () => {
  assert.is((await admin.call('DELETE', path)).status, 204);
  assert.is((await admin.call('GET', path)).status, 404);
  assert.is((await admin.call('DELETE', path)).status, 404);
});

test('ids are found in upper case, too', async () => {
  const { status, json } = await admin.call('GET', `/hashed-key-auths/${id.toUpperCase()}`);
  assert.is(status, 200);
  assert.is(json['id'], id);
});

const CHANGES: readonly [name: string, method: string, tail: string, body: object | undefined][] = [
  ['PATCH', 'PATCH', '', { name: 'm' }],
  ['rotate', 'POST', '/rotate', {}],
  ['revoke', 'POST', '/revoke', {}],
  ['DELETE', 'DELETE', '', undefined],
];

for (const [name, method, tail, body] of CHANGES) {
  const change = (ifMatch: string): Promise<Answer> =>
    admin.call(method, path + tail, { body, headers: { 'if-match': ifMatch } });

  test(`${name} with If-Match changes that version only`, async () => {
    for (const stale of ['"7"', 'W/"1"', '"one"', '"7", "8"', '""']) {
      const answer = await change(stale);
      assert.is(answer.status, 412, stale);
      assert.is(admin.store.records.get(id)?.version, 1);
    }
    assert.ok((await change('"7" , "1"')).status < 300);
  });

  test(`${name} with If-Match: * changes whatever is there`, async () => {
    assert.ok((await change('*')).status < 300);
  });

  test(`${name} with an If-Match that is none is refused, naming it`, async () => {
    for (const bad of ['1', '"1', '"1" "2"', ',', 'w/"1"', '"1",']) {
      const answer = await change(bad);
      assert.is(answer.status, 400, bad);
      assert.match(answer.text, '"field":"if-match"');
    }
    assert.is(admin.store.records.get(id)?.version, 1);
  });

  test(`${name}: of ten who have seen the same version one wins`, async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => change('"1"')));
    const won = answers.filter(({ status }) => status < 300).length;
    assert.is(won, 1, answers.map(({ status }) => status).join());
    for (const { status } of answers.filter((answer) => answer.status >= 300)) {
      assert.ok(status === 412 || (name === 'DELETE' && status === 404), String(status));
    }
  });

  test(`${name} is in the audit log, before and after, with who and from where`, async () => {
    await admin.call(method, path + tail, { body });
    const [done, requested] = await admin.audit.entries(2);
    assert.is(requested?.outcome, 'requested');
    assert.is(done?.outcome, 'done');
    assert.is(done?.request, requested?.seq);
    assert.is(done?.actor, 'token:admin');
    assert.is(done?.from, '127.0.0.1');
    assert.is(done?.target, id);
  });
}

test('without If-Match, a change of what is not there is 404', async () => {
  for (const [, method, tail, body] of CHANGES) {
    assert.is((await admin.call(method, `/hashed-key-auths/${NOBODY}${tail}`, { body })).status, 404);
  }
});

test('a limited token cannot be raced out of its reach', async () => {
  const limited = await startAdmin({
    tokens: { admin: { role: 'admin' }, mobile: { role: 'issuer', tags: ['mobile'] } },
  });
  const { id: target } = await limited.issue('alice', { tags: ['mobile'] });
  limited.store.beforeGet = async () => {
    limited.store.beforeGet = undefined;
    // Between the look and the change, an admin takes the credential out of the token's reach.
    await limited.store.update(target, { tags: ['desk'] });
  };
  const answer = await limited.call('PATCH', `/hashed-key-auths/${target}`, {
    body: { name: 'mine' },
    token: limited.tokens['mobile'],
  });
  assert.is(answer.status, 409);
  assert.is(limited.store.records.get(target)?.name, undefined);
  await limited.close();
});

test.run();
