/** Licences of dependencies: an unknown one is refused, and the page lists every package that is installed with this one. R10. */
import * as assert from 'uvu/assert';
import { isAllowedLicence, licencesPage } from '../../scripts/generate-licences.ts';
import { lockedPackages } from '../../scripts/lockfile.ts';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('licences of dependencies');

test('one of several is enough where one may choose, all are needed where all apply', () => {
  const cases: readonly (readonly [expression: string, isAllowed: boolean])[] = [
    ['MIT', true],
    ['(MIT OR GPL-3.0-only)', true],
    ['Apache-2.0 AND MIT', true],
    ['MIT AND GPL-3.0-only', false],
    ['AGPL-3.0-only', false],
    ['SEE LICENSE IN LICENSE.md', false],
    ['UNLICENSED', false],
    ['', false],
  ];
  for (const [expression, isAllowed] of cases) assert.is(isAllowedLicence(expression), isAllowed, expression);
});

test('a package with another licence, or none, is named, also one for development', () => {
  const fine = { name: 'fine', version: '1.0.0', license: 'MIT', isDev: false };
  const cases = [
    { name: 'strict', version: '2.0.0', license: 'AGPL-3.0-only', isDev: false },
    { name: 'silent', version: '3.0.0', license: '', isDev: true },
  ];
  for (const one of cases) {
    assert.throws(() => licencesPage([fine, one]), new RegExp(`${one.name} ${one.version}`));
  }
});

test('the page lists what the dependencies bring, and nothing that is for development only', () => {
  const packages = lockedPackages(ROOT);
  const page = licencesPage(packages);
  const rows = packages.filter(({ name, version }) =>
    new RegExp(`^\\| ${name} +\\| ${version.replaceAll('.', '\\.')} `, 'm').test(page),
  );
  assert.equal(
    rows.filter(({ isDev }) => isDev),
    [],
  );
  assert.is(rows.length, packages.filter(({ isDev }) => !isDev).length);
  assert.ok(packages.some(({ name, isDev }) => name === 'typescript' && isDev));
  assert.ok(packages.some(({ name, isDev }) => name === 'argon2' && !isDev));
});

test.run();
