import * as assert from 'uvu/assert';
import { HkaError, type ErrorCode } from '../../src/lib/errors.ts';
import { Secret } from '../../src/lib/secret.ts';
import { parseReference, type SecretReference } from '../../src/vault/reference.ts';
import { SecretData } from '../../src/vault/secret-data.ts';
import { SecretCache, type SecretCacheOptions } from '../../src/vault/secret-cache.ts';
import { suite } from '../helpers/suite.ts';
import { canary, failure, keepLog, ManualTime, type KeptLog } from './support.ts';

const test = suite('cache of secrets');

const OPTIONS: SecretCacheOptions = {
  freshMs: 30_000,
  revalidateMs: 300_000,
  staleIfErrorMs: 3_600_000,
  maxEntries: 100,
  previousMs: 0,
};
const OUTAGES: readonly ErrorCode[] = [
  'HKA_VAULT_UNAVAILABLE',
  'HKA_VAULT_SEALED',
  'HKA_VAULT_TIMEOUT',
  'HKA_VAULT_LOGIN',
  'HKA_VAULT_TLS',
];
const ANSWERS: readonly ErrorCode[] = [
  'HKA_VAULT_NOT_FOUND',
  'HKA_VAULT_FIELD_MISSING',
  'HKA_VAULT_FORBIDDEN',
  'HKA_VAULT_MALFORMED',
  'HKA_REFERENCE_INVALID',
];

const reference = parseReference('vault://secret/app#token');

function dataOf(token: string): SecretData {
  return new SecretData('vault://secret/app', new Map([['token', new Secret(token)]]));
}

const renew = (): Promise<never> => Promise.reject(new Error('nothing here has a lease'));

/** A cache in front of a store whose present state is `stored`: a value, or the code of the error that reading meets. */
class Harness {
  readonly time = new ManualTime();
  readonly log: KeptLog = keepLog();
  readonly cache: SecretCache;
  stored = 'one';
  reads = 0;
  /** While set, reads wait for it. */
  gate: Promise<void> | undefined;

  constructor(options: Partial<SecretCacheOptions> = {}) {
    this.cache = new SecretCache(
      { ...OPTIONS, ...options },
      {
        fetch: async () => {
          this.reads += 1;
          await this.gate;
          if (this.stored.startsWith('HKA_')) throw new HkaError(this.stored as ErrorCode, 'as told');
          return { data: dataOf(this.stored) };
        },
        renew,
        logger: this.log,
        clock: this.time,
        timers: this.time,
        random: () => 0.5,
      },
    );
  }

  /** The value, or the code of the error. */
  async get(which: SecretReference = reference): Promise<string> {
    try {
      return (await this.cache.get(which)).field('token').reveal();
    } catch (error) {
      return (error as HkaError).code;
    }
  }

  /** Whether the cache answers without waiting; what it answers. */
  at(which: SecretReference = reference): string | undefined {
    const value = this.cache.get(which);
    if (!(value instanceof Promise)) return value.field('token').reveal();
    value.catch(() => undefined);
    return undefined;
  }

  /** Lets everything go on that is not waiting for time. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  }

  pass(ms: number): Promise<void> {
    return this.time.pass(ms, () => this.settle());
  }

  /** Lives through `ms`, with a request every `everyMs` that must be answered with one of `allowed`. */
  async traffic(ms: number, everyMs: number, allowed: readonly string[]): Promise<string[]> {
    const seen: string[] = [];
    for (let passed = 0; passed < ms; passed += everyMs) {
      await this.pass(everyMs);
      const value = await this.get();
      assert.ok(allowed.includes(value), `after ${passed + everyMs} ms: ${value}`);
      seen.push(value);
    }
    return seen;
  }
}

test('the first caller waits, later ones have the value at once', async () => {
  const harness = new Harness();
  assert.is(harness.at(), undefined);
  await harness.settle();
  assert.is(harness.at(), 'one');
  assert.is(harness.reads, 1);
});

