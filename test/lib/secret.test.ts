import { format, inspect } from 'node:util';
import * as assert from 'uvu/assert';
import { constantTimeEqual, Secret } from '../../src/lib/secret.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('secret values');
const CANARY = 'canary-value';

test('nothing that prints a secret shows it', () => {
  const secret = new Secret(CANARY);
  for (const text of [
    String(secret),
    JSON.stringify({ secret, list: [secret] }),
    inspect(secret, { depth: 10, showHidden: true, getters: true }),
    inspect({ nested: { secret } }, { depth: 10 }),
    format('%s %o %j', secret, secret, secret),
    Object.entries(secret).join(),
    secret[Symbol.toPrimitive](),
    new Error(secret.toString()).stack ?? '',
  ]) {
    assert.not.match(text, CANARY);
  }
  assert.is(secret.reveal(), CANARY);
  assert.is(secret.length, CANARY.length);
});

test('comparison is by value', () => {
  assert.ok(new Secret('a').equals(new Secret('a')));
  assert.not.ok(new Secret('a').equals(new Secret('b')));
  assert.not.ok(constantTimeEqual('a', 'ab'));
  assert.ok(constantTimeEqual('é', Buffer.from('é')));
});

test.run();
