import argon2 from 'argon2';
import * as assert from 'uvu/assert';
import { formatPhc, parsePhc } from '../../src/keys/phc.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('stored hashes (PHC strings)');
const SALT = 'c2FsdHNhbHRzYWx0c2FsdA';
const HASH = 'aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g';

const withParams = (params: string): string => `$argon2id$v=19$${params}$${SALT}$${HASH}`;

test('what the argon2 library writes is read, in its order of parameters', async () => {
  const text = await argon2.hash('x', { memoryCost: 64, timeCost: 1, parallelism: 1 });
  const parsed = parsePhc(text);
  assert.equal([parsed.memoryKib, parsed.time, parsed.parallelism, parsed.hash.length], [64, 1, 1, 32]);
});

test('format and parse are each other reversed', () => {
  const text = withParams('m=19456,t=2,p=1');
  assert.is(formatPhc(parsePhc(text)), text);
});

for (const [what, params] of [
  ['m = 4 GiB', 'm=4194304,t=2,p=1'],
  ['m of 2^32 - 1', 'm=4294967295,t=2,p=1'],
  ['m = 0', 'm=0,t=2,p=1'],
  ['t = 2^31', 'm=19456,t=2147483648,p=1'],
  ['t = 0', 'm=19456,t=0,p=1'],
  ['p = 255', 'm=19456,t=2,p=255'],
  ['m below eight per lane', 'm=32,t=1,p=8'],
] as const) {
  test(`a hash with ${what} is refused before any work, and the message says what is allowed`, () => {
    assert.throws(
      () => parsePhc(withParams(params)),
      (error: Error & { code?: string }) => {
        assert.is(error.code, 'HKA_HASH_INVALID');
        assert.match(error.message, /allowed|at least/);
        assert.not.match(error.message, new RegExp(HASH));
        return true;
      },
    );
  });
}

for (const [what, text] of [
  ['argon2i', `$argon2i$v=19$m=19456,t=2,p=1$${SALT}$${HASH}`],
  ['an old version', `$argon2id$v=16$m=19456,t=2,p=1$${SALT}$${HASH}`],
  ['a missing parameter', `$argon2id$v=19$m=19456,t=2$${SALT}$${HASH}`],
  ['a parameter twice', `$argon2id$v=19$m=19456,m=19456,p=1$${SALT}$${HASH}`],
  ['a short salt', `$argon2id$v=19$m=19456,t=2,p=1$YWJj$${HASH}`],
  ['a short hash', `$argon2id$v=19$m=19456,t=2,p=1$${SALT}$YWJj`],
  ['bcrypt', '$2b$10$abcdefghijklmnopqrstuv'],
  ['a key in place of its hash', 'my-plain-key'],
  ['nothing', ''],
  ['a negative m', `$argon2id$v=19$m=-1,t=2,p=1$${SALT}$${HASH}`],
  ['an exponent', `$argon2id$v=19$m=1e4,t=2,p=1$${SALT}$${HASH}`],
] as const) {
  test(`${what} is refused`, () => {
    assert.throws(
      () => parsePhc(text),
      (error: Error & { code?: string }) => error.code === 'HKA_HASH_INVALID',
    );
  });
}

test.run();