test('a hundred callers at once cause one read', async () => {
  const harness = new Harness();
  const values = await Promise.all(Array.from({ length: 100 }, () => harness.get()));
  assert.ok(values.every((value) => value === 'one'));
  assert.is(harness.reads, 1);
});

test('a hundred callers at once cause one read when it fails, too, and all get its error', async () => {
  const harness = new Harness();
  harness.stored = 'HKA_VAULT_NOT_FOUND';
  const values = await Promise.all(Array.from({ length: 100 }, () => harness.get()));
  assert.ok(values.every((value) => value === 'HKA_VAULT_NOT_FOUND'));
  assert.is(harness.reads, 1);
});

test('a route in use never waits again, and sees a rotation within the fresh time (R3)', async () => {
  const harness = new Harness();
  await harness.get();
  await harness.traffic(60_000, 100, ['one']);
  harness.stored = 'two';
  const rotatedAt = harness.time.now();
  let seenAt: number | undefined;
  while (seenAt === undefined) {
    await harness.pass(100);
    const value = harness.at();
    assert.ok(value !== undefined, 'had to wait');
    if (value === 'two') seenAt = harness.time.now();
  }
  assert.ok(seenAt - rotatedAt <= OPTIONS.freshMs, `${seenAt - rotatedAt} ms`);
});

test('reads in the background stay at about one in the fresh time, whatever the traffic', async () => {
  const harness = new Harness();
  await harness.get();
  await harness.traffic(3_600_000, 500, ['one']);
  const perHour = 3_600_000 / OPTIONS.freshMs;
  assert.ok(harness.reads >= perHour && harness.reads <= perHour * 1.4, `${harness.reads} reads`);
});

test('a value between fresh and revalidate is used once more while a new one is fetched', async () => {
  const harness = new Harness();
  await harness.get();
  harness.time.advance(299_000);
  harness.stored = 'two';
  assert.is(harness.at(), 'one');
  await harness.settle();
  assert.is(harness.at(), 'two');
});

test('an idle route does not serve a value older than the revalidate time: it waits for the new one', async () => {
  const harness = new Harness();
  await harness.get();
  harness.time.advance(300_000);
  harness.stored = 'two';
  assert.is(await harness.get(), 'two');
});

test('what is not in use any more is not read again, and forgotten in the end', async () => {
  const harness = new Harness();
  await harness.get();
  await harness.pass(OPTIONS.revalidateMs * 2);
  const reads = harness.reads;
  assert.ok(reads <= 1 + OPTIONS.revalidateMs / (OPTIONS.freshMs * 0.7), `${reads} reads`);
  await harness.pass(OPTIONS.staleIfErrorMs * 2);
  assert.is(harness.reads, reads);
  assert.equal(harness.cache.ages(), []);
  assert.is(harness.time.pending, 0);
});

for (const code of OUTAGES) {
  test(`${code}: the good value is used up to the stated bound, and not a moment longer`, async () => {
    const harness = new Harness();
    await harness.get();
    harness.stored = code;
    await harness.traffic(OPTIONS.staleIfErrorMs - 60_000, 5000, ['one']);
    // The background refreshed it until the outage began, so its age is what was passed.
    const age = (harness.cache.ages()[0]?.ageSeconds ?? 0) * 1000;
    harness.time.advance(OPTIONS.staleIfErrorMs - age - 1);
    assert.is(await harness.get(), 'one');
    harness.time.advance(1);
    assert.is(await harness.get(), code);
    harness.stored = 'two';
    await harness.traffic(120_000, 1000, [code, 'two']);
    assert.is(await harness.get(), 'two');
  });

  test(`${code} with nothing in memory is the caller's error, at once while the next attempt is waited for`, async () => {
    const harness = new Harness();
    harness.stored = code;
    assert.is(await harness.get(), code);
    let thrown: unknown;
    try {
      void harness.cache.get(reference);
    } catch (error) {
      thrown = error;
    }
    assert.is((thrown as HkaError).code, code);
    assert.is(harness.reads, 1);
  });
}

