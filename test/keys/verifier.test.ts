/** R1, R9: who gets in, what it costs, and what a change of the store does to keys that are cached. */
import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { setImmediate as turnOfEventLoop } from 'node:timers/promises';
import argon2 from 'argon2';
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keys/format.ts';
import { importHash, importKey, issueKey, makeKey } from '../../src/keys/issue.ts';
import type { KeyHasher } from '../../src/keys/hasher.ts';
import { notePepper } from '../../src/keys/pepper-checks.ts';
import { PepperRing, type PepperSource } from '../../src/keys/pepper.ts';
import { formatPhc } from '../../src/keys/phc.ts';
import { STRONG_INDEX_BITS, weakIndexBits } from '../../src/keys/strength.ts';
import type { Verdict } from '../../src/keys/verdict.ts';
import { KeyVerifier } from '../../src/keys/verifier.ts';
import { ManualClock } from '../../src/lib/clock.ts';
import { HkaError } from '../../src/lib/errors.ts';
import { Secret } from '../../src/lib/secret.ts';
import type { CredentialRecord } from '../../src/store/record.ts';
import { eventually } from '../helpers/eventually.ts';
import { cheapHasher, kongKey, testPeppers, VERIFIER_CACHE } from '../helpers/keys.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { failure } from '../vault/support.ts';
import { suite } from '../helpers/suite.ts';
import { rejection } from '../store/conformance.ts';
import { recordingLogger, type LogLine } from '../store/file-fixture.ts';

const test = suite('verifier');

interface Bench {
  store: MemoryStore;
  clock: ManualClock;
  peppers: PepperRing;
  hasher: KeyHasher;
  verifier: KeyVerifier;
}

function bench(
  options: {
    rehash?: boolean;
    peppers?: PepperRing;
    source?: PepperSource;
    hasher?: KeyHasher;
    store?: MemoryStore;
  } = {},
): Bench {
  const store = options.store ?? new MemoryStore();
  const clock = new ManualClock();
  const peppers = options.peppers ?? testPeppers();
  const hasher = options.hasher ?? cheapHasher();
  const verifier = new KeyVerifier(
    { prefix: 'hka', cache: VERIFIER_CACHE, rehash: options.rehash ?? false },
    { store, peppers: options.source ?? peppers, hasher, clock },
  );
  return { store, clock, peppers, hasher, verifier };
}

async function issue(
  { store, peppers, hasher, clock }: Bench,
  expiresAt?: number,
): Promise<{ key: string; record: CredentialRecord }> {
  const wanted = {
    consumer: { username: 'alice' },
    createdAt: clock.now(),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  };
  const { key, record } = await issueKey(wanted, 'hka', peppers.current, hasher);
  await store.notePepper(peppers.current.id, peppers.current.check);
  await store.insert([record]);
  return { key: key.reveal(), record };
}

async function importOne(
  { store, peppers, hasher }: Bench,
  key: string,
  bits: number,
): Promise<CredentialRecord> {
  const record = await importKey(
    { consumer: { username: 'bob' }, createdAt: 0 },
    new Secret(key),
    bits,
    'hka',
    peppers.current,
    hasher,
  );
  await store.notePepper(peppers.current.id, peppers.current.check);
  await store.insert([record]);
  return record;
}

const reason = (verdict: Verdict): string => (verdict.ok ? 'ok' : verdict.reason);

test('an issued key is good, and the second time without argon2 and without waiting', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  const before = b.hasher.calls;
  assert.equal(await b.verifier.verify(key), {
    ok: true,
    credential: { id: record.id, consumer: { username: 'alice' } },
    cached: false,
    seen: b.verifier.changes,
    readAt: b.clock.now(),
  });
  const second = b.verifier.verify(key);
  assert.not.instance(second, Promise);
  assert.is((second as Verdict & { cached: boolean }).cached, true);
  assert.is(b.hasher.calls, before + 1);
});

test('a refusal that a change has overtaken is not remembered: a key issued meanwhile works at once', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  await b.store.remove(record.id);
  const looked = b.verifier.verify(key);
  await b.store.insert([record]);
  const first = await looked;
  assert.is(reason(await b.verifier.verify(key)), 'ok', `the first time: ${reason(first)}`);
});

