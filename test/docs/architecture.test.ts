/** docs/architecture.md: every dependency has its reason there, and every folder of src/ its line. R10. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('the architecture');
const read = (...path: string[]): string => readFileSync(join(ROOT, ...path), 'utf8');

const page = read('docs', 'architecture.md');
const [, dependencies = ''] = page.split('\n## Dependencies\n');
const named = new Set(Array.from(dependencies.matchAll(/`([^`]+)`/g), ([, name]) => name));
const manifest = JSON.parse(read('package.json')) as Record<
  'dependencies' | 'devDependencies',
  Record<string, string>
>;

test('every dependency is named with its reason', () => {
  const wanted = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.devDependencies)];
  assert.equal(
    wanted.filter((name) => !name.startsWith('@types/') && !named.has(name)),
    [],
  );
});

test('versions are pinned, so that what was tested is what is installed', () => {
  const versions = Object.values({ ...manifest.dependencies, ...manifest.devDependencies });
  assert.equal(
    versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(version)),
    [],
  );
});

test('every folder of src is described', () => {
  const folders = readdirSync(join(ROOT, 'src'), { withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  );
  // One that only adds counts to others needs no line of its own.
  const missing = folders
    .map(({ name }) => name)
    .filter((name) => name !== 'metrics' && !page.includes(`\`${name}\``));
  assert.equal(missing, []);
});

test.run();