for (const code of ANSWERS) {
  test(`${code} ends a good value at once: it is never served again`, async () => {
    const harness = new Harness();
    await harness.get();
    harness.stored = code;
    harness.time.advance(31_000);
    // This one may still have the old value: Vault has not answered yet.
    assert.is(harness.at(), 'one');
    await harness.settle();
    assert.is(await harness.get(), code);
    await harness.traffic(600_000, 1000, [code]);
    harness.stored = 'two';
    await harness.traffic(31_000, 1000, [code, 'two']);
    assert.is(await harness.get(), 'two');
  });

  test(`${code} is not forgotten in an outage that follows`, async () => {
    const harness = new Harness();
    await harness.get();
    harness.stored = code;
    harness.time.advance(31_000);
    harness.at();
    await harness.settle();
    harness.stored = 'HKA_VAULT_UNAVAILABLE';
    await harness.traffic(120_000, 1000, [code, 'HKA_VAULT_UNAVAILABLE']);
  });
}

test('with a stale-if-error of 0, an outage is seen as soon as the value is no longer fresh', async () => {
  const harness = new Harness({ staleIfErrorMs: 0 });
  await harness.get();
  harness.stored = 'HKA_VAULT_UNAVAILABLE';
  await harness.traffic(29_000, 1000, ['one']);
  harness.time.advance(1000);
  assert.is(await harness.get(), 'HKA_VAULT_UNAVAILABLE');
});

test('an outage that begins in the revalidate time is told as such once it is known', async () => {
  const harness = new Harness({ staleIfErrorMs: 60_000 });
  await harness.get();
  harness.stored = 'HKA_VAULT_SEALED';
  harness.time.advance(200_000);
  assert.is(harness.at(), 'one', 'nobody has asked Vault yet');
  await harness.settle();
  assert.is(await harness.get(), 'HKA_VAULT_SEALED');
});

test('a dead Vault is asked once in each delay, which grows to 30 s, whatever the traffic', async () => {
  const harness = new Harness();
  harness.stored = 'HKA_VAULT_UNAVAILABLE';
  await harness.traffic(600_000, 10, ['HKA_VAULT_UNAVAILABLE']);
  // Delays of 0.75, 1.5, 3, 6, 12 and then 22.5 s.
  assert.ok(harness.reads >= 20 && harness.reads <= 45, `${harness.reads} reads in ten minutes`);
});

test('many references together do not ask a dead Vault more often than one', async () => {
  const harness = new Harness();
  const all = Array.from({ length: 50 }, (_, index) => parseReference(`vault://secret/app-${index}#token`));
  for (const each of all) assert.is(await harness.get(each), 'one');
  harness.stored = 'HKA_VAULT_UNAVAILABLE';
  const before = harness.reads;
  for (let second = 0; second < 600; second += 1) {
    await harness.pass(1000);
    for (const each of all) assert.is(await harness.get(each), 'one');
  }
  assert.ok(harness.reads - before <= 45 + all.length, `${harness.reads - before} reads in ten minutes`);
});

test('an answer is asked for again with growing delays, up to 30 s', async () => {
  const harness = new Harness();
  harness.stored = 'HKA_VAULT_FORBIDDEN';
  await harness.traffic(600_000, 100, ['HKA_VAULT_FORBIDDEN']);
  assert.ok(harness.reads >= 20 && harness.reads <= 45, `${harness.reads} reads in ten minutes`);
});

test('a refused reference does not keep others from being read', async () => {
  const harness = new Harness();
  harness.stored = 'HKA_VAULT_NOT_FOUND';
  assert.is(await harness.get(), 'HKA_VAULT_NOT_FOUND');
  harness.stored = 'other';
  assert.is(await harness.get(parseReference('vault://secret/other#token')), 'other');
});