test('an imported key is good, strong and weak', async () => {
  const b = bench();
  const strong = kongKey();
  await importOne(b, strong, STRONG_INDEX_BITS);
  await importOne(b, 'secret', weakIndexBits(1, []));
  assert.is(reason(await b.verifier.verify(strong)), 'ok');
  assert.is(reason(await b.verifier.verify('secret')), 'ok');
  assert.is(reason(await b.verifier.verify('secre')), 'unknown');
});

test('who comes after a revocation was announced does not join a look that was begun before it', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  assert.is(reason(await b.verifier.verify(key)), 'ok');
  b.clock.advance(VERIFIER_CACHE.ttlMs);
  let release = (): void => undefined;
  b.store.beforeGet = () =>
    new Promise((resolve) => {
      release = resolve;
    });
  const before = b.verifier.verify(key);
  b.store.beforeGet = undefined;
  await b.store.update(record.id, { revokedAt: 1 });
  const after = await b.verifier.verify(key);
  assert.is(reason(after), 'revoked');
  release();
  await before;
  assert.is(reason(await b.verifier.verify(key)), 'revoked');
});

test('after the clock was set back a row is read again before its key is let in', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  assert.is(reason(await b.verifier.verify(key)), 'ok');
  b.clock.advance(-3_600_000);
  // As somebody else's change that was not announced.
  b.store.records.set(record.id, { ...record, revokedAt: 1 });
  assert.is(reason(await b.verifier.verify(key)), 'revoked');
});

test('while the store is out of reach a verified key is good for max_stale_seconds, a changed one is not', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  const { key: changed, record: other } = await issue(b);
  const { key: unused } = await issue(b);
  for (const used of [key, changed]) assert.is(reason(await b.verifier.verify(used)), 'ok');
  await b.store.update(other.id, { name: 'x' });
  b.clock.advance(VERIFIER_CACHE.ttlMs);
  b.store.outage = new HkaError('HKA_STORE_UNAVAILABLE', 'away');
  const verdict = await b.verifier.verify(key);
  assert.ok(verdict.ok && verdict.stale === true);
  assert.is(b.verifier.counts.stale, 1);
  for (const refused of [changed, unused]) {
    await rejection(
      'HKA_STORE_UNAVAILABLE',
      Promise.resolve().then(() => b.verifier.verify(refused)),
    );
  }
  b.clock.advance(VERIFIER_CACHE.maxStaleMs - VERIFIER_CACHE.ttlMs);
  await rejection(
    'HKA_STORE_UNAVAILABLE',
    Promise.resolve().then(() => b.verifier.verify(key)),
  );
  b.store.outage = new HkaError('HKA_STORE_CORRUPT', 'broken');
  await rejection(
    'HKA_STORE_CORRUPT',
    Promise.resolve().then(() => b.verifier.verify(key)),
  );
  b.store.outage = undefined;
  await b.store.update(record.id, { revokedAt: 1 });
  assert.is(reason(await b.verifier.verify(key)), 'revoked');
});

test('a hash made elsewhere opens the door for its key, and is replaced by one with the pepper', async () => {
  const b = bench({ rehash: true });
  const strong = `sk_live_${kongKey()}`;
  const [pepper] = [b.peppers.current];
  for (const [key, id] of [
    [strong, 'strong'],
    ['sk_live_secret', 'weak'],
  ] as const) {
    const salt = randomBytes(16);
    const raw = await argon2.hash(key, { raw: true, salt, memoryCost: 64, timeCost: 1, parallelism: 1 });
    const hash = formatPhc({ memoryKib: 64, time: 1, parallelism: 1, salt, hash: raw });
    const wanted = { consumer: { username: id }, createdAt: 0 };
    await b.store.insert([await importHash(wanted, hash, key.slice(0, 12), pepper)]);
  }
  for (const key of [strong, 'sk_live_secret']) {
    assert.is(reason(await b.verifier.verify(key)), 'ok');
    const consumer = key === strong ? 'strong' : 'weak';
    await eventually('it is hashed with the pepper', async () => {
      // One hash at a time is replaced; whoever came meanwhile has its turn at its next verification.
      b.verifier.cache.deleteVerified(b.verifier.cache.slotOf(key));
      assert.is(reason(await b.verifier.verify(key)), 'ok');
      return [...b.store.records.values()].some(
        (record) => record.unpeppered === undefined && record.consumer.username === consumer,
      );
    });
    assert.is(reason(await b.verifier.verify(key)), 'ok', 'with its new hash, too');
  }
  assert.is(reason(await b.verifier.verify(`${strong}x`)), 'unknown');
  const calls = b.hasher.calls;
  assert.is(reason(await b.verifier.verify(`${strong.slice(0, 12)}something else`)), 'unknown');
  assert.is(b.hasher.calls, calls, 'once it has been used, no junk with the same start gets to argon2');
  const [first, second] = [...b.store.records.values()];
  assert.is(first?.lookup.kind === 'imported' ? first.lookup.start : 0, undefined);
  assert.is(
    second?.lookup.kind === 'imported' ? second.lookup.start : 0,
    12,
    'no long index of a key that could be guessed',
  );
});

