import * as assert from 'uvu/assert';
import type { Config } from '../../src/runtime/config.ts';
import { isApartFromPeppers } from '../../src/runtime/peppers.ts';
import { parsePattern } from '../../src/vault/reference.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('what may be forwarded');

const config = {
  pepper: {
    current: '2',
    versions: [
      { id: '1', file: '/etc/pepper' },
      { id: '2', reference: 'vault://secret/hka/pepper#value' },
    ],
  },
} as unknown as Config;

test('never what lies where a pepper is kept, whatever the field', () => {
  for (const field of ['value', 'other'])
    assert.not.ok(isApartFromPeppers(config, parsePattern(`vault://secret/hka/pepper#${field}`)));
  for (const text of ['vault://secret/hka/pepper-2#value', 'vault://secret/orders/backend#token'])
    assert.ok(isApartFromPeppers(config, parsePattern(text)), text);
});

test.run();
