import * as assert from 'uvu/assert';
import { parseRfc3339 } from '../../src/lib/rfc3339.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('RFC 3339');

test('times are read to the millisecond, with any offset', () => {
  const noon = Date.UTC(2028, 1, 29, 12);
  for (const text of [
    '2028-02-29T12:00:00Z',
    '2028-02-29t12:00:00z',
    '2028-02-29T12:00:00.000000Z',
    '2028-02-29T14:30:00+02:30',
    '2028-02-28T23:00:00-13:00',
  ]) {
    assert.is(parseRfc3339(text), noon, text);
  }
  assert.is(parseRfc3339('2028-02-29T12:00:00.5Z'), noon + 500);
});

test('days and times that do not exist, and other forms, are none', () => {
  for (const text of [
    '',
    '2027-02-29T00:00:00Z',
    '2027-13-01T00:00:00Z',
    '2027-00-01T00:00:00Z',
    '2027-04-31T00:00:00Z',
    '2027-01-01T24:00:00Z',
    '2027-01-01T00:60:00Z',
    '2027-01-01T00:00:60Z',
    '2027-01-01T00:00:00',
    '2027-01-01 00:00:00Z',
    '2027-01-01',
    '2027-01-01T00:00:00+24:00',
    '2027-01-01T00:00:00.Z',
    '20270101T000000Z',
    '+12027-01-01T00:00:00Z',
    '1767225600000',
  ]) {
    assert.is(parseRfc3339(text), undefined, text);
  }
});

test.run();
