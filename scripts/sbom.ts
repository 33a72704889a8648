/**
 * Writes a CycloneDX bill of materials of what is installed with this package, by npm's own `npm sbom`, and checks that it lists
 * every production dependency of package-lock.json and none that is for development only.
 * Usage: `node dist/scripts/sbom.js FILE`.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { lockedPackages } from './lockfile.ts';

const root = resolve(import.meta.dirname, '..', '..');

interface Component {
  readonly 'bom-ref': string;
  readonly name: string;
  readonly version: string;
  readonly properties?: readonly { readonly name: string; readonly value: string }[];
}
interface Bom {
  metadata: { component: { name: string } };
  components: readonly Component[];
  dependencies: readonly { readonly ref: string; readonly dependsOn?: readonly string[] }[];
}

/**
 * Without what is for development only. `npm sbom --omit dev` (npm 11.19) can't be used for it: it leaves out whatever a
 * development dependency needs too, and so what pg needs, for @types/pg needs it as well.
 */
function withoutDevelopment(bom: Bom): Bom {
  const isDev = ({ properties = [] }: Component): boolean =>
    properties.some(({ name, value }) => name === 'cdx:npm:package:development' && value === 'true');
  const dev = new Set(bom.components.filter(isDev).map((component) => component['bom-ref']));
  return {
    ...bom,
    components: bom.components.filter((component) => !dev.has(component['bom-ref'])),
    dependencies: bom.dependencies
      .filter(({ ref }) => !dev.has(ref))
      .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((one) => !dev.has(one)) })),
  };
}

function main(file: string | undefined): number {
  if (file === undefined) {
    process.stderr.write('usage: node dist/scripts/sbom.js FILE\n');
    return 2;
  }
  // From the lock file: what is installed here is of this machine's platform only.
  const options = ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only'];
  const text = execFileSync('npm', options, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 });
  const bom = withoutDevelopment(JSON.parse(text) as Bom);
  // npm takes the folder's name.
  const { name } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { name: string };
  bom.metadata.component.name = name;

  const id = (component: Pick<Component, 'name' | 'version'>): string =>
    `${component.name}@${component.version}`;
  const listed = new Set(bom.components.map(id));
  const expected = new Set(
    lockedPackages(root)
      .filter(({ isDev }) => !isDev)
      .map(id),
  );
  const missing = [...expected].filter((one) => !listed.has(one));
  const beyond = [...listed].filter((one) => !expected.has(one));
  if (expected.size === 0 || missing.length > 0 || beyond.length > 0) {
    process.stderr.write(
      `the bill of materials is not that of package-lock.json\n  missing: ${missing.join(', ')}\n  too much: ${beyond.join(', ')}\n`,
    );
    return 1;
  }
  writeFileSync(file, `${JSON.stringify(bom, null, 2)}\n`);
  process.stdout.write(`sbom: ${file}, ${listed.size} components\n`);
  return 0;
}

process.exitCode = main(process.argv[2]);
