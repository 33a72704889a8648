/** docs/licences.md: under which licence each package comes that is installed with this one. Unknown licences are refused. */
import type { LockedPackage } from './lockfile.ts';
import { markdownTable } from './markdown-table.ts';

/**
 * SPDX identifiers that ask for no more than their text to be kept. One that is not here is to be read by a person before
 * it is added: some ask for the source of what uses them.
 */
const ALLOWED = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'ISC',
  'MIT',
  'PSF-2.0',
  'Python-2.0',
]);

/** Of `A OR B` one allowed licence is enough, of `A AND B` all must be. Anything more complicated is not allowed. */
export function isAllowedLicence(expression: string): boolean {
  const text = expression.trim().replace(/^\(([^()]*)\)$/, '$1');
  const isKnown = (part: string): boolean => ALLOWED.has(part.trim());
  if (text.includes(' AND ')) return text.split(' AND ').every(isKnown);
  return text.split(' OR ').some(isKnown);
}

/** Throws, naming each package, when one has a licence that is not allowed. Those for development are held to the same list. */
export function licencesPage(packages: readonly LockedPackage[]): string {
  const refused = packages.filter(({ license }) => !isAllowedLicence(license));
  if (refused.length > 0) {
    const list = refused.map(
      ({ name, version, license }) => `  ${name} ${version}: ${license || 'none stated'}`,
    );
    throw new Error(
      `packages with licences that scripts/generate-licences.ts does not allow:\n${list.join('\n')}\n` +
        `allowed are ${[...ALLOWED].join(', ')}`,
    );
  }
  const shipped = packages.filter(({ isDev }) => !isDev);
  const licences = [...new Set(shipped.map(({ license }) => license))].toSorted();
  return [
    '# Licences of dependencies',
    '',
    '<!-- Generated from package-lock.json by `make generate`. -->',
    '',
    'hashed-key-auth itself is under Apache-2.0. What `npm install` brings with it comes under these licences; the text of each lies in its',
    "package's own folder in `node_modules`. Packages for one platform only are listed too. `make check` fails when a package, also one for",
    'development, has a licence that is not on the list in `scripts/generate-licences.ts`.',
    '',
    markdownTable(
      ['licence', 'packages'],
      licences.map((licence) => [
        licence,
        String(shipped.filter(({ license }) => license === licence).length),
      ]),
    ),
    '',
    markdownTable(
      ['package', 'version', 'licence'],
      shipped.map(({ name, version, license }) => [name, version, license]),
    ),
    '',
  ].join('\n');
}
