/** Secrets under leases, in faked time: renewed and replaced ahead of their end, whatever Vault does meanwhile (R3). */
import * as assert from 'uvu/assert';
import { HkaError, type ErrorCode } from '../../src/lib/errors.ts';
import { Secret } from '../../src/lib/secret.ts';
import { parsePattern } from '../../src/vault/reference.ts';
import { SecretData } from '../../src/vault/secret-data.ts';
import { SecretCache, type SecretCacheOptions } from '../../src/vault/secret-cache.ts';
import { suite } from '../helpers/suite.ts';
import { failure, keepLog, ManualTime } from './support.ts';

const test = suite('leased secrets in the cache');

const reference = parsePattern('vault://database/creds/app').for(undefined);
const OPTIONS: SecretCacheOptions = {
  freshMs: 30_000,
  revalidateMs: 300_000,
  staleIfErrorMs: 3_600_000,
  maxEntries: 100,
  previousMs: 300_000,
};
const HOUR = 3_600_000;

/** An engine that makes credentials under leases, and says of any of them until when it is good. */
class Engine {
  readonly time = new ManualTime();
  readonly log = keepLog();
  readonly cache: SecretCache;
  ttlMs = HOUR;
  maxTtlMs = 24 * HOUR;
  renewable = true;
  /** Until when the token is good that everything is leased under. */
  tokenUntil = Infinity;
  fault: ErrorCode | undefined;
  made = 0;
  renewals = 0;
  readonly #leases = new Map<string, { until: number; madeAt: number }>();

  constructor(options: Partial<SecretCacheOptions> = {}) {
    this.cache = new SecretCache(
      { ...OPTIONS, ...options },
      {
        fetch: async () => {
          await Promise.resolve();
          this.#fail();
          this.made += 1;
          const id = `lease-${this.made}`;
          this.#leases.set(id, { until: this.time.now() + this.ttlMs, madeAt: this.time.now() });
          return {
            data: new SecretData(
              'vault://database/creds/app',
              new Map([
                ['username', new Secret(`user-${this.made}`)],
                ['password', new Secret(`password-${this.made}`)],
              ]),
            ),
            lease: {
              id: new Secret(id),
              ttlMs: this.ttlMs,
              renewable: this.renewable,
              tokenEnd: () => this.tokenUntil,
            },
          };
        },
        renew: async (_reference, lease) => {
          await Promise.resolve();
          this.#fail();
          this.renewals += 1;
          const known = this.#leases.get(lease.id.reveal());
          if (known === undefined || known.until <= this.time.now()) {
            throw new HkaError('HKA_VAULT_MALFORMED', 'lease not found');
          }
          known.until = Math.min(this.time.now() + this.ttlMs, known.madeAt + this.maxTtlMs);
          return { ...lease, ttlMs: known.until - this.time.now() };
        },
        logger: this.log,
        clock: this.time,
        timers: this.time,
        random: () => 0.5,
      },
    );
  }

  #fail(): void {
    if (this.fault !== undefined) throw new HkaError(this.fault, 'as told');
  }

  revoke(number: number): void {
    this.#leases.delete(`lease-${number}`);
  }

  /** The number of the credentials that are given out, after seeing that they are one pair and good; else the error's code. */
  async use(): Promise<number | string> {
    try {
      const data = await this.cache.get(reference, ['username', 'password']);
      const number = Number(data.field('username').reveal().slice('user-'.length));
      assert.is(
        data.field('password').reveal(),
        `password-${number}`,
        'user name and password are of one lease',
      );
      const until = Math.min(this.#leases.get(`lease-${number}`)?.until ?? -Infinity, this.tokenUntil);
      assert.ok(this.time.now() < until, `credentials ${number} are given out after their lease has ended`);
      return number;
    } catch (error) {
      if (error instanceof HkaError) return error.code;
      throw error;
    }
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < 30; turn += 1) await Promise.resolve();
  }

  /** Lives through `ms` with a use every `everyMs`; what was given out, each once in a row. */
  async traffic(ms: number, everyMs: number): Promise<(number | string)[]> {
    const seen: (number | string)[] = [];
    for (let passed = 0; passed < ms; passed += everyMs) {
      await this.time.pass(everyMs, () => this.settle());
      const got = await this.use();
      if (seen.at(-1) !== got) seen.push(got);
    }
    return seen;
  }
}

