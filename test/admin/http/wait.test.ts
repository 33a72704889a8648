/** Revoking and deleting with `wait_seconds`: when each gateway refuses the key, and which one did not say so. */
import { setImmediate } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { GatewayWait, type WaitView } from '../../../src/admin/wait.ts';
import { HkaError } from '../../../src/lib/errors.ts';
import type { Acknowledgements, GatewayState } from '../../../src/store/acknowledgements.ts';
import { eventually } from '../../helpers/eventually.ts';
import { suite } from '../../helpers/suite.ts';
import { fieldsAtFault, startAdmin, type Admin, type Answer } from './fixture.ts';

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

/** A store whose gateways are told of by `look`, given the number of the look. */
function lookedAt(look: (count: number) => Promise<readonly GatewayState[]>): GatewayWait {
  let looks = 0;
  const acknowledgements: Acknowledgements = {
    sequence: 7,
    acknowledge: () => Promise.resolve(),
    leave: () => Promise.resolve(),
    lookMs: 0,
    gateways: () => look((looks += 1)),
  };
  return new GatewayWait({ kind: 'file', acknowledgements });
}

const gateway = (name: string, sequence: number): GatewayState => ({ id: name, name, sequence, aloneMs: 0 });

test('however many wait, the store is looked at once at a time, for all of them', async () => {
  let [looks, atOnce, most, reached] = [0, 0, 0, 6];
  const waits = lookedAt(async (count) => {
    looks = count;
    atOnce += 1;
    most = Math.max(most, atOnce);
    await setImmediate();
    atOnce -= 1;
    return [gateway('kong-1:5', reached)];
  });
  const wait = (at: number): Promise<{ wait: WaitView }> =>
    waits.after(`token:${at % 2}`, 10_000, () => Promise.resolve());
  const early = [0, 1, 2, 3].map(wait);
  await eventually('they look again and again', () => looks > 10);
  const late = [4, 5, 6, 7, 8, 9].map(wait);
  await eventually('all of them look', () => looks > 20);
  reached = 7;
  for (const { wait: said } of await Promise.all([...early, ...late])) assert.is(said.acknowledged, true);
  assert.is(most, 1);
  const before = looks;
  await Promise.all([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(wait));
  assert.ok(looks - before <= 4, `${looks - before} looks for ten waits that begin and end together`);
});

test('a wait goes by looks that began after its change: they show a gateway that has come meanwhile', async () => {
  let release = (): void => undefined;
  const held = new Promise<void>((done) => (release = done));
  let looks = 0;
  const waits = lookedAt(async (count) => {
    looks = count;
    // The first wait's own; the second wait's change is made while it is under way.
    if (count === 2) await held;
    return count > 2 ? [gateway('kong-1:5', 7), gateway('kong-2:6', 7)] : [gateway('kong-1:5', 7)];
  });
  const names = async (waiting: Promise<{ wait: WaitView }>): Promise<string[]> =>
    (await waiting).wait.gateways.map((said) => said.gateway);
  const first = waits.after('one', 5000, () => Promise.resolve());
  await eventually('the first one looks', () => looks === 2);
  let changed = false;
  // What is known may be a moment old; a look for it would be the third one.
  const second = waits.after('two', 5000, async () => void (changed = true));
  release();
  assert.equal(await names(first), ['kong-1:5']);
  assert.equal((await names(second)).toSorted(), ['kong-1:5', 'kong-2:6']);
  assert.ok(changed);
});

test('a token that waits ten times already is told so before anything is done; others still may', async () => {
  let reached = 6;
  gateways(() => [['kong-1:5', reached]]);
  const revoke = async (token: string): Promise<Answer> => {
    const { id } = await admin.issue('alice');
    return admin.call('POST', `/hashed-key-auths/${id}/revoke`, {
      token: admin.tokens[token],
      body: { wait_seconds: 20 },
    });
  };
  const waiting = Array.from({ length: 10 }, () => revoke('issuer'));
  const revoked = async (): Promise<number> =>
    (await admin.log()).filter((line) => line === 'revoke done').length;
  await eventually('ten wait', async () => (await revoked()) === 10);
  const refused = await revoke('issuer');
  assert.equal([refused.status, refused.headers['retry-after']], [429, '5']);
  assert.match(String(refused.json['detail']), 'nothing was done');
  assert.is(await revoked(), 10);
  const other = revoke('admin');
  await eventually('another token waits', async () => (await revoked()) === 11);
  reached = 7;
  for (const one of await Promise.all([...waiting, other])) assert.is(one.status, 200, one.text);
  assert.is((await revoke('issuer')).status, 200, 'those have ended');
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
