import * as assert from 'uvu/assert';
import { Brake, type BrakeOptions } from '../../src/vault/brake.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('the brake');

/** When it is done, by one who tries every second. */
function timesDone(options: BrakeOptions, untilMs: number, brake = new Brake(options)): number[] {
  const times: number[] = [];
  for (let now = 0; now <= untilMs; now += 1000) {
    if (!brake.allows(now)) continue;
    brake.done(now);
    times.push(now / 1000);
  }
  return times;
}

const NEVER = { forgetMs: Infinity } as const;

test('a few times at once, then with pauses that double up to the longest', () => {
  assert.equal(
    timesDone({ free: 3, baseMs: 10_000, maxMs: 30_000, ...NEVER }, 120_000),
    [0, 1, 2, 12, 32, 62, 92],
  );
  assert.equal(timesDone({ free: 1, baseMs: 10_000, maxMs: 40_000, ...NEVER }, 80_000), [0, 10, 30, 70]);
});

test('all of it is taken back when it was of use, or long ago', () => {
  const brake = new Brake({ free: 1, baseMs: 10_000, maxMs: 10_000, forgetMs: 60_000 });
  brake.done(0);
  assert.not.ok(brake.allows(9999));
  brake.release();
  assert.ok(brake.allows(9999));
  const forgetful = { free: 2, baseMs: 10_000, maxMs: 10_000, forgetMs: 60_000 };
  const late = new Brake(forgetful);
  assert.equal(timesDone(forgetful, 5000, late), [0, 1]);
  late.done(61_001);
  assert.ok(late.allows(61_001), 'the second one at once, as at first');
});

test.run();
