import * as assert from 'uvu/assert';
import { findKey, type FoundKey, type Headers } from '../../src/plugin/find-key.ts';
import { withoutArguments } from '../../src/plugin/query.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('finding and hiding the key');

const PLACES = { keyNames: ['apikey'], keyInHeader: true, keyInQuery: true, keyInBody: false };
const find = (headers: Headers, query = '', places = PLACES): FoundKey => findKey(places, headers, query);
const key = (text: string): FoundKey => ({ kind: 'key', key: text });
const NONE: FoundKey = { kind: 'none' };
const DUPLICATE: FoundKey = { kind: 'duplicate' };

test('header first, then query', () => {
  assert.equal(find({ apikey: ['h'] }, 'apikey=q'), key('h'));
  assert.equal(find({}, 'apikey=q'), key('q'));
  assert.equal(find({}, ''), NONE);
});

test('a query or a body that has not been asked for is asked for only when it decides', () => {
  const places = { ...PLACES, keyNames: ['a', 'b'], keyInBody: true };
  assert.equal(findKey(places, { a: ['x'] }, undefined), key('x'));
  assert.equal(findKey(places, { b: ['x'] }, undefined), { kind: 'query needed' });
  assert.equal(findKey(places, { b: ['x'] }, ''), { kind: 'body needed' });
  assert.equal(findKey(places, { b: ['x'] }, '', new Map()), key('x'));
});

test('a place that is switched off is not looked at', () => {
  assert.equal(find({ apikey: ['h'] }, '', { ...PLACES, keyInHeader: false }), NONE);
  assert.equal(find({}, 'apikey=q', { ...PLACES, keyInQuery: false }), NONE);
  assert.equal(find({ apikey: ['h'] }, 'apikey=q', { ...PLACES, keyInHeader: false }), key('q'));
});

test('an empty header or argument ends the search', () => {
  assert.equal(find({ apikey: [''] }, 'apikey=q'), NONE);
  assert.equal(find({}, 'apikey='), NONE);
  assert.equal(findKey({ ...PLACES, keyNames: ['a', 'b'] }, { a: [''], b: ['x'] }, ''), NONE);
});

test('a bare argument is no key, and the next name is tried', () => {
  assert.equal(find({}, 'apikey'), NONE);
  assert.equal(findKey({ ...PLACES, keyNames: ['a', 'b'] }, { b: ['x'] }, 'a'), key('x'));
});

test('several under one name are an error, in header and query', () => {
  assert.equal(find({ apikey: ['a', 'b'] }), DUPLICATE);
  assert.equal(find({ apikey: ['a', 'a'] }), DUPLICATE);
  assert.equal(find({}, 'apikey=a&apikey=b'), DUPLICATE);
  assert.equal(find({}, 'apikey&apikey=b'), DUPLICATE);
  assert.equal(find({ apikey: ['a'] }, 'apikey=b&apikey=c'), key('a'));
});

test('names are tried in order, each in every place', () => {
  const places = { ...PLACES, keyNames: ['first', 'second'] };
  assert.equal(findKey(places, { second: ['s'] }, 'first=f'), key('f'));
  assert.equal(findKey(places, { second: ['s'] }, ''), key('s'));
});

test('header names match as in the table of Kong', () => {
  assert.equal(findKey({ ...PLACES, keyNames: ['api_key'] }, { 'api-key': ['x'] }, ''), key('x'));
  assert.equal(findKey({ ...PLACES, keyNames: ['api_key'] }, { api_key: ['x'] }, ''), key('x'));
  assert.equal(
    findKey({ ...PLACES, keyNames: ['api_key'] }, { api_key: ['u'], 'api-key': ['d'] }, ''),
    key('u'),
  );
  assert.equal(findKey({ ...PLACES, keyNames: ['api-key'] }, { api_key: ['x'] }, ''), NONE);
  assert.equal(findKey({ ...PLACES, keyNames: ['X-API-Key'] }, { 'x-api-key': ['x'] }, ''), key('x'));
});

test('argument names match exactly, after decoding', () => {
  assert.equal(find({}, 'APIKEY=x'), NONE);
  assert.equal(find({}, '%61pikey=x%20y+z'), key('x y z'));
  assert.equal(find({}, 'apikey[]=x&apikey[1]=y'), NONE);
  assert.equal(find({}, 'a=b&apikey=x%'), key('x%'));
  assert.equal(find({}, 'apikey=%C3%A9'), key('é'));
  assert.equal(find({}, Buffer.from('apikey=é').toString('latin1')), key('é'));
  assert.equal(find({}, 'apikey=a=b'), key('a=b'));
});

test('no key_names: nothing is ever found', () => {
  assert.equal(findKey({ ...PLACES, keyNames: [] }, { apikey: ['x'] }, 'apikey=x'), NONE);
});

test('names of the prototype are names like others', () => {
  const headers = Object.assign(Object.create(null) as Record<string, readonly string[]>, {});
  for (const name of ['constructor', '__proto__', 'toString']) {
    assert.equal(findKey({ ...PLACES, keyNames: [name] }, headers, ''), NONE, name);
  }
});

test('taking the key out of the query leaves every other byte as it was', () => {
  const names = new Set(['apikey', 'k2']);
  for (const [query, rest] of [
    ['apikey=x', ''],
    ['a=1&apikey=x&b=2', 'a=1&b=2'],
    ['%61pikey=x&a=%20+~', 'a=%20+~'],
    ['z=1&apikey=x&a&=&&b=%zz&apikey', 'z=1&a&=&&b=%zz'],
    ['k2=1&apikey=2', ''],
    ['apikey[]=x&APIKEY=y', 'apikey[]=x&APIKEY=y'],
    ['', ''],
  ] as const) {
    assert.is(withoutArguments(query, names), rest, query);
  }
});

test.run();
