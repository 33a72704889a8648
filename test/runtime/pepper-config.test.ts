/** Changes of people's configuration files: only the one change, or none at all. */
import * as assert from 'uvu/assert';
import { pepperLines, withoutVersion, withVersion } from '../../src/runtime/pepper-config.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('changing the pepper section');

const TWO = { id: '2', file: 'pepper-2' };

test('adds a version and makes it the current one; comments, order and the rest stay', () => {
  const before = [
    '# head',
    'pepper: # secret',
    '  # about current',
    "  current: '1'   # since May",
    '  versions:',
    '    # the first one',
    '    - id: "1"',
    '      file: pepper',
    '      # or from Vault',
    '',
    'keys:',
    '  prefix: hka # current: 1',
    '',
  ];
  const after = withVersion(before.join('\n'), TWO)?.split('\n');
  assert.equal(after, [
    ...before.slice(0, 3),
    '  current: "2"   # since May',
    ...before.slice(4, 9),
    '    - id: "2"',
    '      file: "pepper-2"',
    ...before.slice(9),
  ]);
  assert.equal(withoutVersion(after?.join('\n') ?? '', '1')?.includes('id: "1"'), false);
});

test('takes other layouts of lists and orders of fields', () => {
  for (const text of [
    'pepper:\n    versions:\n    - id: "1"\n      file: a\n    - file: b\n      id: x\n    current: x\nlog: {level: info}\n',
    'pepper:\n  current: x\n  versions:\n  - {id: "1", file: a}\n  - {id: x, file: b}',
    'log: {level: info}\npepper:\n  versions:\n    - id: x\n      transit:\n        key: k\n        key_version: 1\n  current: x # y\n',
  ]) {
    const after = withVersion(text, TWO);
    assert.match(after ?? '', /current: "2"/, text);
    assert.match(after ?? '', /- id: "2"/, text);
    assert.match(withoutVersion(after ?? '', 'x') ?? '', /^(?!.*- id: x)/, text);
  }
  const transit = { id: 't', transit: { mount: 'transit', key: 'k', key_version: 3 } };
  assert.match(
    withVersion('pepper:\n  current: a\n  versions:\n    - id: a\n      file: a\n', transit) ?? '',
    'key_version: 3',
  );
  assert.match(pepperLines(transit), /current: "t"/);
});

test('leaves what it does not understand to people', () => {
  for (const text of [
    'pepper: {current: "1", versions: [{id: "1", file: a}]}\n',
    'pepper:\n  current: "1"\n  versions: [{id: "1", file: a}]\n',
    'pepper:\n  current: &c "1"\n  versions:\n    - id: *c\n      file: a\n',
    'pepper:\n  current: >-\n    1\n  versions:\n    - id: "1"\n      file: a\n',
    'pepper:\n  versions:\n    - id: "1"\n      file: |-\n        current: 1\n  current: "1"\n',
    'other:\n  current: "1"\n',
  ]) {
    assert.is(withVersion(text, TWO), undefined, text);
  }
  assert.is(
    withoutVersion('pepper:\n  current: "1"\n  versions:\n    - id: "1"\n      file: a\n', '3'),
    undefined,
  );
});

test('never takes the current version out, whoever has made it the current one', () => {
  const text = [
    'pepper:',
    '  current: "1"',
    '  versions:',
    '    - id: "1"',
    '      file: a',
    '    - id: "2"',
    '      file: b',
    '',
  ].join('\n');
  assert.is(withoutVersion(text, '1'), undefined);
  assert.is(withoutVersion(text, '2'), text.replace('    - id: "2"\n      file: b\n', ''));
});

test.run();
