/** The table of docs/vault-tests.md names tests that are there, and docs/vault.md shows what `vault policy` really prints. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { main } from '../../src/cli/main.ts';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { missingTests, namedTests } from './support/named-tests.ts';

const test = suite('what docs say of the Vault layer');
const read = (...path: string[]): string => readFileSync(join(ROOT, ...path), 'utf8');

const rows = namedTests(read('docs', 'vault-tests.md'));

test('the table has rows', () => {
  assert.ok(rows.length > 40, `${rows.length} rows`);
});

test('every test that is named is declared in the file that is named', () => {
  assert.equal(missingTests(rows), []);
});

test('no feature stands twice', () => {
  const features = rows.map(({ subject }) => subject);
  assert.equal(features, [...new Set(features)]);
});

test('the policy in docs/vault.md is what is printed for the configuration above it', async () => {
  const section = read('docs', 'vault.md').split('\n## Policies\n')[1] ?? '';
  const [, config = ''] = /```yaml\n(.*?)```/s.exec(section) ?? [];
  const [, policy = ''] = /```hcl\n(.*?)```/s.exec(section) ?? [];
  const references = Array.from(
    /`--reference ([^`]*)`/.exec(section)?.[1]?.matchAll(/'([^']*)'/g) ?? [],
    ([, text = '']) => text,
  );
  assert.is(references.length, 3);
  const folder = mkdtempSync(join(tmpdir(), 'hka-docs-'));
  try {
    const file = join(folder, 'config.yaml');
    writeFileSync(file, config);
    let out = '';
    const status = await main(
      ['vault', 'policy', '--service', 'gateway', '--config', file, '--reference', ...references],
      {
        stdout: { write: (text) => void (out += text) },
        stderr: { write: () => undefined },
        stdin: (async function* (): AsyncGenerator<string> {})(),
      },
    );
    assert.is(status, 0);
    assert.is(out, policy);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