test('a Vault that is known to be back is asked at once', async () => {
  const harness = new Harness();
  harness.stored = 'HKA_VAULT_LOGIN';
  assert.is(await harness.get(), 'HKA_VAULT_LOGIN');
  harness.stored = 'one';
  assert.is(await harness.get(), 'HKA_VAULT_LOGIN');
  harness.cache.vaultIsBack();
  assert.is(await harness.get(), 'one');
});

test('Retry-After is waited for', async () => {
  const time = new ManualTime();
  let reads = 0;
  const cache = new SecretCache(OPTIONS, {
    fetch: () => {
      reads += 1;
      return Promise.reject(
        new HkaError('HKA_VAULT_UNAVAILABLE', 'busy', { details: { retryAfterMs: 20_000 } }),
      );
    },
    renew,
    logger: keepLog(),
    clock: time,
    timers: time,
    random: () => 0,
  });
  await failure(() => cache.get(reference));
  time.advance(19_999);
  await failure(() => cache.get(reference));
  assert.is(reads, 1);
  time.advance(1);
  await failure(() => cache.get(reference));
  assert.is(reads, 2);
});

test('while one caller tries a Vault that may be back, others keep the old value and do not wait', async () => {
  const harness = new Harness();
  await harness.get();
  harness.stored = 'HKA_VAULT_UNAVAILABLE';
  harness.time.advance(400_000);
  assert.is(await harness.get(), 'one');
  harness.time.advance(30_000);
  let open: () => void = () => undefined;
  harness.gate = new Promise((done) => (open = done));
  const other = parseReference('vault://secret/other#token');
  const trying = harness.get(other);
  assert.is(harness.at(), 'one');
  open();
  assert.is(await trying, 'HKA_VAULT_UNAVAILABLE');
});

test('a clock that is set back makes no value younger: it is read again', async () => {
  const harness = new Harness();
  await harness.get();
  harness.time.advance(-3_600_000);
  harness.stored = 'two';
  assert.is(await harness.get(), 'two');
});

test('the number of entries is bounded, and what is pushed out keeps no timer', async () => {
  const harness = new Harness({ maxEntries: 3 });
  for (let index = 0; index < 10; index += 1) {
    await harness.get(parseReference(`vault://secret/app-${index}#token`));
  }
  assert.is(harness.cache.ages().length, 3);
  assert.is(harness.time.pending, 3);
});

test('ages tell reference, age and last error, never a value', async () => {
  const harness = new Harness();
  harness.stored = canary('value');
  await harness.get();
  harness.time.advance(5000);
  assert.equal(harness.cache.ages(), [
    { reference: 'vault://secret/app', pattern: 'vault://secret/app', ageSeconds: 5 },
  ]);
  assert.not.match(JSON.stringify(harness.cache.ages()) + harness.log.text(), /canary/);
});

test('an outage is logged once, and its end once', async () => {
  const harness = new Harness();
  await harness.get();
  harness.stored = 'HKA_VAULT_UNAVAILABLE';
  await harness.traffic(300_000, 1000, ['one']);
  harness.stored = 'two';
  await harness.traffic(60_000, 1000, ['one', 'two']);
  assert.is(harness.log.count('the secret could not be read'), 1);
  assert.is(harness.log.count('can be read again'), 1);
});

test('a closed cache has forgotten everything and refuses', async () => {
  const harness = new Harness();
  await harness.get();
  harness.cache.close();
  assert.is((await failure(() => harness.cache.get(reference))).code, 'HKA_DRAINING');
  assert.equal(harness.cache.ages(), []);
  assert.is(harness.time.pending, 0);
});

test('a read that ends after closing leaves nothing behind', async () => {
  const harness = new Harness();
  let open: () => void = () => undefined;
  harness.gate = new Promise((done) => (open = done));
  const pending = harness.get();
  harness.cache.close();
  open();
  await pending;
  assert.is(harness.time.pending, 0);
  assert.equal(harness.cache.ages(), []);
});

test.run();
