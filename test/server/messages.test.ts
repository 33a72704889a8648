import * as assert from 'uvu/assert';
import { HkaError } from '../../src/lib/errors.ts';
import { decodeHeaders, decodeInt, decodeText, encodeNamedValue } from '../../src/server/messages.ts';
import { WireWriter } from '../../src/server/wire.ts';
import { decode, encode, unwrapValue } from '../helpers/kong/protobuf-messages.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('messages');

/** A table with one header, whose Value is written by `write`. */
function table(write: (value: WireWriter) => void): Buffer {
  return new WireWriter()
    .messageField(1, (entry) => entry.stringField(1, 'a').messageField(2, write))
    .finish();
}

/** A list in a list, so deep. */
function nested(depth: number): (value: WireWriter) => void {
  return (value) => {
    if (depth === 0) value.stringField(3, 'x');
    else value.messageField(6, (list) => list.messageField(1, nested(depth - 1)));
  };
}

test('a field that a later version may add to a Value does not take the header away', () => {
  const headers = decodeHeaders(table((value) => value.stringField(3, 'secret').stringField(99, 'new')));
  assert.equal(headers['a'], ['secret']);
});

test('of several kinds in one Value the last one counts', () => {
  assert.equal(decodeHeaders(table((value) => value.stringField(3, 'b').varintField(1, 0)))['a'], ['']);
  assert.equal(decodeHeaders(table((value) => value.varintField(4, 1).stringField(3, 'b')))['a'], ['b']);
});

test('lists nested too deep are refused', () => {
  assert.equal(decodeHeaders(table(nested(1)))['a'], ['x']);
  assert.throws(
    () => decodeHeaders(table(nested(100))),
    (error: unknown) => error instanceof HkaError && error.code === 'HKA_PROTOCOL',
  );
});

test('names with values, numbers and texts are those of another codec', () => {
  for (const value of ['REDACTED', '', {}, 'ü']) {
    const { k, v } = decode('KV', encodeNamedValue('a.b', value));
    assert.is(k, 'a.b');
    const expected = typeof value === 'string' ? Buffer.from(value).toString('latin1') : value;
    assert.equal(unwrapValue(v), expected);
  }
  for (const status of [0, 200, 599]) assert.is(decodeInt(Buffer.from(encode('Int', { v: status }))), status);
  assert.is(decodeInt(Buffer.alloc(0)), 0);
  assert.is(decodeText(Buffer.from(encode('Value', { string_value: '[1]' }))), '[1]');
  for (const other of [Buffer.alloc(0), Buffer.from(encode('Value', { number_value: 5 }))])
    assert.is(decodeText(other), '');
});

test.run();
