import { setImmediate as turn } from 'node:timers/promises';
import { randomBytes } from 'node:crypto';
import argon2 from 'argon2';
import * as assert from 'uvu/assert';
import { BoundedQueue } from '../../src/keys/bounded-queue.ts';
import { KeyHasher, OWASP_MINIMUM } from '../../src/keys/hasher.ts';
import { generatePepperText, parsePepper, PepperRing, pepperVersion } from '../../src/keys/pepper.ts';
import type { HkaError } from '../../src/lib/errors.ts';
import { Secret } from '../../src/lib/secret.ts';
import { cheapHasher, testPeppers } from '../helpers/keys.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('hasher, queue and pepper');

async function codeOf(work: Promise<unknown> | (() => unknown)): Promise<string | undefined> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    return (error as HkaError).code;
  }
  return undefined;
}

test('the default is argon2id with the parameters OWASP names, and the pepper as its secret', async () => {
  const peppers = testPeppers();
  const hasher = new KeyHasher(OWASP_MINIMUM, { concurrency: 1, maxWaiting: 1, maxWaitMs: 60_000 });
  const stored = await hasher.hash('key', peppers.current);
  assert.match(stored, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  const secret = (await peppers.current.keysFor('key')).argon2Secret.export();
  assert.ok(await argon2.verify(stored, 'key', { secret }));
  assert.not.ok(await argon2.verify(stored, 'key'));
  assert.not.ok(await argon2.verify(stored, 'other', { secret }));
});

test('two hashes of one key differ, and both verify', async () => {
  const hasher = cheapHasher();
  const { current } = testPeppers();
  const [one, two] = [await hasher.hash('key', current), await hasher.hash('key', current)];
  assert.is.not(one, two);
  assert.ok((await hasher.verify('key', one, current)) && (await hasher.verify('key', two, current)));
  assert.not.ok(await hasher.verify('kez', one, current));
});

test('less memory, passes or lanes than today is behind, more is not', async () => {
  const { current } = testPeppers();
  const stored = await cheapHasher({ memoryKib: 128, time: 2, parallelism: 1 }).hash('key', current);
  assert.not.ok(cheapHasher({ memoryKib: 64, time: 1, parallelism: 1 }).isBehind(stored));
  assert.not.ok(cheapHasher({ memoryKib: 128, time: 2, parallelism: 1 }).isBehind(stored));
  assert.ok(cheapHasher({ memoryKib: 129, time: 2, parallelism: 1 }).isBehind(stored));
  assert.ok(cheapHasher({ memoryKib: 128, time: 3, parallelism: 1 }).isBehind(stored));
});

test('the queue runs a bounded number at once, in order, and refuses what does not fit', async () => {
  const queue = new BoundedQueue({ concurrency: 2, maxWaiting: 2, maxWaitMs: 60_000 });
  const releases: (() => void)[] = [];
  const order: number[] = [];
  const task = (name: number) => (): Promise<void> => {
    order.push(name);
    return new Promise((resolve) => {
      releases.push(resolve);
    });
  };
  const tasks = [0, 1, 2, 3].map((name) => queue.run(task(name)));
  await turn();
  assert.equal([order, queue.running, queue.waiting], [[0, 1], 2, 2]);
  assert.is(queue.refused, 0);
  assert.is(await codeOf(queue.run(task(4))), 'HKA_VERIFIER_BUSY');
  assert.is(queue.refused, 1);
  while (order.length < 4 || releases.length > 0) {
    releases.shift()?.();
    await turn();
  }
  await Promise.all(tasks);
  assert.equal([order, queue.running, queue.waiting], [[0, 1, 2, 3], 0, 0]);
});

test('a task that fails gives its place on', async () => {
  const queue = new BoundedQueue({ concurrency: 1, maxWaiting: 5, maxWaitMs: 60_000 });
  const failing = queue.run(() => Promise.reject(new Error('no')));
  const next = queue.run(() => Promise.resolve('yes'));
  assert.is(await failing.catch((error: Error) => error.message), 'no');
  assert.is(await next, 'yes');
  assert.is(queue.running, 0);
});

test('what waits too long is refused, and what is given up frees its place', async () => {
  const queue = new BoundedQueue({ concurrency: 1, maxWaiting: 1, maxWaitMs: 20 });
  let release = (): void => undefined;
  const holding = queue.run(
    () =>
      new Promise<void>((resolve) => {
        release = resolve;
      }),
  );
  assert.is(await codeOf(queue.run(() => Promise.resolve())), 'HKA_VERIFIER_BUSY');
  const abort = new AbortController();
  const given = queue.run(() => Promise.resolve(), abort.signal);
  abort.abort();
  assert.is(await codeOf(given), 'HKA_VERIFIER_BUSY');
  assert.is(queue.waiting, 0);
  release();
  await holding;
});

test('a new pepper is read back; everything else in its place is refused without being shown', async () => {
  assert.is(parsePepper('1', generatePepperText(), 'a file').id, '1');
  for (const text of [
    '',
    'canary',
    'hka-pepper-v1:',
    'hka-pepper-v1:Y2FuYXJ5',
    'hka-pepper-v1:not base64 canary!!',
    'hka-pepper-v2:' + 'A'.repeat(43),
  ]) {
    try {
      parsePepper('1', new Secret(text), 'a file');
      assert.unreachable();
    } catch (error) {
      assert.is((error as HkaError).code, 'HKA_PEPPER_UNREADABLE', text);
      assert.not.match((error as HkaError).message, 'canary');
    }
  }
  const version = parsePepper('1', generatePepperText(), 'a file');
  assert.is(await codeOf(() => new PepperRing([version], '2')), 'HKA_PEPPER_UNKNOWN');
});

test('a pepper of a pattern or a text is refused, whatever its length (HKA_PEPPER_WEAK)', async () => {
  const sentence = 'correct horse battery staple and then some more words';
  const weak = [
    Buffer.alloc(32),
    Buffer.alloc(64, 'ab'),
    Buffer.from(Array.from({ length: 32 }, (_, at) => at)),
    Buffer.from(Array.from({ length: 48 }, (_, at) => 200 - 3 * at)),
    Buffer.from(sentence),
    Buffer.alloc(64, randomBytes(16)),
  ];
  for (const bytes of weak) {
    const text = new Secret(`hka-pepper-v1:${bytes.toString('base64url')}`);
    const error = await codeOf(() => parsePepper('1', text, 'a file'));
    assert.is(error, 'HKA_PEPPER_WEAK', bytes.toString('latin1'));
  }
  for (let at = 0; at < 500; at += 1) parsePepper('1', generatePepperText(), 'a file');
  const hex = Buffer.from(randomBytes(32).toString('hex'));
  parsePepper('1', new Secret(`hka-pepper-v1:${hex.toString('base64url')}`), 'a file');
});

test('the check value is the same for the same pepper, another for another, and not a part of it', () => {
  const bytes = randomBytes(32);
  const { check } = pepperVersion('1', bytes);
  assert.match(check, /^[0-9a-f]{32}$/);
  assert.is(pepperVersion('2', Buffer.from(bytes)).check, check, 'a copy under another id is still known');
  assert.is.not(pepperVersion('1', randomBytes(32)).check, check);
  const { auditKey, idempotencyKey, macKey, indexKey } = pepperVersion('1', bytes);
  for (const key of [auditKey, idempotencyKey, macKey, indexKey])
    assert.not.match(key.export().toString('hex'), check);
});

test.run();
