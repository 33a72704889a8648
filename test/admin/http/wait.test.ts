/** Revoking and deleting with `wait_seconds`: when each gateway refuses the key, and which one did not say so. */
import * as assert from 'uvu/assert';
import { HkaError } from '../../../src/lib/errors.ts';
import type { Acknowledgements, GatewayState } from '../../../src/store/acknowledgements.ts';
import { suite } from '../../helpers/suite.ts';
import { fieldsAtFault, startAdmin, type Admin } from './fixture.ts';

const test = suite('waiting for gateways over HTTP');

let admin: Admin;
test.beforeEach(async () => {
  admin = await startAdmin({
    tokens: { admin: { role: 'admin' }, issuer: { role: 'issuer' }, auditor: { role: 'auditor' } },
  });
});
test.afterEach(() => admin.close());

/** Gateways that say what they have reached, each time they are asked. */
function gateways(
  said: () => readonly [name: string, reached: number][],
  more: Partial<Acknowledgements> = {},
): void {
  admin.store.acknowledgements = {
    sequence: 7,
    acknowledge: () => Promise.resolve(),
    leave: () => Promise.resolve(),
    gateways: () =>
      Promise.resolve(
        said().map(([name, sequence]): GatewayState => ({ id: name, name, sequence, aloneMs: 0 })),
      ),
    lookMs: 1,
    ...more,
  };
}

test('the answer to a revocation says when each gateway refused the key', async () => {
  let looks = 0;
  gateways(() => [
    ['kong-1:5', 7],
    ['kong-2:6', (looks += 1) > 3 ? 8 : 6],
  ]);
  const { id } = await admin.issue('alice');
  const revoked = await admin.call('POST', `/hashed-key-auths/${id}/revoke`, {
    token: admin.tokens['issuer'],
    body: { reason: 'lost', wait_seconds: 20 },
  });
  assert.is(revoked.status, 200, revoked.text);
  assert.equal([revoked.json['state'], revoked.json['acknowledged']], ['revoked', true]);
  const said = revoked.json['gateways'] as { gateway: string; delay_ms: number }[];
  assert.equal(
    said.map(({ gateway, delay_ms }) => [gateway, typeof delay_ms]),
    [
      ['kong-1:5', 'number'],
      ['kong-2:6', 'number'],
    ],
  );
  assert.is(revoked.headers['etag'], '"2"');
  assert.equal((await admin.log()).slice(-2), ['revoke requested', 'revoke done']);
});

test('a gateway that does not say so in time is named, and the key is revoked none the less', async () => {
  gateways(() => [['kong-1:5', 6]], { unseen: 'it may not write' });
  const { id } = await admin.issue('alice');
  const path = `/hashed-key-auths/${id}`;
  const revoked = await admin.call('POST', `${path}/revoke`, { body: { wait_seconds: 1 } });
  assert.is(revoked.status, 200);
  assert.equal(
    [revoked.json['acknowledged'], revoked.json['gateways'], revoked.json['unseen']],
    [false, [{ gateway: 'kong-1:5', delay_ms: null }], 'it may not write'],
  );
  assert.is((await admin.call('GET', path)).json['state'], 'revoked');
  // Once more, it changes nothing, and is waited for again.
  gateways(() => [['kong-1:5', 7]]);
  assert.is(
    (await admin.call('POST', `${path}/revoke`, { body: { wait_seconds: 1 } })).json['acknowledged'],
    true,
  );
});

test('a store that goes away after the change does not hide it', async () => {
  const known: GatewayState = { id: 'a', name: 'kong-1:5', sequence: 6, aloneMs: 0 };
  let looks = 0;
  gateways(() => [], {
    gateways: () => {
      looks += 1;
      return looks === 1
        ? Promise.resolve([known])
        : Promise.reject(new HkaError('HKA_STORE_UNAVAILABLE', 'gone'));
    },
  });
  const { id } = await admin.issue('alice');
  const revoked = await admin.call('POST', `/hashed-key-auths/${id}/revoke`, { body: { wait_seconds: 1 } });
  assert.is(revoked.status, 200, revoked.text);
  assert.equal(
    [revoked.json['acknowledged'], revoked.json['gateways']],
    [false, [{ gateway: 'kong-1:5', delay_ms: null }]],
  );
});

test('what can not be waited for is told before anything is done', async () => {
  const { id } = await admin.issue('alice');
  const path = `/hashed-key-auths/${id}`;
  const none = await admin.call('POST', `${path}/revoke`, { body: { wait_seconds: 1 } });
  assert.is(none.status, 400);
  assert.match(String(none.json['detail']), 'nothing was done');
  gateways(() => [], { gateways: () => Promise.reject(new HkaError('HKA_STORE_UNAVAILABLE', 'canary')) });
  const away = await admin.call('DELETE', `${path}?wait_seconds=1`);
  assert.is(away.status, 503);
  assert.not.match(away.text, 'canary');
  assert.is((await admin.call('GET', path)).json['state'], 'active');
});

test('a deletion is waited for alike, by who may delete', async () => {
  gateways(() => [['kong-1:5', 7]]);
  const { id } = await admin.issue('alice');
  const path = `/hashed-key-auths/${id}?wait_seconds=5`;
  assert.is((await admin.call('DELETE', path, { token: admin.tokens['issuer'] })).status, 403);
  const deleted = await admin.call('DELETE', path);
  assert.is(deleted.status, 200, deleted.text);
  assert.equal(
    { ...deleted.json, gateways: (deleted.json['gateways'] as object[]).length },
    { id, deleted: true, acknowledged: true, gateways: 1 },
  );
  assert.is((await admin.call('DELETE', path)).status, 404);
  const other = await admin.issue('alice');
  assert.is(
    (await admin.call('DELETE', `/hashed-key-auths/${other.id}`)).status,
    204,
    'without it as before',
  );
});

test('how long is bounded, and anything else is refused with the field', async () => {
  gateways(() => []);
  const { id } = await admin.issue('alice');
  const path = `/hashed-key-auths/${id}`;
  for (const wait_seconds of [0, 21, 1.5, '5', null, true]) {
    const refused = await admin.call('POST', `${path}/revoke`, { body: { wait_seconds } });
    assert.is(refused.status, 400, String(wait_seconds));
    assert.equal(fieldsAtFault(refused), ['wait_seconds']);
  }
  for (const text of ['0', '21', 'x', '']) {
    const refused = await admin.call('DELETE', `${path}?wait_seconds=${text}`);
    assert.equal([refused.status, fieldsAtFault(refused)], [400, ['wait_seconds']]);
  }
  assert.is((await admin.call('GET', path)).json['state'], 'active');
});

test.run();