test('a hash made elsewhere is refused where its parameters or its start are out of bounds', async () => {
  const pepper = testPeppers().current;
  const wanted = { consumer: { username: 'x' }, createdAt: 0 };
  const salt = randomBytes(16);
  const good = formatPhc({ memoryKib: 64, time: 1, parallelism: 1, salt, hash: salt });
  for (const [hash, start] of [
    ['$2b$10$abcdefghijklmnopqrstuv', 'sk_live_'],
    [good.replace('m=64', 'm=99999999'), 'sk_live_'],
    [good, 'sk_li'],
    [good, 'x'.repeat(65)],
  ] as const) {
    const error = await failure(() => importHash(wanted, hash, start, pepper));
    assert.match(error.message, /allowed|form/);
  }
});

async function rotate(b: Bench, id: string, previousUntil: number | undefined): Promise<string> {
  const { key, stored } = await makeKey('hka', b.peppers.current, b.hasher);
  await b.store.rotate(id, { ...stored, previousUntil });
  return key.reveal();
}

test('after a rotation both keys are good until the overlap ends, then the old one is revoked by itself (R9)', async () => {
  const b = bench();
  const { key: old, record } = await issue(b);
  assert.is(reason(await b.verifier.verify(old)), 'ok');
  const calls = b.hasher.calls;
  const fresh = await rotate(b, record.id, b.clock.now() + 60_000);
  const verdict = await b.verifier.verify(old);
  assert.ok(verdict.ok && verdict.credential.retiring === true, 'it is told which of the two was presented');
  assert.is(b.hasher.calls, calls + 1, 'one for the new key, none for the old one that was known');
  const successor = await b.verifier.verify(fresh);
  assert.ok(successor.ok && successor.credential.retiring === undefined);
  assert.is(successor.ok && successor.credential.id, record.id, 'the same credential');
  b.clock.advance(60_000);
  assert.is(reason(await b.verifier.verify(old)), 'revoked');
  assert.is(reason(await b.verifier.verify(fresh)), 'ok');
});

test('an old key that nobody has presented before is good during the overlap, too, and imported ones are', async () => {
  const b = bench();
  const { key: old, record } = await issue(b);
  const imported = await importOne(b, 'secret', weakIndexBits(1, []));
  await rotate(b, record.id, b.clock.now() + 1000);
  await rotate(b, imported.id, b.clock.now() + 1000);
  assert.is(reason(await b.verifier.verify(old)), 'ok');
  assert.is(reason(await b.verifier.verify('secret')), 'ok');
  b.clock.advance(1000);
  assert.is(reason(await b.verifier.verify(old)), 'revoked');
  assert.is(reason(await b.verifier.verify('secret')), 'revoked');
});

test('a rotation without overlap, and the end of one, refuse the old key at once', async () => {
  const b = bench();
  const { key: old, record } = await issue(b);
  assert.is(reason(await b.verifier.verify(old)), 'ok');
  const second = await rotate(b, record.id, undefined);
  assert.is(reason(await b.verifier.verify(old)), 'unknown');
  assert.is(reason(await b.verifier.verify(second)), 'ok');
  const third = await rotate(b, record.id, b.clock.now() + 60_000);
  assert.is(reason(await b.verifier.verify(second)), 'ok');
  await b.store.update(record.id, { previous: null });
  assert.is(reason(await b.verifier.verify(second)), 'unknown');
  assert.is(reason(await b.verifier.verify(third)), 'ok');
});

