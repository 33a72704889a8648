import * as assert from 'uvu/assert';
import { encodeFrames, FrameReader } from '../../src/server/frames.ts';
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
    (length) => (announced = length),
  );
  reader.push(Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]));
  assert.is(announced, 0xffff_ffff);
  reader.push(Buffer.alloc(1000));
  assert.is(reader.pending, 0);
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
