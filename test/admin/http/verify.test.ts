/** Verifying keys and taking hashes over, over HTTP: for whom, how often, and nothing of a key or hash anywhere. */
import argon2 from 'argon2';
import * as assert from 'uvu/assert';
import type { Logger } from '../../../src/lib/logger.ts';
import { generateKey } from '../../../src/keys/format.ts';
import { recordingLogger, type LogLine } from '../../store/file-fixture.ts';
import { mistyped } from '../../helpers/keys.ts';
import { suite } from '../../helpers/suite.ts';
import { fieldsAtFault, startAdmin, type Admin, type Answer } from './fixture.ts';

const test = suite('verifying and importing over HTTP');

let admin: Admin;
let log: LogLine[];
test.beforeEach(async () => {
  log = [];
  const logger: Logger = recordingLogger(log);
  admin = await startAdmin({
    logger,
    tokens: {
      admin: { role: 'admin' },
      issuer: { role: 'issuer' },
      auditor: { role: 'auditor' },
      limited: { role: 'issuer', consumers: ['alice'], tags: ['a'] },
      'limited-admin': { role: 'admin', consumers: ['alice'], tags: ['a'] },
    },
    consumers: {
      find: (text) => Promise.resolve(text === 'nobody' ? undefined : { username: text }),
    },
  });
});
test.afterEach(() => admin.close());

const argon2Runs = (): number => admin.hasher.calls;

const verify = (key: unknown, token = 'issuer'): Promise<Answer> =>
  admin.call('POST', '/hashed-key-auths/verify', { token: admin.tokens[token], body: { key } });

test('a good key is told whose it is, any other why it is not good', async () => {
  const { id, key } = await admin.issue('alice');
  for (const token of ['admin', 'issuer']) {
    assert.equal((await verify(key, token)).json, { valid: true, id, consumer: { username: 'alice' } });
  }
  assert.equal((await verify(mistyped(key))).json, { valid: false, reason: 'malformed' });
  assert.equal((await verify('some-old-key')).json, { valid: false, reason: 'unknown' });
  await admin.call('POST', `/hashed-key-auths/${id}/revoke`);
  assert.equal((await verify(key)).json, { valid: false, reason: 'revoked' }, 'nothing is remembered');
  assert.not.match(JSON.stringify(log) + admin.auditText(), key);
});

test('only who may issue keys may verify them', async () => {
  const { key } = await admin.issue('alice');
  assert.is((await verify(key, 'auditor')).status, 403);
});

test('a limited token hears only of what it reaches', async () => {
  const ours = await admin.issue('alice', { tags: ['a'] });
  const theirs = [await admin.issue('bob', { tags: ['a'] }), await admin.issue('alice', { tags: ['b'] })];
  assert.is((await verify(ours.key, 'limited')).json['valid'], true);
  await admin.call('POST', `/hashed-key-auths/${theirs[1]?.id ?? ''}/revoke`);
  for (const { key } of theirs) {
    assert.equal((await verify(key, 'limited')).json, { valid: false, reason: 'unknown' });
  }
});