test('a revoked or expired credential refuses both of its keys', async () => {
  const b = bench();
  const { key: old, record } = await issue(b, b.clock.now() + 100_000);
  const fresh = await rotate(b, record.id, b.clock.now() + 1_000_000);
  assert.is(reason(await b.verifier.verify(old)), 'ok');
  b.clock.advance(100_000);
  assert.is(reason(await b.verifier.verify(fresh)), 'expired');
  assert.not.ok((await b.verifier.verify(old)).ok);
  await b.store.update(record.id, { revokedAt: 1 });
  assert.is(reason(await b.verifier.verify(old)), 'revoked');
  assert.is(reason(await b.verifier.verify(fresh)), 'revoked');
});

test('a wrong guess at a known id costs no argon2', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  const before = b.hasher.calls;
  assert.is(record.lookup.kind, 'issued');
  const publicId = record.lookup.kind === 'issued' ? record.lookup.publicId : '';
  for (let guess = 0; guess < 2000; guess += 1) {
    // A well-formed key with that id and another secret, its checksum right.
    let first = true;
    const forged = generateKey('hka', (size) => {
      if (!first) return randomBytes(size);
      first = false;
      const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
      return Buffer.from(publicId.split('').map((character) => alphabet.indexOf(character)));
    });
    assert.is(forged.publicId, publicId);
    assert.not.equal(forged.key.reveal(), key);
    assert.is(reason(await b.verifier.verify(forged.key.reveal())), 'unknown');
  }
  assert.is(b.hasher.calls, before);
});

test('the stored hash, MAC, index and ids are no keys', async () => {
  const b = bench();
  const { record } = await issue(b);
  const imported = await importOne(b, kongKey(), STRONG_INDEX_BITS);
  for (const text of [
    record.hash,
    record.id,
    JSON.stringify(record.lookup),
    imported.hash,
    JSON.stringify(imported.lookup),
  ]) {
    assert.is(reason(await b.verifier.verify(text)), 'unknown');
  }
});

test('junk of every form reaches neither argon2 nor a look-up when its checksum is wrong', async () => {
  const b = bench();
  await issue(b);
  const before = b.hasher.calls;
  for (let round = 0; round < 500; round += 1) {
    const text = generateKey('hka').key.reveal();
    assert.is(
      reason(await b.verifier.verify(`${text.slice(0, -1)}${text.endsWith('0') ? '1' : '0'}`)),
      'malformed',
    );
  }
  assert.is(b.store.lookups, 0);
  assert.is(b.hasher.calls, before);
});

test('a key of 64 KiB is refused without being hashed at all', () => {
  const b = bench();
  const verdict = b.verifier.verify('x'.repeat(65_536));
  assert.not.instance(verdict, Promise);
  assert.is(b.store.lookups, 0);
});

test('an expired key is refused from the millisecond of its expiry, cached or not', async () => {
  const b = bench();
  const { key } = await issue(b, b.clock.now() + 10_000);
  assert.is(reason(await b.verifier.verify(key)), 'ok');
  b.clock.advance(9999);
  assert.is(reason(await b.verifier.verify(key)), 'ok');
  b.clock.advance(1);
  assert.is(reason(await b.verifier.verify(key)), 'expired');
  const fresh = bench({ store: b.store, peppers: b.peppers });
  fresh.clock.advance(20_000);
  assert.is(reason(await fresh.verifier.verify(key)), 'expired');
});

test('a revoked key is refused at its next use, without argon2', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  await b.verifier.verify(key);
  const before = b.hasher.calls;
  await b.store.update(record.id, { revokedAt: b.clock.now() });
  assert.is(reason(await b.verifier.verify(key)), 'revoked');
  assert.is(b.hasher.calls, before);
});

test('a deleted key is refused at its next use', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  await b.verifier.verify(key);
  await b.store.remove(record.id);
  assert.is(reason(await b.verifier.verify(key)), 'unknown');
});

test('a key revoked while argon2 ran on it is refused', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  const pending = b.verifier.verify(key);
  await b.store.update(record.id, { revokedAt: b.clock.now() });
  assert.is(reason(await pending), 'revoked');
});

test('a change that arrives while the row is on its way is not cached over', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  b.store.beforeGet = async () => {
    b.store.beforeGet = undefined;
    // The row has been read; now it changes, and the change is announced, before the reader goes on.
    await b.store.update(record.id, { revokedAt: b.clock.now() });
  };
  await b.verifier.verify(key);
  assert.is(reason(await b.verifier.verify(key)), 'revoked');
});

