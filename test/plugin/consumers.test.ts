/** For how long a consumer is known without asking Kong. */
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/lib/clock.ts';
import { ConsumerCache } from '../../src/plugin/consumers.ts';
import type { Kong } from '../../src/plugin/kong.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('consumers');

const DAY_MS = 86_400_000;

function counting(): { readonly kong: Kong; readonly asked: () => number } {
  let asked = 0;
  const load = (): Promise<object> => {
    asked += 1;
    return Promise.resolve({ id: 'a', username: 'alice' });
  };
  return { kong: { client: { load_consumer: load } } as unknown as Kong, asked: () => asked };
}

test('one is asked for again after its time, and after the clock was set back', async () => {
  const clock = new ManualClock();
  const cache = new ConsumerCache({ maxEntries: 10, ttlMs: 1000 }, clock);
  const { kong, asked } = counting();
  const look = async (): Promise<void> => {
    await cache.get(kong, { username: 'alice' });
    await cache.getByName(kong, 'alice');
  };
  await look();
  await look();
  assert.is(asked(), 2);
  clock.advance(1000);
  await look();
  assert.is(asked(), 4);
  clock.advance(-DAY_MS);
  await look();
  assert.is(asked(), 6);
});

test.run();
