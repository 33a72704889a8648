/** A rotation with no gap: the value before the last change, for an upstream that does not know the new one yet (R3). */
import * as assert from 'uvu/assert';
import { Secret } from '../../src/lib/secret.ts';
import { parseReference } from '../../src/vault/reference.ts';
import { SecretData } from '../../src/vault/secret-data.ts';
import { SecretCache } from '../../src/vault/secret-cache.ts';
import { suite } from '../helpers/suite.ts';
import { canary, keepLog, ManualTime } from './support.ts';

const test = suite('the previous value of a secret');

const reference = parseReference('vault://secret/app#token');

class Harness {
  readonly time = new ManualTime();
  readonly log = keepLog();
  readonly cache: SecretCache;
  stored = 'one';

  constructor(previousMs = 60_000) {
    this.cache = new SecretCache(
      { freshMs: 1000, revalidateMs: 0, staleIfErrorMs: 0, maxEntries: 10, previousMs },
      {
        fetch: () =>
          Promise.resolve({
            data: new SecretData('vault://secret/app', new Map([['token', new Secret(this.stored)]])),
          }),
        renew: () => Promise.reject(new Error('has no lease')),
        logger: this.log,
        clock: this.time,
        timers: this.time,
        random: () => 0.5,
      },
    );
  }

  get(): Promise<SecretData> {
    return Promise.resolve(this.cache.get(reference));
  }

  async value(): Promise<string> {
    return (await this.get()).field('token').reveal();
  }

  /** A new version is stored and seen. */
  async rotate(value: string): Promise<SecretData> {
    this.stored = value;
    this.time.advance(1000);
    return await this.get();
  }
}

test('a new version is used as soon as it is seen', async () => {
  const harness = new Harness();
  assert.is(await harness.value(), 'one');
  assert.is((await harness.rotate('two')).field('token').reveal(), 'two');
});

test('refused by the upstream, the new value gives way to the previous one, and an alert is raised', async () => {
  const harness = new Harness();
  await harness.get();
  const two = await harness.rotate('two');
  assert.is(harness.cache.refused(reference, two.generation), 'previous');
  assert.is(await harness.value(), 'one');
  assert.is(harness.log.count('the upstream refuses the new value'), 1);
  assert.is(harness.cache.ages()[0]?.previousInUse, true);
});

test('a refusal of the value before the change says nothing about the new one', async () => {
  const harness = new Harness();
  const one = await harness.get();
  await harness.rotate('two');
  assert.is(harness.cache.refused(reference, one.generation), 'ignored');
  assert.is(await harness.value(), 'two');
});

test('when the previous value is refused as well, the new one is used, and there is no way back', async () => {
  const harness = new Harness();
  const one = await harness.get();
  const two = await harness.rotate('two');
  harness.cache.refused(reference, two.generation);
  assert.is((await harness.get()).generation, one.generation);
  assert.is(harness.cache.refused(reference, one.generation), 'current');
  assert.is(await harness.value(), 'two');
  assert.is(harness.cache.refused(reference, two.generation), 'ignored');
  assert.is(await harness.value(), 'two');
});

test('the previous value ends with the stated time', async () => {
  const harness = new Harness(5000);
  await harness.get();
  const two = await harness.rotate('two');
  harness.cache.refused(reference, two.generation);
  for (let passed = 0; passed < 4000; passed += 1000) {
    assert.is(await harness.value(), 'one');
    harness.time.advance(1000);
  }
  harness.time.advance(1000);
  assert.is(await harness.value(), 'two');
  assert.is(harness.cache.refused(reference, two.generation), 'ignored');
});

test('a further change is used at once', async () => {
  const harness = new Harness();
  await harness.get();
  const two = await harness.rotate('two');
  harness.cache.refused(reference, two.generation);
  assert.is((await harness.rotate('three')).field('token').reveal(), 'three');
});

test('without a change there is nothing to go back to, and with a time of 0 never', async () => {
  const harness = new Harness();
  const one = await harness.get();
  harness.time.advance(5000);
  await harness.get();
  assert.is((await harness.get()).generation, one.generation, 'read again, it is the same');
  assert.is(harness.cache.refused(reference, one.generation), 'ignored');
  const none = new Harness(0);
  await none.get();
  const two = await none.rotate('two');
  assert.is(none.cache.refused(reference, two.generation), 'ignored');
});

test('nothing of the values is shown', async () => {
  const harness = new Harness();
  harness.stored = canary('old');
  await harness.get();
  const two = await harness.rotate(canary('new'));
  harness.cache.refused(reference, two.generation);
  assert.not.match(harness.log.text() + JSON.stringify(harness.cache.ages()), /canary/);
});

test.run();
