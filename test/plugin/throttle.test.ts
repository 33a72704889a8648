import * as assert from 'uvu/assert';
import { Ending } from '../../src/lib/abortable.ts';
import { ManualClock } from '../../src/lib/clock.ts';
import { Buckets } from '../../src/lib/buckets.ts';
import { GuessThrottle, heldBackMs } from '../../src/plugin/throttle.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('throttling of guesses');

const OPTIONS = {
  enabled: true,
  addressBurst: 5,
  addressPerSecond: 2,
  keyIdBurst: 3,
  keyIdPerSecond: 1,
  delayMs: 20,
  maxDelayed: 2,
  maxEntries: 100,
};

/** Whether one more guess would be looked at; leaves things as they are. */
function mayGuess(throttle: GuessThrottle, address: string): boolean {
  const may = throttle.takeGuess(address);
  if (may) throttle.giveBack(address);
  return may;
}

const failures = (throttle: GuessThrottle, count: number, address: string, keyId?: string): number =>
  Array.from({ length: count }, () => throttle.failed(address, keyId)).filter((wait) => wait === undefined)
    .length;

test('so many failures as the burst, then so many a second as are said', () => {
  const clock = new ManualClock();
  const throttle = new GuessThrottle(OPTIONS, clock);
  assert.is(failures(throttle, 10, '192.0.2.1'), 5);
  assert.not.ok(mayGuess(throttle, '192.0.2.1'));
  clock.advance(1000);
  assert.ok(mayGuess(throttle, '192.0.2.1'));
  assert.is(failures(throttle, 10, '192.0.2.1'), 2);
  clock.advance(3_600_000);
  assert.is(failures(throttle, 10, '192.0.2.1'), 5);
  assert.is(throttle.throttled, 5 + 8 + 5);
});

test('one address does not use up what another has', () => {
  const throttle = new GuessThrottle(OPTIONS, new ManualClock());
  failures(throttle, 10, '192.0.2.1');
  assert.ok(mayGuess(throttle, '192.0.2.2'));
  assert.is(failures(throttle, 10, '192.0.2.2'), 5);
});

test('an IPv6 client is its /64, however it is written', () => {
  const throttle = new GuessThrottle(OPTIONS, new ManualClock());
  failures(throttle, 10, '2001:db8:0:1::7');
  assert.not.ok(mayGuess(throttle, '2001:DB8:0:1:ffff:0:0:1'));
  assert.ok(mayGuess(throttle, '2001:db8:0:2::7'));
  failures(throttle, 10, '::1');
  assert.not.ok(mayGuess(throttle, '::2'));
});

test('IPv4 clients behind an IPv6 listener are told apart', () => {
  const throttle = new GuessThrottle(OPTIONS, new ManualClock());
  failures(throttle, 10, '::ffff:203.0.113.66');
  assert.not.ok(mayGuess(throttle, '203.0.113.66'));
  assert.ok(mayGuess(throttle, '::ffff:198.51.100.7'));
});

test('guesses at the same time are counted before any of them has failed', () => {
  const throttle = new GuessThrottle(OPTIONS, new ManualClock());
  const taken = Array.from({ length: 100 }, () => throttle.takeGuess('192.0.2.1')).filter(Boolean);
  assert.is(taken.length, 5);
  throttle.giveBack('192.0.2.1');
  assert.ok(throttle.takeGuess('192.0.2.1'));
});

test('wrong secrets under one key id are counted whatever the address', () => {
  const throttle = new GuessThrottle(OPTIONS, new ManualClock());
  const usual = Array.from({ length: 10 }, (_, index) => throttle.failed(`192.0.2.${index}`, 'id')).filter(
    (wait) => wait === undefined,
  );
  assert.is(usual.length, 3);
  assert.ok(mayGuess(throttle, '192.0.2.9'), 'the address is not to blame');
});

test('switched off it counts nothing', () => {
  const throttle = new GuessThrottle({ ...OPTIONS, enabled: false }, new ManualClock());
  assert.is(failures(throttle, 100, '192.0.2.1', 'id'), 100);
  assert.ok(mayGuess(throttle, '192.0.2.1'));
});

/** Good requests, and a flood many times as large. */
function flood(throttle: GuessThrottle): void {
  for (let count = 0; count < 20; count += 1) throttle.admitted();
  failures(throttle, 200, '192.0.2.1');
}

test('in a flood answers are held back, but never more than so many, and none whose event has ended', async () => {
  const throttle = new GuessThrottle({ ...OPTIONS, delayMs: 3_600_000 }, new ManualClock());
  flood(throttle);
  assert.ok(throttle.holdsBack);
  const ends = [new Ending(), new Ending()];
  const held = ends.map((end) => throttle.holdBack(end));
  assert.is(throttle.delayed, 2);
  assert.not.ok(throttle.holdsBack);
  for (const end of ends) end.end(new Error('the client is gone'));
  await Promise.all(held);
  assert.is(throttle.delayed, 0);
});

test('no answer is held back for longer than is configured while few are, nor beyond two seconds', () => {
  for (const random of [0, 0.5, 0.999]) {
    for (const [delayMs, held, longest] of [
      [4000, 1, 4000],
      [4000, 1000, 4000],
      [200, 50, 200],
      [200, 1000, 2000],
    ] as const) {
      const ms = heldBackMs(delayMs, held, random);
      assert.ok(ms >= longest / 2 && ms <= longest, `${delayMs} ms, ${held} held: ${ms}`);
    }
  }
});