test('credentials in use are renewed ahead of their end and stay the same up to the maximum', async () => {
  const engine = new Engine();
  assert.is(await engine.use(), 1);
  assert.equal(await engine.traffic(20 * HOUR, 60_000), [1]);
  assert.is(engine.made, 1);
  assert.ok(engine.renewals >= 20 && engine.renewals <= 40, `${engine.renewals} renewals in 20 hours of one`);
});

test('beyond the maximum they are replaced before they end, with no use without credentials', async () => {
  const engine = new Engine();
  await engine.use();
  assert.equal(await engine.traffic(72 * HOUR, 60_000), [1, 2, 3, 4]);
});

test('what cannot be renewed is replaced before it ends', async () => {
  const engine = new Engine();
  engine.renewable = false;
  await engine.use();
  const seen = await engine.traffic(6 * HOUR, 10_000);
  assert.ok(
    seen.every((got, index) => got === index + 1),
    'one pair after the other, never an error',
  );
  assert.is(engine.renewals, 0);
  assert.ok(engine.made >= 8 && engine.made <= 14, `${engine.made} made in six hours of one`);
});

test('short leases make no flood: one renewal or replacement for each part of the lease', async () => {
  const engine = new Engine();
  engine.ttlMs = 5000;
  engine.maxTtlMs = 20_000;
  await engine.use();
  await engine.traffic(HOUR, 100);
  const calls = engine.made + engine.renewals;
  assert.ok(calls < (HOUR / 5000) * 3, `${calls} calls in an hour of 720 leases`);
});

test('a lease that Vault has ended is replaced at the next renewal', async () => {
  const engine = new Engine();
  await engine.use();
  // The engine would answer an error to whoever used it: so no use in between.
  engine.revoke(1);
  engine.cache.leasesLost();
  assert.is(await engine.use(), 2);
});

for (const fault of [
  'HKA_VAULT_UNAVAILABLE',
  'HKA_VAULT_SEALED',
  'HKA_VAULT_TIMEOUT',
  'HKA_VAULT_LOGIN',
] as const) {
  test(`an outage (${fault}): credentials are used to the end of their lease, never beyond, and are back with Vault`, async () => {
    const engine = new Engine();
    await engine.use();
    engine.fault = fault;
    const during = await engine.traffic(2 * HOUR, 1000);
    assert.equal(during, [1, fault]);
    engine.fault = undefined;
    const after = await engine.traffic(120_000, 1000);
    assert.is(after.at(-1), 2);
  });

  test(`an outage (${fault}) shorter than the lease is not noticed`, async () => {
    const engine = new Engine();
    await engine.use();
    await engine.traffic(1_800_000, 1000);
    engine.fault = fault;
    assert.equal(await engine.traffic(900_000, 1000), [1]);
    engine.fault = undefined;
    assert.equal(await engine.traffic(4 * HOUR, 10_000), [1]);
  });
}

test('in an outage credentials end with the token that they were made with, though their lease would last longer', async () => {
  const engine = new Engine();
  engine.tokenUntil = engine.time.now() + 2 * HOUR;
  assert.is(await engine.use(), 1);
  assert.equal(await engine.traffic(1.75 * HOUR, 10_000), [1], 'renewed by now');
  engine.fault = 'HKA_VAULT_UNAVAILABLE';
  const during = await engine.traffic(HOUR / 2, 10_000);
  assert.equal(during, [1, 'HKA_VAULT_UNAVAILABLE']);
  assert.is(engine.cache.ages()[0]?.leaseSeconds ?? 0, 0);
  engine.fault = undefined;
  engine.tokenUntil = Infinity;
  const after = await engine.traffic(120_000, 1000);
  assert.is(after.at(-1), 2);
});

test('during an outage the renewals back off', async () => {
  const engine = new Engine();
  await engine.use();
  let asked = 0;
  engine.fault = 'HKA_VAULT_UNAVAILABLE';
  const text = (): number => engine.log.count('a lease could not be renewed');
  await engine.traffic(HOUR, 1000);
  asked = text();
  assert.ok(asked > 1 && asked < 40, `${asked} attempts`);
});