test('a key that was refused works as soon as its credential is there', async () => {
  const b = bench();
  const wanted = { consumer: { username: 'alice' }, createdAt: 0 };
  const { key, record } = await issueKey(wanted, 'hka', b.peppers.current, b.hasher);
  assert.is(reason(await b.verifier.verify(key.reveal())), 'unknown');
  await b.store.insert([record]);
  assert.is(reason(await b.verifier.verify(key.reveal())), 'ok');
});

test('a refusal is remembered for its time only, and costs no look-up meanwhile', async () => {
  const b = bench();
  const key = generateKey('hka').key.reveal();
  await b.verifier.verify(key);
  assert.not.instance(b.verifier.verify(key), Promise);
  assert.is(b.store.lookups, 1);
  b.clock.advance(VERIFIER_CACHE.negativeTtlMs + 1);
  await b.verifier.verify(key);
  assert.is(b.store.lookups, 2);
});

test('after its time a cached key costs one row and no argon2', async () => {
  const b = bench();
  const { key } = await issue(b);
  await b.verifier.verify(key);
  const before = b.hasher.calls;
  b.clock.advance(VERIFIER_CACHE.ttlMs + 1);
  assert.is(reason(await b.verifier.verify(key)), 'ok');
  assert.is(b.verifier.counts.rowReads, 1);
  assert.is(b.hasher.calls, before);
});

test('a hundred requests with one new key cost one argon2', async () => {
  const b = bench();
  const { key } = await issue(b);
  const before = b.hasher.calls;
  const verdicts = await Promise.all(Array.from({ length: 100 }, async () => b.verifier.verify(key)));
  assert.ok(verdicts.every(({ ok }) => ok));
  assert.is(b.hasher.calls, before + 1);
});

test('when the store fails nobody is let in by a key that is not cached', async () => {
  const b = bench();
  const { key } = await issue(b);
  b.store.outage = new HkaError('HKA_STORE_UNAVAILABLE', 'gone');
  try {
    await b.verifier.verify(key);
    assert.unreachable();
  } catch (error) {
    assert.is((error as HkaError).code, 'HKA_STORE_UNAVAILABLE');
  }
  b.store.outage = undefined;
  assert.is(reason(await b.verifier.verify(key)), 'ok');
});

test('a full argon2 queue refuses new keys and leaves cached ones alone', async () => {
  const b = bench({
    hasher: cheapHasher(
      { memoryKib: 19_456, time: 2, parallelism: 1 },
      { concurrency: 1, maxWaiting: 1, maxWaitMs: 60_000 },
    ),
  });
  const cached = await issue(b);
  const others = [await issue(b), await issue(b), await issue(b)];
  await b.verifier.verify(cached.key);
  const results = await Promise.allSettled(others.map(async ({ key }) => b.verifier.verify(key)));
  const refused = results.filter((result) => result.status === 'rejected');
  assert.is(refused.length, 1);
  assert.is((refused[0]?.reason as HkaError | undefined)?.code, 'HKA_VERIFIER_BUSY');
  assert.not.instance(b.verifier.verify(cached.key), Promise);
});

test('a row with m = 4 GiB is an error and costs nothing', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  b.store.records.set(record.id, { ...record, hash: record.hash.replace('m=64', 'm=4194304') });
  const before = b.hasher.calls;
  try {
    await b.verifier.verify(key);
    assert.unreachable();
  } catch (error) {
    assert.is((error as HkaError).code, 'HKA_HASH_INVALID');
  }
  assert.is(b.hasher.calls, before);
});

test('a credential of an unknown pepper version is an error that names the version, not a denial', async () => {
  const b = bench();
  const { key, record } = await issue(b);
  b.store.records.set(record.id, { ...record, pepper: '9' });
  try {
    await b.verifier.verify(key);
    assert.unreachable();
  } catch (error) {
    assert.is((error as HkaError).code, 'HKA_PEPPER_UNKNOWN');
    assert.match((error as HkaError).message, '"9"');
  }
});

test('with another pepper no key verifies, and none is called a wrong one', async () => {
  const b = bench();
  const { key } = await issue(b);
  await importOne(b, 'secret', 12);
  const other = bench({ store: b.store });
  await rejection('HKA_PEPPER_MISMATCH', Promise.resolve(other.verifier.verify(key)));
  await rejection('HKA_PEPPER_MISMATCH', Promise.resolve(other.verifier.verify('secret')));
});

