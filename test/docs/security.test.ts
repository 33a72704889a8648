/** docs/security.md: each threat names a test that is there, and each requirement is answered. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { missingTests, namedTests } from './support/named-tests.ts';

const test = suite('the threat model');
const read = (name: string): string => readFileSync(join(ROOT, 'docs', name), 'utf8');
const page = read('security.md');
const rows = namedTests(page);

test('every threat in a table has a test', () => {
  const threats = page.match(/^\| threat .*\n\| -.*\n(?:\|.*\n)+/gm) ?? [];
  const lines = threats.flatMap((table) => table.trimEnd().split('\n').slice(2));
  assert.is(rows.length, lines.length, 'a row does not end with `file.test.ts` and the name of a test');
  assert.ok(lines.length > 60, `${lines.length} threats`);
});

test('every test that is named is declared in the file that is named', () => {
  assert.equal(missingTests(rows), []);
});

test('a test that is gone, or in another file, is noticed', () => {
  const wrong = namedTests(
    '| a | b | `lib/uuid.test.ts` | no such test |\n| c | d | `no/such.test.ts` | e |',
  );
  assert.is(missingTests(wrong).length, 2);
});

test('no threat stands twice', () => {
  const threats = rows.map(({ subject }) => subject);
  assert.equal(threats, [...new Set(threats)]);
});

test('R1 to R13 are listed as requirements, and R1 to R10 and R12 are threats here', () => {
  const listed = Array.from(read('requirements.md').matchAll(/^\| (R\d+) /gm), ([, id]) => id);
  assert.equal(
    listed,
    Array.from({ length: 13 }, (_, index) => `R${index + 1}`),
  );
  // R11 and R13 are about other plugins' tokens and about modes of Kong: the audit and the stores answer them.
  const missing = listed.filter(
    (id) => id !== 'R11' && id !== 'R13' && !new RegExp(`\\b${id}\\b`).test(page),
  );
  assert.equal(missing, []);
});

test.run();