test('a key that a limited token does not reach costs what one costs that there is not', async () => {
  const ours = await admin.issue('alice', { tags: ['a'] });
  const theirs = await admin.issue('bob', { tags: ['a'] });
  const old = 'sk_live_abcdefgh_Zm9vYmFyYmF6cXV4';
  const hash = await argon2.hash(old, { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
  await imported([{ consumer: 'bob', hash, key_start: old.slice(0, 16), tags: ['a'] }]);
  const cost = async (key: string, token = 'limited'): Promise<[unknown, number]> => {
    const before = argon2Runs();
    const { json } = await verify(key, token);
    return [json['reason'] ?? json['valid'], argon2Runs() - before];
  };
  // The token's own argon2, paid once.
  await verify('some-old-key', 'limited');
  await verify('some-old-key', 'issuer');
  assert.equal(await cost(ours.key), [true, 1]);
  for (const key of [theirs.key, old]) {
    assert.equal(await cost(key, 'issuer'), [true, 1], 'it is there');
    assert.equal(await cost(key), ['unknown', 0]);
  }
  assert.equal(await cost(generateKey('hka').key.reveal()), ['unknown', 0]);
});

test('a credential that leaves the reach of a token while its key is verified is unknown to it', async () => {
  const { id, key } = await admin.issue('alice', { tags: ['a'] });
  const findByPublicId = admin.store.findByPublicId.bind(admin.store);
  let leaves = false;
  admin.store.findByPublicId = async (publicId) => {
    const found = await findByPublicId(publicId);
    if (leaves) await admin.store.update(id, { tags: ['b'] });
    return found;
  };
  assert.is((await verify(key, 'limited')).json['valid'], true);
  leaves = true;
  assert.equal((await verify(key, 'limited')).json, { valid: false, reason: 'unknown' });
});

test('guessing is slow: there is a limit for each token', async () => {
  const { key } = await admin.issue('alice');
  for (let guess = 0; guess < 20; guess += 1) assert.is((await verify(`guess-${guess}`)).status, 200);
  const refused = await verify('guess-20');
  assert.is(refused.status, 429);
  assert.is(refused.headers['retry-after'], '1');
  assert.is((await verify(key, 'admin')).status, 200, 'another token has its own');
  admin.clock.advance(1000);
  assert.is((await verify(key)).status, 200);
  assert.is((await verify(key)).status, 200);
  assert.is((await verify(key)).status, 429);
});

test('a key of another form is refused without being repeated', async () => {
  for (const key of ['', 'canary'.repeat(1000), 5, null, ['canary'], { canary: 1 }]) {
    const refused = await verify(key);
    assert.is(refused.status, 400);
    assert.not.match(refused.text, 'canary');
  }
  const inPath = await admin.call('GET', '/hashed-key-auths/verify?key=canary');
  assert.is(inPath.status, 405, 'not in a URL');
  const inQuery = await admin.call('POST', '/hashed-key-auths/verify?key=canary', { body: { key: 'x' } });
  assert.equal([inQuery.status, fieldsAtFault(inQuery)], [400, ['key']]);
  assert.not.match(JSON.stringify(log), 'canary');
});

const imported = (credentials: unknown, token = 'admin'): Promise<Answer> =>
  admin.call('POST', '/hashed-key-auths/import', { token: admin.tokens[token], body: { credentials } });

test('hashes are taken over, all or none, and their keys are good', async () => {
  const key = 'sk_live_abcdefgh_Zm9vYmFyYmF6cXV4';
  const hash = await argon2.hash(key, { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
  const one = { consumer: 'alice', hash, key_start: key.slice(0, 16), tags: ['a'] };
  const id = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';
  assert.is((await imported([one], 'issuer')).status, 403);
  const missing = await imported([one, { ...one, consumer: 'nobody' }]);
  assert.equal([missing.status, missing.json['code']], [404, 'HKA_CONSUMER_NOT_FOUND']);
  assert.is(admin.store.records.size, 0);
  const done = await imported([{ ...one, id }]);
  assert.equal([done.status, done.json], [200, { imported: 1, consumers_checked: true }]);
  assert.equal((await verify(key)).json, { valid: true, id, consumer: { username: 'alice' } });
  const twice = await imported([{ ...one, id }]);
  assert.equal([twice.status, twice.json['code']], [409, 'HKA_CREDENTIAL_EXISTS']);
  assert.is(admin.store.records.size, 1);
  assert.equal((await admin.log()).slice(-2), ['import hashes requested', 'import hashes refused']);
  for (const text of [
    ...admin.answers.map((answer) => answer.text),
    JSON.stringify(log),
    admin.auditText(),
  ]) {
    assert.not.match(text, hash.slice(-20));
  }
});

test('every fault of every hash is told, and none is repeated', async () => {
  const bad = { consumer: 'alice', hash: '$2b$10$canarycanarycanary', key_start: 'sk_live_' };
  const refused = await imported([bad, { ...bad, expires_at: '2001-01-01T00:00:00Z' }]);
  assert.equal(
    [refused.status, fieldsAtFault(refused)],
    [400, ['hash', 'credentials[1].hash', 'credentials[1].expires_at']],
  );
  const shapes = await imported([{ consumer: 'alice', hash: 'canary', key_start: 'short', canary: 1 }]);
  assert.is(shapes.status, 400);
  assert.not.match(refused.text + JSON.stringify(log), 'canary');
  assert.is((await imported([])).status, 400);
});

test('a limited token imports only what it reaches', async () => {
  const hash = await argon2.hash('x'.repeat(30), { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
  const one = { hash, key_start: 'x'.repeat(12) };
  const outside = await imported([{ ...one, consumer: 'bob', tags: ['a'] }], 'limited-admin');
  assert.is(outside.status, 404);
  const untagged = await imported([{ ...one, consumer: 'alice' }], 'limited-admin');
  assert.equal([untagged.status, fieldsAtFault(untagged)], [400, ['tags']]);
  assert.is((await imported([{ ...one, consumer: 'alice', tags: ['a'] }], 'limited-admin')).status, 200);
});

test('a request that imports nothing in any case tells a limited token nothing of the keys of others', async () => {
  const hash = await argon2.hash('whatever it is', { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
  assert.is((await imported([{ consumer: 'bob', hash, key_start: 'hunter2' }])).status, 200);
  const own = { consumer: 'alice', hash, tags: ['a'] };
  const id = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';
  assert.is((await imported([{ ...own, key_start: 'own-key', id }], 'limited-admin')).status, 200);
  const before = admin.store.records.size;
  const unused = '1f6a2f0e-9d0f-4f5e-8e0c-0a3c5b2d7e11';
  // An id that is taken, and one that the request itself has twice.
  for (const ids of [[id], [unused, unused.toUpperCase()]]) {
    const guess = async (start: string): Promise<string> => {
      const four = [0, 1, 2, 3].map((at) => ({
        ...own,
        key_start: start,
        ...(ids[at] === undefined ? {} : { id: ids[at] }),
      }));
      const { status, json } = await imported(four, 'limited-admin');
      return `${status} ${String(json['code'])}`;
    };
    assert.equal(
      [await guess('letmein'), await guess('hunter2')],
      ['409 HKA_CREDENTIAL_EXISTS', '409 HKA_CREDENTIAL_EXISTS'],
    );
  }
  assert.is(admin.store.records.size, before);
});

test('how many keys begin alike is told to who reaches all of them; asking counts as guessing', async () => {
  const hash = await argon2.hash('whatever it is', { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
  const theirs = { consumer: 'bob', hash, key_start: 'hunter2' };
  assert.is((await imported([theirs, theirs])).status, 200);
  const own = { consumer: 'alice', hash, tags: ['a'] };
  const times = (count: number, key_start: string): object[] =>
    Array.from({ length: count }, () => ({ ...own, key_start }));
  const told = async (count: number, start: string, token: string): Promise<string> => {
    const { status, json } = await imported(times(count, start), token);
    assert.is(status, 400);
    return String(json['detail']);
  };
  assert.match(await told(3, 'hunter2', 'admin'), '5 keys would begin');
  const others = await told(3, 'hunter2', 'limited-admin');
  assert.is(others, await told(9, 'letmein', 'limited-admin'), 'of others, or all of its own');
  assert.not.match(others, /\b[2359]\b/);

  const many = Array.from({ length: 21 }, (_, at) => ({ ...own, key_start: `start-${at}` }));
  const refused = await imported(many, 'limited-admin');
  assert.equal([refused.status, fieldsAtFault(refused)], [400, ['credentials']]);
  assert.is((await imported(many.slice(0, 18), 'limited-admin')).status, 200, '18 are left of 20');
  const limited = await imported(times(1, 'one-more'), 'limited-admin');
  assert.equal([limited.status, limited.headers['retry-after']], [429, '1']);
  assert.is((await verify('some-old-key', 'limited-admin')).status, 429, 'it is one limit');
  admin.clock.advance(1000);
  const three = ['x-start', 'y-start', 'z-start'].flatMap((start) => times(1, start));
  const waits = await imported(three, 'limited-admin');
  assert.equal([waits.status, waits.headers['retry-after']], [429, '2']);
  assert.is((await imported(three.slice(1), 'limited-admin')).status, 200, 'nothing was charged for it');
  assert.is((await imported(many)).status, 200, 'who reaches everything has nothing to guess');
});

test('a file of many hashes fits, and more than that is refused', async () => {
  const large = await imported([
    { consumer: 'a'.repeat(900), hash: 'h'.repeat(900), key_start: 'x'.repeat(12) },
  ]);
  assert.is(large.status, 400);
  const many = Array.from({ length: 200 }, () => ({
    consumer: 'alice',
    hash: 'h'.repeat(900),
    key_start: 'sk_live_',
  }));
  assert.is((await imported(many)).status, 400, 'more than 64 KiB are read');
  const huge = await admin.call('POST', '/hashed-key-auths/import', {
    body: 'x'.repeat(4 * 1024 * 1024 + 1),
  });
  assert.is(huge.status, 413);
});

test.run();