test('keys of an old pepper version and of weaker parameters are hashed anew after they were used', async () => {
  const peppers = testPeppers(['1', '2'], '1');
  const old = bench({ peppers });
  const issued = await issue(old);
  const imported = await importOne(old, 'secret', 12);
  const current = new PepperRing([peppers.get('1'), peppers.get('2')], '2');
  const b = bench({
    store: old.store,
    peppers: current,
    rehash: true,
    hasher: cheapHasher({ memoryKib: 128, time: 2, parallelism: 1 }),
  });
  assert.is(reason(await b.verifier.verify(issued.key)), 'ok');
  const moved = await eventually('the issued key is hashed anew', () => {
    const record = b.store.records.get(issued.record.id);
    return record?.pepper === '2' ? record : undefined;
  });
  assert.match(moved.hash, 'm=128,t=2,p=1');
  assert.not.equal(moved.lookup, issued.record.lookup);
  await eventually('the imported key is hashed anew', async () => {
    b.clock.advance(VERIFIER_CACHE.ttlMs + 1);
    b.verifier.cache.invalidateAll();
    const fresh = bench({ store: b.store, peppers: current, rehash: true, hasher: b.hasher });
    assert.is(reason(await fresh.verifier.verify('secret')), 'ok');
    return b.store.records.get(imported.id)?.pepper === '2';
  });
  const after = bench({ store: b.store, peppers: current });
  assert.is(reason(await after.verifier.verify(issued.key)), 'ok');
  assert.is(reason(await after.verifier.verify('secret')), 'ok');
});

test('without rehash nothing is replaced', async () => {
  const b = bench({ hasher: cheapHasher({ memoryKib: 128, time: 1, parallelism: 1 }) });
  const { key, record } = await issue(bench({ store: b.store, peppers: b.peppers }));
  await b.verifier.verify(key);
  assert.is(b.store.records.get(record.id)?.hash, record.hash);
});

test('the cache holds no key, in no encoding', async () => {
  const b = bench();
  const { key } = await issue(b);
  await b.verifier.verify(key);
  await b.verifier.verify(generateKey('hka').key.reveal());
  const seen = inspect(b.verifier, {
    depth: 20,
    showHidden: true,
    maxArrayLength: null,
    maxStringLength: null,
  });
  for (const form of [key, Buffer.from(key).toString('base64'), Buffer.from(key).toString('hex')]) {
    assert.not.match(seen, form);
  }
});

test('a flood of junk leaves verified keys in the cache', async () => {
  const b = bench();
  const { key } = await issue(b);
  await b.verifier.verify(key);
  for (let round = 0; round < 3000; round += 1) await b.verifier.verify(`junk-${round}`);
  assert.not.instance(b.verifier.verify(key), Promise);
  assert.ok(b.verifier.cache.refusedSize <= VERIFIER_CACHE.negativeMaxEntries);
});

test('one request costs a bounded number of argon2, however many rows share an index', async () => {
  const b = bench();
  const record = await importOne(b, 'secret', 8);
  for (let copy = 0; copy < 50; copy += 1) {
    b.store.records.set(`copy-${copy}`, {
      ...record,
      id: `copy-${copy}`,
      hash: (await issue(bench({ peppers: b.peppers }))).record.hash,
    });
  }
  b.store.records.delete(record.id);
  const before = b.hasher.calls;
  assert.is(reason(await b.verifier.verify('secret')), 'unknown');
  assert.ok(b.hasher.calls - before <= 4);
});

/** A source that learns of version 2 when it is asked for it. */
class LateSource implements PepperSource {
  ring: PepperRing;
  readonly asked: string[] = [];
  readonly #later: PepperRing | undefined;

  constructor(ring: PepperRing, later?: PepperRing) {
    this.ring = ring;
    this.#later = later;
  }

  refresh(missing: string): Promise<PepperRing> {
    this.asked.push(missing);
    this.ring = this.#later ?? this.ring;
    return Promise.resolve(this.ring);
  }
}

