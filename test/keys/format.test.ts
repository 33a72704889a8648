import * as assert from 'uvu/assert';
import { generateKey, hasIssuedForm, parseKey } from '../../src/keys/format.ts';
import { encodeBase62 } from '../../src/keys/base62.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('key format');

test('an issued key has prefix, id, secret and checksum, and is found by its id', () => {
  const { key, publicId } = generateKey('hka');
  assert.match(key.reveal(), /^hka_[0-9A-Za-z]{61}$/);
  assert.equal(parseKey(key.reveal(), 'hka'), { kind: 'issued', publicId });
});

test('two keys never share id or secret', () => {
  const keys = Array.from({ length: 500 }, () => generateKey('hka'));
  assert.is(new Set(keys.map(({ publicId }) => publicId)).size, 500);
  assert.is(new Set(keys.map(({ key }) => key.reveal().slice(16, 59))).size, 500);
});

test('every change of one character is refused by the checksum', () => {
  const text = generateKey('hka').key.reveal();
  for (let at = 4; at < text.length; at += 1) {
    const other = text[at] === 'x' ? 'y' : 'x';
    const changed = text.slice(0, at) + other + text.slice(at + 1);
    assert.is(parseKey(changed, 'hka').kind, 'malformed', `at ${at}`);
  }
});

test('neighbours swapped are refused by the checksum', () => {
  const text = generateKey('hka').key.reveal();
  for (let at = 4; at < text.length - 1; at += 1) {
    if (text[at] === text[at + 1]) continue;
    const swapped = text.slice(0, at) + (text[at + 1] ?? '') + (text[at] ?? '') + text.slice(at + 2);
    assert.is(parseKey(swapped, 'hka').kind, 'malformed', `at ${at}`);
  }
});

test('what has not the form of an issued key is foreign, whatever it is', () => {
  const text = generateKey('hka').key.reveal();
  for (const foreign of [
    '',
    ' ',
    'hka_',
    'abc',
    text.slice(1),
    `${text}a`,
    text.slice(0, -1),
    `x${text.slice(1)}`,
    `${text.slice(0, -1)}é`,
    '\u0000'.repeat(65),
  ]) {
    assert.is(parseKey(foreign, 'hka').kind, 'foreign', JSON.stringify(foreign));
  }
});

test('a key of another prefix is foreign', () => {
  assert.is(parseKey(generateKey('abc').key.reveal(), 'hka').kind, 'foreign');
  assert.not(hasIssuedForm(generateKey('abc').key.reveal(), 'hka'));
});

test('fixed bytes give a fixed key, computed by another program', () => {
  const { key } = generateKey('hka', (size) => Buffer.alloc(size, 7));
  assert.is(key.reveal(), 'hka_7777777777771fJjkkpe9PiTw9KSulA8Ghct30vZz4HpdQ5c5b9cPF14APW1U');
});

test('a number that is too large for its width is refused', () => {
  assert.throws(() => encodeBase62(62n, 1), /more than 1/);
  assert.is(encodeBase62(61n, 1), 'z');
});

test.run();
