import * as assert from 'uvu/assert';
import { monotonicClock, systemTimers } from '../../src/vault/timers.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('timers of the Vault layer');

test('a delay beyond what setTimeout takes does not run at once', async () => {
  let ran = 0;
  const cancels = [2 ** 31, 768 * 3_600_000, 1e15].map((delay) =>
    systemTimers.schedule(() => (ran += 1), delay),
  );
  // setTimeout would run all of them after 1 ms: before a timer that is set later for 5 ms.
  await new Promise<void>((done) => {
    const hold = setInterval(() => undefined, 1000);
    systemTimers.schedule(() => {
      clearInterval(hold);
      done();
    }, 5);
  });
  assert.is(ran, 0);
  for (const cancel of cancels) cancel();
});

test('what was taken back does not run', async () => {
  let ran = false;
  const cancel = systemTimers.schedule(() => (ran = true), 1);
  cancel();
  cancel();
  await new Promise<void>((done) => setTimeout(done, 5));
  assert.not(ran);
});

test('the clock starts at the time of day and never steps back', () => {
  assert.ok(Math.abs(monotonicClock.now() - Date.now()) < 60_000);
  let last = monotonicClock.now();
  for (let round = 0; round < 1000; round += 1) {
    const now = monotonicClock.now();
    assert.ok(now >= last);
    last = now;
  }
});

test.run();