test('ten times as many connections that guess get no more answers in a second', () => {
  const answersPerSecond = (held: number): number => held / (heldBackMs(200, held, 0.5) / 1000);
  assert.ok(Math.abs(answersPerSecond(50) - answersPerSecond(500)) < 1);
});

test('nothing is held back where no good request is in the way, or as many are good as bad', () => {
  const never = { ...OPTIONS, delayMs: 3_600_000 };
  const alone = new GuessThrottle(never, new ManualClock());
  failures(alone, 10_000, '192.0.2.1');
  assert.not.ok(alone.holdsBack);
  const mixed = new GuessThrottle(never, new ManualClock());
  for (let count = 0; count < 5000; count += 1) mixed.admitted();
  failures(mixed, 5000, '192.0.2.1');
  assert.not.ok(mixed.holdsBack);
});

test('a busy key that is revoked is no flood: its refusals are not held back', () => {
  const clock = new ManualClock();
  const throttle = new GuessThrottle({ ...OPTIONS, delayMs: 3_600_000 }, clock);
  const TICK_MS = 10;
  for (let tick = 0; tick < 500; tick += 1) {
    for (let count = 0; count < 20; count += 1) throttle.admitted();
    clock.advance(TICK_MS);
  }
  for (let tick = 0; tick < 100; tick += 1) {
    failures(throttle, 20, '192.0.2.1');
    assert.not.ok(throttle.holdsBack);
    clock.advance(TICK_MS);
  }
});

test('a flood of ten times the good requests is told by its first hundredth of a second', () => {
  const clock = new ManualClock();
  const throttle = new GuessThrottle({ ...OPTIONS, delayMs: 3_600_000 }, clock);
  for (let good = 0; good < 2500; good += 1) {
    throttle.admitted();
    clock.advance(2);
  }
  let bad = 0;
  for (; !throttle.holdsBack && bad < 1000; bad += 1) {
    if (bad % 10 === 0) throttle.admitted();
    failures(throttle, 1, '192.0.2.1');
    clock.advance(0.2);
  }
  assert.ok(bad <= 50, `held back after ${bad} failures`);
});

test('a flood that is held back goes on being one: that fewer answers are given is not its end', async () => {
  const clock = new ManualClock();
  const throttle = new GuessThrottle({ ...OPTIONS, maxDelayed: 100, delayMs: 3_600_000 }, clock);
  throttle.admitted();
  failures(throttle, 200, '192.0.2.1');
  const ends: Ending[] = [];
  const held: Promise<void>[] = [];
  const hold = (): void => {
    const end = new Ending();
    ends.push(end);
    held.push(throttle.holdBack(end));
  };
  for (let connection = 0; connection < 16; connection += 1) hold();
  // Ten seconds of sixteen connections, each of which gets an answer in a second and asks again.
  for (let step = 0; step < 160; step += 1) {
    clock.advance(62);
    throttle.admitted();
    ends.shift()?.end(new Error('answered'));
    failures(throttle, 1, '192.0.2.1');
    assert.ok(throttle.holdsBack, `after ${step} answers`);
    assert.ok(throttle.isFlooded, `after ${step} answers`);
    hold();
  }
  for (const end of ends.splice(0)) end.end(new Error('gone'));
  await Promise.all(held);
  for (let step = 0; step < 40; step += 1) {
    clock.advance(62);
    throttle.admitted();
    failures(throttle, 1, '192.0.2.1');
  }
  assert.not.ok(throttle.holdsBack);
  assert.not.ok(throttle.isFlooded);
});

test('many failures in a second are noticed as a flood, and forgotten two seconds later', () => {
  const clock = new ManualClock();
  const throttle = new GuessThrottle(OPTIONS, clock);
  assert.not.ok(throttle.isFlooded);
  failures(throttle, 101, '192.0.2.1');
  assert.ok(throttle.isFlooded);
  clock.advance(1000);
  assert.ok(throttle.isFlooded);
  clock.advance(1000);
  assert.not.ok(throttle.isFlooded);
});

test('memory is bounded, whatever the addresses', () => {
  const buckets = new Buckets({ burst: 1, perSecond: 1, maxEntries: 100 }, new ManualClock());
  for (let index = 0; index < 10_000; index += 1) buckets.charge(`address ${index}`);
  assert.is(buckets.size, 100);
});

test('a clock that is set back gives no failures back', () => {
  const clock = new ManualClock();
  const buckets = new Buckets({ burst: 1, perSecond: 1, maxEntries: 10 }, clock);
  assert.ok(buckets.charge('a'));
  clock.advance(-10_000);
  assert.not.ok(buckets.charge('a'));
});

test('a flood is not one for a day because the clock is set back by one', () => {
  const clock = new ManualClock();
  const throttle = new GuessThrottle(OPTIONS, clock);
  throttle.admitted();
  failures(throttle, 100, 'a');
  assert.ok(throttle.isFlooded && throttle.holdsBack);
  clock.advance(-86_400_000);
  assert.not.ok(throttle.isFlooded || throttle.holdsBack);
});

test.run();
