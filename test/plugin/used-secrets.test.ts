/** What the access phase leaves for the log phase in Kong's shared table, where any plugin can write. */
import * as assert from 'uvu/assert';
import { decodeUsed, encodeUsed } from '../../src/plugin/used-secrets.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('what a request has used');

const USED = { text: 'vault://secret/c/a%2Fb', connection: 'default', generation: 7, on: [401, 403] };

test('it comes back as it was', () => assert.equal(decodeUsed(encodeUsed([USED, USED])), [USED, USED]));

test('what is not of its form says nothing', () => {
  for (const text of [
    '',
    '{',
    'null',
    '5',
    '{}',
    '[]',
    '[[]]',
    '["a"]',
    '[[1,"default",7,[401]]]',
    '[["a",null,7,[401]]]',
    '[["a","b","7",[401]]]',
    '[["a","b",7,401]]',
    '[null]',
  ])
    assert.equal(decodeUsed(text), [], text);
  assert.equal(decodeUsed('[["a","b",7,[401,"403",null]]]'), [
    { text: 'a', connection: 'b', generation: 7, on: [401] },
  ]);
});

test.run();
