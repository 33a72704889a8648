import * as assert from 'uvu/assert';
import { boundaryOf, parseMultipart, withoutParts } from '../../../src/plugin/body/multipart.ts';
import { suite } from '../../helpers/suite.ts';

const test = suite('parts of a multipart body');

const field = (name: string, value: string): string =>
  `--B\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
const FILE =
  '--B\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\nContent-Type: application/octet-stream\r\n\r\n\x00\xff--Bx\r\n--\r\n\r\nend\r\n';
const pairs = (body: string): [string, string][] =>
  parseMultipart(body, 'B').map(({ name, value }) => [name, value]);
const hide = (body: string, ...names: string[]): string =>
  withoutParts(body, parseMultipart(body, 'B'), new Set(names));

test('fields and files, with their values as they are', () => {
  assert.equal(pairs(`${field('a', '1')}${FILE}${field('apikey', 'k')}--B--\r\n`), [
    ['a', '1'],
    ['file', '\x00\xff--Bx\r\n--\r\n\r\nend'],
    ['apikey', 'k'],
  ]);
});

test('a missing closing line is accepted', () => {
  assert.equal(pairs(`--B\r\nContent-Disposition: form-data; name="apikey"\r\n\r\nk`), [['apikey', 'k']]);
  assert.equal(
    pairs(`${field('a', '1')}--B\r\nContent-Disposition: form-data; name="apikey"\r\n\r\nk`).at(-1),
    ['apikey', 'k'],
  );
});

test('duplicates are all found', () =>
  assert.is(pairs(`${field('k', '1')}${field('k', '2')}--B--`).length, 2));
test('an empty value is a value', () =>
  assert.equal(pairs(`${field('apikey', '')}--B--\r\n`), [['apikey', '']]));
test('a part without headers, and one without a name, are no fields', () =>
  assert.equal(pairs(`--B\r\n\r\nx\r\n--B\r\nContent-Type: text/plain\r\n\r\ny\r\n--B--`), []));

test('bare line feeds, header names in any case, unquoted and escaped names, folded headers', () => {
  assert.equal(pairs('--B\nCONTENT-DISPOSITION: form-data; NAME=apikey\n\nk\n--B--\n'), [['apikey', 'k']]);
  assert.equal(pairs('--B\r\nContent-Disposition: form-data;\r\n name="api\\"key"\r\n\r\nk\r\n--B--'), [
    ['api"key', 'k'],
  ]);
});

test('preamble and epilogue are not looked at', () => {
  assert.equal(pairs(`before\r\n${field('a', '1')}--B--\r\n${field('apikey', 'k')}`), [['a', '1']]);
});

test('taking parts out leaves every other byte', () => {
  const body = `pre\r\n${field('apikey', 'k')}${FILE}${field('apikey', 'k2')}${field('b', ' 2 ')}--B--\r\nepilogue`;
  assert.is(hide(body, 'apikey'), `pre\r\n${FILE}${field('b', ' 2 ')}--B--\r\nepilogue`);
  assert.is(hide(body, 'other'), body);
  assert.is(hide(`${field('apikey', 'k')}--B--\r\n`, 'apikey'), '--B--\r\n');
});

test('the boundary is read from the content type', () => {
  for (const [type, boundary] of [
    ['multipart/form-data; boundary=B', 'B'],
    ['multipart/form-data; charset=utf-8; Boundary="a b"; x=y', 'a b'],
    ["multipart/form-data; boundary='B'", 'B'],
    ['multipart/form-data; boundary=', undefined],
    ['multipart/form-data', undefined],
  ] as const)
    assert.is(boundaryOf(type), boundary, type);
});

test('a body of many delimiters is read in time that grows with its length', () => {
  assert.is(pairs('--B\r\n'.repeat(200_000)).length, 0);
  assert.is(pairs(`${field('a', '-'.repeat(1_000_000))}--B--`).length, 1);
});

test.run();
