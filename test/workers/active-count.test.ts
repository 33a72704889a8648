/** How many workers take connections: one while it keeps up, more under load, fewer again after a calm time. */
import * as assert from 'uvu/assert';
import { ActiveCount, activeLimit } from '../../src/workers/active-count.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('active workers');

function beats(count: ActiveCount, shares: readonly number[], from: number, seconds: number): void {
  for (let at = 0; at < seconds * 2; at += 1) count.beat(shares, from + at * 500);
}

test('one that keeps up stays alone', () => {
  const count = new ActiveCount(1, 4);
  beats(count, [0.7], 0, 600);
  assert.is(count.wanted, 1);
});

test('a short peak changes nothing', () => {
  const count = new ActiveCount(1, 4);
  for (let round = 0; round < 20; round += 1) {
    beats(count, [1], round * 2000, 1);
    beats(count, [0.2], round * 2000 + 1000, 1);
  }
  assert.is(count.wanted, 1);
});

test('one that does not keep up gets help, never more than there are', () => {
  const count = new ActiveCount(1, 3);
  beats(count, [0.95], 0, 1.5);
  assert.is(count.wanted, 2);
  beats(count, [0.9, 0.9], 2000, 1.5);
  assert.is(count.wanted, 3);
  beats(count, [1, 1, 1], 4000, 60);
  assert.is(count.wanted, 3);
});

test('help goes after half a calm minute, one at a time, and only where the others have room', () => {
  const count = new ActiveCount(1, 3);
  beats(count, [1], 0, 1.5);
  beats(count, [1, 1], 1500, 1.5);
  assert.is(count.wanted, 3);
  beats(count, [0.35, 0.35, 0.35], 3000, 120);
  assert.is(count.wanted, 3, 'two would be at more than half of a core');
  beats(count, [0.1, 0.1, 0.1], 123_000, 29);
  assert.is(count.wanted, 3);
  beats(count, [0.1, 0.1, 0.1], 152_000, 2);
  assert.is(count.wanted, 2);
  beats(count, [0.1, 0.1], 154_000, 31);
  assert.is(count.wanted, 1);
});

test('so many as are asked for stay, but not more than there are', () => {
  const count = new ActiveCount(2, 3);
  beats(count, [0, 0], 0, 300);
  assert.is(count.wanted, 2);
  assert.is(new ActiveCount(8, 3).wanted, 3);
});

test('no more take connections than half the cores, unless more are asked for, and never more than there are', () => {
  assert.is(activeLimit(2, 1, 1), 1);
  assert.is(activeLimit(2, 1, 2), 1);
  assert.is(activeLimit(4, 1, 4), 2);
  assert.is(activeLimit(4, 1, 64), 4);
  assert.is(activeLimit(4, 3, 2), 3);
  assert.is(activeLimit(2, 8, 4), 2);
});

test.run();