test('a key under a pepper version that is not known yet is good once that version was looked for', async () => {
  const both = testPeppers(['1', '2'], '2');
  const b = bench({ peppers: both });
  const issued = await issue(b);
  const imported = kongKey();
  await importOne(b, imported, STRONG_INDEX_BITS);
  for (const key of [issued.key, imported]) {
    const source = new LateSource(new PepperRing([both.get('1')], '1'), both);
    const { verifier } = bench({ source, store: b.store });
    assert.is(reason(await verifier.verify(key)), 'ok');
    assert.equal(source.asked, ['2']);
  }
});

test('while a pepper version is not known, its keys are no wrong keys, and neither may others be called so', async () => {
  const both = testPeppers(['1', '2'], '2');
  const b = bench({ peppers: both });
  const issued = await issue(b);
  await importOne(b, kongKey(), STRONG_INDEX_BITS);
  const source = new LateSource(new PepperRing([both.get('1')], '1'));
  const { verifier } = bench({ source, store: b.store });
  const unknown = await rejection('HKA_PEPPER_UNKNOWN', Promise.resolve(verifier.verify(issued.key)));
  assert.is(unknown.kind.status, 503);
  // Whatever has the form of no issued key may be an imported one under the version that is missing.
  await rejection('HKA_PEPPER_UNKNOWN', Promise.resolve(verifier.verify(kongKey())));
  assert.is(
    reason(await verifier.verify(generateKey('hka').key.reveal())),
    'unknown',
    'no record has this id',
  );
  assert.is(verifier.counts.denied.unknown, 1);
});

test('nothing is hashed anew under a pepper that is not the one of the store', async () => {
  const peppers = testPeppers(['1']);
  const first = bench({ peppers });
  const { key, record } = await issue(first);
  await first.store.notePepper('2', '0'.repeat(32));
  const other = new PepperRing([peppers.get('1'), testPeppers(['2']).current], '2');
  const second = bench({ peppers: other, store: first.store, rehash: true });
  const warned = new Promise<void>((done) => second.store.onChange(() => done()));
  assert.is(reason(await second.verifier.verify(key)), 'ok');
  await Promise.race([
    warned,
    eventually('the re-hash was given up', () => second.hasher.queue.running === 0),
  ]);
  assert.is(first.store.records.get(record.id)?.hash, record.hash);
  assert.is(first.store.records.get(record.id)?.pepper, '1');
});

/** A bench that re-hashes on the store of another, and what its log says. */
function rehashing(b: Bench, peppers: PepperRing): { verifier: KeyVerifier; log: LogLine[] } {
  const log: LogLine[] = [];
  const verifier = new KeyVerifier(
    { prefix: 'hka', cache: VERIFIER_CACHE, rehash: true },
    { store: b.store, peppers, hasher: b.hasher, clock: b.clock, logger: recordingLogger(log) },
  );
  return { verifier, log };
}

test('while current changes on one machine after another, a key moves once and not to and fro', async () => {
  const both = testPeppers(['1', '2'], '1');
  const b = bench({ peppers: new PepperRing([both.get('1')], '1') });
  const { key, record } = await issue(b);
  const [one, two] = [both.get('1'), both.get('2')];
  const newer = rehashing(b, new PepperRing([one, two], '2'));
  assert.is(reason(await newer.verifier.verify(key)), 'ok');
  await eventually('it has moved', () => b.store.records.get(record.id)?.pepper === '2');
  const { hash } = b.store.records.get(record.id) ?? {};
  let looks = 0;
  const look = b.store.pepperChecks.bind(b.store);
  b.store.pepperChecks = () => {
    looks += 1;
    return look();
  };
  for (let turn = 1; turn <= 3; turn += 1) {
    // As it goes on where version 1 is still the current one.
    looks = 0;
    const older = rehashing(b, new PepperRing([one, two], '1'));
    assert.is(reason(await older.verifier.verify(key)), 'ok');
    await eventually('proof and re-hash have looked at what is noted', () => looks >= 2);
    await turnOfEventLoop();
    await eventually('no hash is being made', () => b.hasher.queue.running + b.hasher.queue.waiting === 0);
    await turnOfEventLoop();
    assert.is(b.store.records.get(record.id)?.hash, hash);
    older.verifier.close();
  }
});

