import * as assert from 'uvu/assert';
import { encodeFrames, FrameReader, HeldBytes, type Excess } from '../../src/server/frames.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('frames');

/** A reproducible stream of numbers. */
function lcg(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test('frames are found again however the stream is cut', () => {
  const random = lcg(1);
  for (let round = 0; round < 300; round += 1) {
    const parts = Array.from({ length: Math.floor(random() * 12) }, () =>
      Buffer.alloc(Math.floor(random() ** 3 * 5000), Math.floor(random() * 256)),
    );
    const stream = encodeFrames(parts);
    const seen: Buffer[] = [];
    const reader = new FrameReader(
      1 << 20,
      (frame) => seen.push(Buffer.from(frame)),
      () => assert.unreachable(),
    );
    for (let at = 0; at < stream.length;) {
      const size = 1 + Math.floor(random() ** 4 * 3000);
      reader.push(stream.subarray(at, at + size));
      at += size;
    }
    assert.equal(seen, parts);
    assert.is(reader.pending, 0);
  }
});

test('a stream of single bytes works', () => {
  const seen: string[] = [];
  const reader = new FrameReader(
    100,
    (frame) => seen.push(frame.toString()),
    () => assert.unreachable(),
  );
  for (const byte of encodeFrames([Buffer.from('hello'), Buffer.alloc(0), Buffer.from('x')]))
    reader.push(Buffer.of(byte));
  assert.equal(seen, ['hello', '', 'x']);
});

test('pieces may be overwritten as soon as they have been taken', () => {
  const parts = [Buffer.from('first'), Buffer.alloc(3000, 'x'), Buffer.from('last')];
  const stream = encodeFrames(parts);
  const seen: string[] = [];
  const reader = new FrameReader(
    1 << 20,
    (frame) => seen.push(frame.toString()),
    () => assert.unreachable(),
  );
  const shared = Buffer.alloc(7);
  for (let at = 0; at < stream.length; at += shared.length) {
    const length = stream.copy(shared, 0, at, at + shared.length);
    reader.push(shared.subarray(0, length));
    shared.fill(0xee);
  }
  assert.equal(seen, parts.map(String));
});

test('an announced length beyond the limit is reported before any of it is kept', () => {
  let announced = 0;
  const reader = new FrameReader(
    100,
    () => assert.unreachable(),
    (excess) => (announced = excess.kind === 'frame' ? excess.announced : -1),
  );
  reader.push(Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]));
  assert.is(announced, 0xffff_ffff);
  reader.push(Buffer.alloc(1000));
  assert.is(reader.pending, 0);
});

test('room is made for what has come, not for what is announced, and small pieces do not add up', () => {
  const budget = new HeldBytes(1 << 30);
  const seen: number[] = [];
  const reader = new FrameReader(
    1 << 24,
    (frame) => seen.push(frame.length),
    () => assert.unreachable(),
    budget,
  );
  const frame = encodeFrames([Buffer.alloc(1 << 20, 'x')]);
  reader.push(frame.subarray(0, 5000));
  assert.ok(budget.held < 10_000, `${budget.held} bytes are held for 5,000`);
  const before = process.memoryUsage();
  for (let at = 5000; at < frame.length - 1; at += 1) reader.push(frame.subarray(at, at + 1));
  const after = process.memoryUsage();
  assert.is(reader.pending, (1 << 20) - 1);
  assert.ok(budget.held <= 1 << 20, `${budget.held} bytes are held for a frame of ${1 << 20}`);
  // A million objects would take a hundred times as much.
  const grown = after.heapUsed + after.external - before.heapUsed - before.external;
  assert.ok(grown < 64 << 20, `${grown} bytes more for one frame of a MiB`);
  reader.push(frame.subarray(-1));
  assert.equal(seen, [1 << 20]);
  assert.is(budget.held, 0, 'and all of it is given back');
});

test('the start of a small frame does not hold the room of the large one before it', () => {
  const budget = new HeldBytes(1 << 21);
  const seen: number[] = [];
  const reader = new FrameReader(
    1 << 20,
    (frame) => seen.push(frame.length),
    () => assert.unreachable(),
    budget,
  );
  const bytes = encodeFrames([Buffer.alloc(1 << 20), Buffer.from('small')]);
  reader.push(bytes.subarray(0, 100_000));
  reader.push(bytes.subarray(100_000, -2));
  assert.is(reader.pending, 3);
  assert.is(budget.held, 0);
  reader.push(bytes.subarray(-2));
  assert.equal(seen, [1 << 20, 5]);
  assert.is(reader.pending, 0);
});

test('readers share what they may hold; small messages are taken whatever the others hold', () => {
  const budget = new HeldBytes(100_000);
  const excesses: Excess[] = [];
  const frames: number[] = [];
  const reader = (): FrameReader =>
    new FrameReader(
      1 << 20,
      (frame) => frames.push(frame.length),
      (excess) => excesses.push(excess),
      budget,
    );
  const half = (bytes: number): Buffer => encodeFrames([Buffer.alloc(bytes)]).subarray(0, bytes / 2);
  const [first, second, third] = [reader(), reader(), reader()];
  first.push(half(160_000));
  second.push(half(160_000));
  assert.equal(excesses, [{ kind: 'held' }]);
  assert.is(second.pending, 0);
  assert.ok(second.isStopped && !first.isStopped);
  const small = encodeFrames([Buffer.alloc(4000)]);
  third.push(small.subarray(0, 3000));
  third.push(small.subarray(3000));
  assert.equal(frames, [4000]);
  first.stop();
  assert.is(budget.held, 0);
  third.push(half(160_000));
  assert.is(excesses.length, 1, 'there is room again');
});

test('where there is no room, who holds most gives up: large messages do not have the smaller ones of others refused', () => {
  const budget = new HeldBytes(1_000_000);
  const refused: string[] = [];
  const reader = (name: string): FrameReader =>
    new FrameReader(
      1 << 20,
      () => assert.unreachable(),
      () => refused.push(name),
      budget,
    );
  const half = (bytes: number): Buffer => encodeFrames([Buffer.alloc(bytes)]).subarray(0, bytes / 2);
  const large = ['first', 'second', 'third'].map(reader);
  for (const one of large) one.push(half(620_000));
  assert.equal(refused, []);
  const small = reader('small');
  small.push(half(200_000));
  assert.is(refused.length, 1);
  assert.not(refused.includes('small'));
  assert.is(small.pending, 100_000 - 4);
  reader('larger').push(half(1_000_000));
  assert.equal(refused.slice(1), ['larger']);
  for (const one of [...large, small]) one.stop();
  assert.is(budget.held, 0);
});

test('nothing is delivered after stop, not even what is in the same chunk', () => {
  const seen: string[] = [];
  const reader: FrameReader = new FrameReader(
    100,
    (frame) => {
      seen.push(frame.toString());
      reader.stop();
    },
    () => assert.unreachable(),
  );
  reader.push(encodeFrames([Buffer.from('a'), Buffer.from('b')]));
  assert.equal(seen, ['a']);
});

test.run();
