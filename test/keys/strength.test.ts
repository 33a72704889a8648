import { createHash } from 'node:crypto';
import * as assert from 'uvu/assert';
import { isStrongKey, weakIndexBits } from '../../src/keys/strength.ts';
import { randomBase62 } from '../../src/keys/base62.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('strength of imported keys');

/** The same bytes in every run, so that the share below is a fact and no gamble. */
function seededBytes(): (size: number) => Buffer {
  let block = Buffer.from('strength');
  return (size) => {
    const parts: Buffer[] = [];
    for (let length = 0; length < size; length += 32) {
      block = createHash('sha256').update(block).digest();
      parts.push(block);
    }
    return Buffer.concat(parts).subarray(0, size);
  };
}

function uuid4(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

const random = seededBytes();
const generators: Record<string, () => string> = {
  'Kong (32 of A-Z, a-z, 0-9)': () => randomBase62(32, random),
  '128 bits in hex': () => random(16).toString('hex'),
  '256 bits in hex': () => random(32).toString('hex').toUpperCase(),
  'UUID version 4': () => uuid4(random(16)),
  'a prefix and 32 characters': () => `sk_live_${randomBase62(32, random)}`,
  '40 of a-z, 0-9': () => randomBase62(120, random).toLowerCase().slice(0, 40),
};

for (const [name, generate] of Object.entries(generators)) {
  test(`keys as generators make them are strong: ${name}`, () => {
    const weak = Array.from({ length: 5000 }, generate).filter((key) => !isStrongKey(key));
    // A generator's key that happens to look regular counts as weak; it may cost a little CPU, never safety.
    assert.ok(
      weak.length <= (/Kong|hex|UUID/.test(name) ? 5 : 150),
      `${weak.length} of 5000: ${weak.slice(0, 3).join(' ')}`,
    );
  });
}

for (const key of [
  '',
  'secret',
  'password123',
  'apikey',
  'changeme-changeme-changeme-changeme',
  'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
  '12345678901234567890123456789012',
  '0123456789abcdef0123456789abcdef',
  '00000000000000000000000000000000',
  'abcdefghijklmnopqrstuvwxyzABCDEF',
  'my-super-secret-api-key-for-production-2026',
  'MySuperSecretApiKeyForProduction2026',
  'correcthorsebatterystaplecorrecthorse1',
  'deadbeefdeadbeefdeadbeefdeadbeef',
  '00000000-0000-4000-8000-000000000000',
  // Version 1: time and network address.
  'c232ab00-9414-11ec-b3c8-9f6bdeced846',
  'Tr0ub4dor&3',
]) {
  test(`"${key}" is weak`, () => {
    assert.not(isStrongKey(key));
  });
}

test('the index of weak keys has log2(number) + 8 bits or a little more', () => {
  for (const count of [1, 2, 3, 5, 16, 100, 255, 1000, 65_536]) {
    const bits = weakIndexBits(count, []);
    assert.ok(bits >= Math.log2(count) + 8, `${count}: ${bits}`);
    assert.ok(bits <= Math.log2(count) + 8 + 1.2, `${count}: ${bits}`);
  }
});

test('however weak keys are added over time, at most one random string in 256 matches an index', () => {
  for (const sizes of [
    [1, 1, 1, 1, 1, 1, 1, 1],
    [255, 1, 300],
    [1, 1000],
    [1000, 1, 1, 1],
    [7, 7, 7, 7, 7, 7],
  ]) {
    const stored: { bits: number; count: number }[] = [{ bits: 64, count: 12_345 }];
    for (const count of sizes) {
      stored.push({ bits: weakIndexBits(count, stored), count });
      const share = stored.reduce((sum, { bits, count: each }) => sum + each / 2 ** bits, 0);
      assert.ok(share <= 1 / 256, `${sizes.join(',')}: ${share}`);
    }
  }
});

test.run();
