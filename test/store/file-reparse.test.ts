/** Reading a changed file by way of what is known must come to what reading the whole comes to, also in its complaints. */
import * as assert from 'uvu/assert';
import { parsePhc } from '../../src/keys/phc.ts';
import { messageOf } from '../../src/lib/errors.ts';
import { formatCredentials, formatRecord, LIST_HEAD } from '../../src/store/file/emit.ts';
import { normalizeRecord, parseCredentials } from '../../src/store/file/format.ts';
import { readSnapshot, reparse } from '../../src/store/file/reparse.ts';
import { Snapshot } from '../../src/store/file/snapshot.ts';
import type { CredentialRecord } from '../../src/store/record.ts';
import { suite } from '../helpers/suite.ts';
import { fakeHash, importedRecord, issuedRecord, publicIdOf } from './conformance.ts';

const test = suite('reading a changed file');

let checked = 0;
const checkHash = (phc: string): void => {
  checked += 1;
  parsePhc(phc);
};

type Outcome = CredentialRecord[] | string;

function outcome(read: () => CredentialRecord[]): Outcome {
  try {
    return read();
  } catch (error) {
    return messageOf(error);
  }
}

const base = [
  ...Array.from({ length: 6 }, (_item, at) => issuedRecord({ name: `n ${at}`, tags: ['a', 'b'] })),
  importedRecord(8, '0f'),
].map(normalizeRecord);
const known = new Snapshot(base);
const baseText = formatCredentials(base);

function agrees(text: string): Outcome {
  const whole = outcome(() => parseCredentials(text, 'file', checkHash));
  const quick = outcome(() => reparse(text, 'file', known, checkHash));
  assert.equal(quick, whole, text);
  return whole;
}

test('gives the same for additions, changes, removals and another order', () => {
  const fresh = [issuedRecord({ name: 'new: "x"\n  - id: "y"' }), importedRecord(12, 'abc')];
  const [first, second, ...rest] = base.map(formatRecord);
  for (const text of [
    baseText,
    formatCredentials([...base, ...fresh]),
    formatCredentials([...fresh, ...base]),
    formatCredentials(base.slice(1)),
    formatCredentials(base.toReversed()),
    formatCredentials(
      base.map((record, at) => (at === 2 ? { ...record, version: 9, hash: fakeHash() } : record)),
    ),
    formatCredentials(fresh),
    formatCredentials([]),
    `${LIST_HEAD}${second}${first}${rest.join('')}`,
    `# other head\n${baseText}`,
    baseText.replaceAll('\n', '\r\n'),
  ]) {
    assert.ok(Array.isArray(agrees(text)));
  }
});

test('looks only at what is new', () => {
  const text = formatCredentials([...base, issuedRecord()]);
  checked = 0;
  const records = reparse(text, 'file', known, checkHash);
  assert.is(checked, 1);
  assert.ok(records.slice(0, base.length).every((record, at) => record === base[at]));
});

test('takes over check values of peppers, wherever they stand', () => {
  const check = '0123456789abcdef'.repeat(2);
  const peppers = new Map([['1', { check, retired: false }]]);
  const text = formatCredentials([...base, issuedRecord()], peppers);
  checked = 0;
  assert.equal(readSnapshot(text, 'file', known, checkHash).peppers, peppers);
  assert.is(checked, 1, 'and only what is new is parsed');
  assert.equal(readSnapshot(formatCredentials([], peppers), 'file', known, checkHash).peppers, peppers);
  for (const elsewhere of [
    `${baseText}peppers:\n  - id: "1"\n    check: "${check}"\n`,
    `${baseText}peppers: [{id: "1", check: ${check}}]\n`,
    baseText.replace('credentials:', `peppers: [{check: "${check}", id: "1"}]\ncredentials:`),
  ]) {
    assert.equal(readSnapshot(elsewhere, 'file', known, checkHash).peppers, peppers, elsewhere.slice(-200));
  }
  const retired = new Map([
    ['2', { check, retired: true }],
    ['1', { check, retired: false }],
  ]);
  checked = 0;
  const own = readSnapshot(formatCredentials(base, retired), 'file', known, checkHash);
  assert.equal([...own.peppers], [...retired], 'in their order');
  assert.is(checked, 0);
  assert.equal(
    [...readSnapshot(formatCredentials([], retired), 'file', known, checkHash).peppers],
    [...retired],
  );
  const twice = formatCredentials(base, peppers).replace(
    'credentials:',
    `  - id: "1"\n    check: "${check.toUpperCase().toLowerCase()}"\ncredentials:`,
  );
  assert.throws(() => readSnapshot(twice, 'file', known, checkHash), /peppers\[1\]\.id: is used twice/);
  assert.throws(
    () => readSnapshot(text.replace(check, `${check}00`), 'file', known, checkHash),
    /peppers\[0\]\.check/,
  );
});

test('complains of the same, at the same place', () => {
  const [record = issuedRecord()] = base;
  const fresh = formatRecord(issuedRecord());
  for (const text of [
    `${baseText}${formatRecord(record)}`,
    `${baseText}${formatRecord(issuedRecord({ id: record.id }))}`,
    `${baseText}${fresh.replace(/public_id: "\w+"/, `public_id: "${publicIdOf(record)}"`)}`,
    `${baseText}${fresh.replace('version: 1', 'version: 0')}`,
    `${baseText}${fresh.replace('pepper', 'piper')}`,
    `${baseText}${fresh.slice(0, -1)}`,
    `${baseText}${fresh.slice(0, -20)}`,
    `${baseText}${fresh.slice(0, -20)}\n`,
    `${baseText}---\n${fresh}`,
    `${baseText}...\n`,
    `${baseText}    name: "again"\n`,
    `${baseText}other: 1\n`,
    `${baseText}  # a comment\n`,
    `${baseText}  -\n`,
  ]) {
    agrees(text);
  }
});

test('is not led astray by text that runs from one entry into the next', () => {
  const blocks = base.map(formatRecord);
  const fresh = formatRecord(issuedRecord());
  for (const [from, to] of [
    ['"1"\n', '"1\n'],
    ['"1"\n', '|\n      1\n'],
    ['"1"\n', '>-\n\n      1\n\n'],
    ['"1"\n', "'1\n"],
    ['"1"\n', '["1",\n'],
    ['"1"\n', '{a: 1\n'],
    ['"1"\n', '&p "1"\n'],
    ['"1"\n', '*p\n'],
    ['"1"\n', '"1" # "\n'],
    ['"1"\n', '1\n      2\n'],
  ] as const) {
    const changed = fresh.replace(`pepper: ${from}`, `pepper: ${to}`);
    assert.is.not(changed, fresh);
    for (const at of [0, 3, blocks.length]) {
      agrees(LIST_HEAD + blocks.toSpliced(at, 0, changed).join(''));
      agrees(LIST_HEAD + blocks.toSpliced(at, 0, changed, formatRecord(issuedRecord())).join(''));
    }
  }
});

test('gives the same for any damage', () => {
  const text = formatCredentials([...base.slice(0, 5), issuedRecord(), ...base.slice(5)]);
  const pieces = [
    '',
    '"',
    '\n',
    ' ',
    ':',
    '- ',
    '#',
    '\t',
    '  - id: "',
    '\n---\n',
    '|',
    '&a ',
    '*a',
    '}',
    ']',
  ];
  for (let round = 0; round < 1500; round += 1) {
    const at = Math.floor(Math.random() * text.length);
    const cut = Math.floor(Math.random() * 3);
    const piece = pieces[round % pieces.length] ?? '';
    agrees(text.slice(0, at) + piece + text.slice(at + cut));
  }
});

test.run();
