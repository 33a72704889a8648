import * as assert from 'uvu/assert';
import { parseJsonObject, memberValue, withoutMembers } from '../../../src/plugin/body/json-object.ts';
import { suite } from '../../helpers/suite.ts';

const test = suite('members of a JSON object');

const without = (text: string, ...names: string[]): string => {
  const object = parseJsonObject(text);
  if (object === undefined) throw new Error('no object');
  return withoutMembers(text, object, new Set(names));
};

test('every other byte stays: spaces, order, large integers, escapes, other repeated members', () => {
  const rest = ' \t"n" : 12345678901234567890 ,\r\n "e\\u00e9":"\\/" , "n":1e400';
  assert.is(without(`{${rest}, "apikey" : "k" }`, 'apikey'), `{${rest} }`);
  assert.is(
    without(`{"apikey":"k",${rest}}`, 'apikey'),
    `{"n" : 12345678901234567890 ,\r\n "e\\u00e9":"\\/" , "n":1e400}`,
  );
});

test('first, middle, last, only and repeated members can go', () => {
  assert.is(without('{"a":1,"b":2,"c":3}', 'a'), '{"b":2,"c":3}');
  assert.is(without('{"a":1,"b":2,"c":3}', 'b'), '{"a":1,"c":3}');
  assert.is(without('{"a":1,"b":2,"c":3}', 'c'), '{"a":1,"b":2}');
  assert.is(without('{"a":1,"b":2,"c":3}', 'a', 'c'), '{"b":2}');
  assert.is(without('{ "a":1 }', 'a'), '{  }');
  assert.is(without('{"a":1,"b":{"a":5},"a":[{"a":"}"}]}', 'a'), '{"b":{"a":5}}');
  assert.is(without('{}', 'a'), '{}');
});

test('names are compared as JSON reads them', () => {
  assert.is(without('{"\\u0061pikey":"k","x":1}', 'apikey'), '{"x":1}');
  assert.is(without(Buffer.from('{"schlüssel":"k","x":1}').toString('latin1'), 'schlüssel'), '{"x":1}');
});

test('what it leaves is what JSON itself would leave, for objects of every shape', () => {
  let state = 7;
  const random = (n: number): number => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) % n;
  const space = (): string => [' ', '', '\n', '\t '][random(4)] ?? '';
  const value = (depth: number): string => {
    switch (random(depth > 3 ? 4 : 6)) {
      case 0:
        return '"a\\"},:{b\\\\"';
      case 1:
        return '-1.5e3';
      case 2:
        return ['true', 'false', 'null'][random(3)] ?? '';
      case 3:
        return '""';
      case 4:
        return `[${space()}${Array.from({ length: random(3) }, () => value(depth + 1)).join(`${space()},${space()}`)}]`;
      default:
        return object(depth + 1);
    }
  };
  const object = (depth: number): string =>
    `{${space()}${Array.from({ length: random(5) }, () => `"${'abk'[random(3)]}"${space()}:${space()}${value(depth)}`).join(`${space()},${space()}`)}${space()}}`;
  for (let round = 0; round < 3000; round += 1) {
    const text = space() + object(0) + space();
    const expected = JSON.parse(text) as Record<string, unknown>;
    const parsed = parseJsonObject(text);
    for (const member of parsed?.members ?? []) memberValue(text, member);
    delete expected['k'];
    assert.equal(JSON.parse(without(text, 'k')), expected, text);
  }
});

test('what is no object has no members', () => {
  for (const text of [
    '',
    '[]',
    '"apikey"',
    '5',
    'null',
    '{',
    '{"a":1',
    '{"a":1,}',
    '{a:1}',
    '{"a":1}x',
    '\u00ef\u00bb\u00bf{}',
  ])
    assert.is(parseJsonObject(text), undefined, text);
});

test('nesting is counted, not followed: a hundred thousand levels are no danger', () => {
  const deep = (levels: number): string => `{"apikey":"k","d":${'['.repeat(levels)}${']'.repeat(levels)}}`;
  assert.is(parseJsonObject(deep(2000))?.depth, 2001);
  assert.is(parseJsonObject(deep(100_000))?.depth, 100_001);
  assert.is(without(`{"apikey":"k","d":${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}}`, 'd'), '{"apikey":"k"}');
});

test('what is nested deeper than may be is told before it is parsed', () => {
  const deep = `{"a":${'['.repeat(50)}${']'.repeat(50)}}`;
  assert.is(parseJsonObject(deep)?.depth, 51);
  assert.is(parseJsonObject(deep, 51)?.depth, 51);
  assert.is(parseJsonObject(deep, 50), undefined);
  // Brackets in texts are none.
  assert.is(parseJsonObject(`{"a":"${'['.repeat(50)}"}`, 2)?.depth, 1);
  const since = performance.now();
  assert.is(parseJsonObject('['.repeat(1_000_000), 1000), undefined);
  assert.ok(performance.now() - since < 200);
});

test.run();