test('credentials that nobody uses run out, and whoever comes later gets new ones', async () => {
  const engine = new Engine();
  await engine.use();
  await engine.time.pass(5 * HOUR, () => engine.settle());
  assert.is(engine.renewals, 0);
  assert.is(engine.made, 1);
  assert.is(engine.time.pending, 0, 'nothing of them is left');
  assert.is(await engine.use(), 2);
});

test('a hundred callers at once share one lease', async () => {
  const engine = new Engine();
  const all = await Promise.all(Array.from({ length: 100 }, () => engine.use()));
  assert.equal(new Set(all), new Set([1]));
  assert.is(engine.made, 1);
});

test('before the token they hang on is revoked, those in use are replaced and the idle ones forgotten', async () => {
  const engine = new Engine();
  await engine.use();
  assert.is(
    await engine.cache.replaceLeased(engine.time.now() + HOUR),
    30_000,
    'time for requests in flight',
  );
  assert.is(await engine.use(), 2);
  await engine.time.pass(400_000, () => engine.settle());
  assert.is(await engine.cache.replaceLeased(engine.time.now() + HOUR), 0);
  assert.is(engine.made, 2);
  assert.is(await engine.use(), 3);
});

test('while they cannot be replaced, the token may not be revoked, and they end with it', async () => {
  const engine = new Engine();
  await engine.use();
  engine.fault = 'HKA_VAULT_UNAVAILABLE';
  assert.is(await engine.cache.replaceLeased(engine.time.now() + 600_000), undefined);
  assert.is(await engine.use(), 1);
  await engine.time.pass(600_000, () => engine.settle());
  assert.is(await engine.use(), 'HKA_VAULT_UNAVAILABLE');
});

test('an answer that the role is gone ends the credentials at once', async () => {
  const engine = new Engine();
  engine.renewable = false;
  await engine.use();
  engine.fault = 'HKA_VAULT_NOT_FOUND';
  const seen = await engine.traffic(HOUR, 1000);
  assert.equal(seen, [1, 'HKA_VAULT_NOT_FOUND']);
});

test('ages tell how long a lease lasts, and never its id', async () => {
  const engine = new Engine();
  await engine.use();
  const [age] = engine.cache.ages();
  assert.is(age?.leaseSeconds, 3540);
  assert.not.match(JSON.stringify(engine.cache.ages()) + engine.log.text(), /lease-1|password-1|user-1/);
});

test('a clock that is set back ends what is leased: how long it lasts cannot be told any more', async () => {
  const engine = new Engine();
  await engine.use();
  engine.time.advance(-10_000);
  const data = engine.cache.get(reference);
  assert.instance(data, Promise);
  assert.is((await data).field('username').reveal(), 'user-2');
});

test('a password that Vault replaces by itself is read again right after that', async () => {
  const time = new ManualTime();
  let password = 1;
  let reads = 0;
  const cache = new SecretCache(OPTIONS, {
    fetch: () => {
      reads += 1;
      return Promise.resolve({
        data: new SecretData('x', new Map([['password', new Secret(String(password))]])),
        changesInMs: 10_000,
      });
    },
    renew: () => Promise.reject(new Error('has no lease')),
    logger: keepLog(),
    clock: time,
    timers: time,
    random: () => 0.5,
  });
  const use = async (): Promise<string> => (await cache.get(reference)).field('password').reveal();
  assert.is(await use(), '1');
  time.advance(9_000);
  assert.is(await use(), '1');
  assert.is(reads, 1);
  time.advance(1_000);
  password = 2;
  await time.pass(600, async () => {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  });
  assert.is(reads, 2);
  assert.is(await use(), '2');
});

test('a closed cache renews nothing', async () => {
  const engine = new Engine();
  await engine.use();
  engine.cache.close();
  await engine.time.pass(5 * HOUR, () => engine.settle());
  assert.is(engine.renewals, 0);
  assert.is((await failure(() => engine.cache.get(reference))).code, 'HKA_DRAINING');
});

test.run();
