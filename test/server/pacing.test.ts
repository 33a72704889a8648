import * as assert from 'uvu/assert';
import { Pacing } from '../../src/server/pacing.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('pacing');

/** A process with a clock of its own, whose looks are counted. */
class Process {
  now = 0;
  looks = 0;
  sleptMs = 0;
  readonly pacing: Pacing;
  #next: (() => void) | undefined;

  constructor() {
    this.pacing = new Pacing(
      () => this.now,
      (look) => (this.#next = look),
      (ms) => {
        this.sleptMs += ms;
        this.now += ms;
      },
    );
  }

  get looking(): boolean {
    return this.#next !== undefined;
  }

  /** Lets time pass, with a look every 10 microseconds as long as it looks. */
  pass(ms: number): void {
    const end = this.now + ms;
    while (this.now < end) {
      this.now = Math.min(end, this.now + 0.01);
      const next = this.#next;
      this.#next = undefined;
      if (next === undefined) continue;
      this.looks += 1;
      next();
    }
  }

  /** Another process has the core for a while; then comes the look that was due. */
  loseCore(ms: number): void {
    this.now += ms;
    const next = this.#next;
    this.#next = undefined;
    next?.();
  }

  /** An event: bytes come, replies come after `replyMs`. */
  event(replyMs: number): void {
    this.pacing.countWaiting(1);
    this.pacing.active();
    this.pass(replyMs);
    this.pacing.countWaiting(-1);
    this.pacing.active();
  }
}

test('replies that come at once are looked for', () => {
  const process = new Process();
  process.pacing.countWaiting(1);
  process.pacing.active();
  assert.ok(process.looking);
});

test('looking ends soon when nothing comes, and what it took counts as idle', () => {
  const process = new Process();
  process.pacing.countWaiting(1);
  process.pacing.active();
  process.pass(10);
  assert.not.ok(process.looking);
  assert.ok(process.looks < 30);
  assert.ok(process.pacing.idleMs > 0.1 && process.pacing.idleMs < 0.2, String(process.pacing.idleMs));
});

test('where replies take long, they are no longer looked for', () => {
  const process = new Process();
  for (let count = 0; count < 50; count += 1) {
    process.event(5);
    process.pass(5);
  }
  process.looks = 0;
  process.event(5);
  assert.is(process.looks, 0);
});

test('the next event is looked for only where events come one right after another', () => {
  const busy = new Process();
  const calm = new Process();
  for (let count = 0; count < 50; count += 1) {
    busy.event(0.03);
    busy.pass(0.1);
    calm.event(0.03);
    calm.pass(5);
  }
  busy.event(0.03);
  busy.pass(0.05);
  calm.event(0.03);
  calm.pass(0.05);
  assert.ok(busy.looking);
  assert.not.ok(calm.looking);
});

test('where another process needs the core, it is left to it for a while', () => {
  const process = new Process();
  process.pacing.countWaiting(1);
  process.pacing.active();
  process.loseCore(3);
  assert.not.ok(process.looking);
  process.pacing.countWaiting(-1);
  process.pacing.active();
  process.event(0.03);
  assert.not.ok(process.looking);
  process.pass(100);
  process.pacing.countWaiting(1);
  process.pacing.active();
  assert.ok(process.looking);
});

test('while several events wait, nothing is looked for', () => {
  const process = new Process();
  process.pacing.countWaiting(1);
  process.pacing.countWaiting(1);
  process.pacing.active();
  assert.not.ok(process.looking);
});

test('in a crowd it sleeps a moment after what has come, and takes together what comes meanwhile', () => {
  const process = new Process();
  for (let count = 0; count < 32; count += 1) process.pacing.countWaiting(1);
  for (let count = 0; count < 50; count += 1) {
    process.pacing.active();
    process.pacing.active();
    process.pass(0.05);
  }
  assert.ok(process.sleptMs > 0);
  process.sleptMs = 0;
  for (let replies = 0; replies < 5; replies += 1) process.pacing.active();
  process.pass(0.3);
  assert.ok(process.sleptMs > 0 && process.sleptMs < 0.2, `once, not ${process.sleptMs} ms`);
});

test('in a crowd too nothing is slept away while there is something to do', () => {
  const process = new Process();
  for (let count = 0; count < 32; count += 1) process.pacing.countWaiting(1);
  for (let count = 0; count < 500; count += 1) {
    process.pacing.active();
    process.pass(0.01);
  }
  assert.is(process.sleptMs, 0);
  process.pass(0.02);
  assert.ok(process.sleptMs > 0);
});

test('a few that all wait at once are no crowd: Kong has nothing else to do', () => {
  const process = new Process();
  for (let count = 0; count < 8; count += 1) process.pacing.countWaiting(1);
  for (let count = 0; count < 50; count += 1) {
    process.pacing.active();
    process.pass(0.05);
  }
  assert.is(process.sleptMs, 0);
});

test('many that wait for Kong are no crowd while little comes: slow uploads hold nobody up', () => {
  const process = new Process();
  for (let count = 0; count < 32; count += 1) process.pacing.countWaiting(1);
  for (let count = 0; count < 50; count += 1) {
    process.event(0.05);
    process.pass(3);
  }
  process.sleptMs = 0;
  for (let count = 0; count < 50; count += 1) {
    process.event(0.05);
    process.pass(3);
  }
  assert.is(process.sleptMs, 0);
});

test.run();