test('a hash whose parameters are behind is made anew under its own version where the current one is older', async () => {
  const both = testPeppers(['1', '2'], '2');
  const first = bench({ peppers: both });
  await first.store.notePepper('1', both.get('1').check);
  const { key, record } = await issue(first);
  const hasher = cheapHasher({ memoryKib: 128, time: 1, parallelism: 1 });
  const peppers = new PepperRing([both.get('1'), both.get('2')], '1');
  const second = bench({ store: first.store, peppers, hasher, rehash: true });
  assert.is(reason(await second.verifier.verify(key)), 'ok');
  await eventually(
    'it was made anew',
    () => first.store.records.get(record.id)?.hash.includes('m=128') === true,
  );
  assert.is(first.store.records.get(record.id)?.pepper, '2');
});

test('no record is made under a version that was retired, by whoever has not heard of it', async () => {
  const both = testPeppers(['1', '2'], '2');
  const [one, two] = [both.get('1'), both.get('2')];
  const b = bench({ peppers: both });
  const keys = [await issue(b), await issue(b)] as const;
  const versionOf = (at: 0 | 1) => b.store.records.get(keys[at].record.id)?.pepper;
  // Noted later than 2, so that keys would move to it.
  const late = rehashing(b, new PepperRing([one, two], '1'));
  assert.is(reason(await late.verifier.verify(keys[0].key)), 'ok');
  await eventually('it has moved', () => versionOf(0) === '1');
  await b.store.retirePepper('1', one.check, true);
  await rejection('HKA_PEPPER_RETIRED', notePepper(b.store, one));
  await eventually('the process that runs on asks again', async () => {
    const { cache } = late.verifier;
    cache.deleteVerified(cache.slotOf(keys[1].key));
    assert.is(reason(await late.verifier.verify(keys[1].key)), 'ok');
    return late.log.some((line) => JSON.stringify(line).includes('HKA_PEPPER_RETIRED'));
  });
  assert.is(versionOf(1), '2');
  await b.store.retirePepper('1', one.check, false);
  await notePepper(b.store, one);
});

test('where nothing is noted of a version, nobody is told that a key is unknown until one has verified under it', async () => {
  const right = testPeppers(['1']);
  const b = bench({ peppers: right });
  const issued = await issue(b);
  const imported = kongKey();
  await importOne(b, imported, STRONG_INDEX_BITS);
  // From before check values were kept, or lost since: a deleted entry, an emptied table.
  b.store.peppers.clear();
  const wrong = bench({ store: b.store, peppers: testPeppers(['1']) });
  for (const key of [issued.key, imported]) {
    const refused = await rejection('HKA_PEPPER_UNVERIFIED', Promise.resolve(wrong.verifier.verify(key)));
    assert.is(refused.kind.status, 503);
    assert.not.match(refused.message, key);
  }
  // Nor is what it would make noted as the right one.
  await rejection('HKA_PEPPER_UNVERIFIED', notePepper(b.store, wrong.peppers.current));
  assert.is(b.store.peppers.size, 0);
  assert.is(
    reason(await wrong.verifier.verify(generateKey('hka').key.reveal())),
    'unknown',
    'no record of it',
  );

  const good = bench({ store: b.store, peppers: right });
  await rejection('HKA_PEPPER_UNVERIFIED', Promise.resolve(good.verifier.verify(kongKey())));
  assert.is(reason(await good.verifier.verify(issued.key)), 'ok');
  assert.is(reason(await good.verifier.verify(kongKey())), 'unknown');
  await good.verifier.settled();
  assert.equal([...b.store.peppers], [['1', { check: right.current.check, retired: false }]]);
  await notePepper(b.store, right.current);
  wrong.clock.advance(1000);
  await rejection('HKA_PEPPER_MISMATCH', Promise.resolve(wrong.verifier.verify(imported)));
});

test('however many unknown keys come, what is noted is looked up once a second', async () => {
  const b = bench();
  await importOne(b, kongKey(), STRONG_INDEX_BITS);
  b.store.peppers.clear();
  let looks = 0;
  const look = b.store.pepperChecks.bind(b.store);
  b.store.pepperChecks = () => {
    looks += 1;
    return look();
  };
  for (let at = 0; at < 5; at += 1) {
    await rejection('HKA_PEPPER_UNVERIFIED', Promise.resolve(b.verifier.verify(kongKey())));
  }
  assert.is(looks, 1);
  b.clock.advance(1000);
  await rejection('HKA_PEPPER_UNVERIFIED', Promise.resolve(b.verifier.verify(kongKey())));
  assert.is(looks, 2);
});

test.run();
