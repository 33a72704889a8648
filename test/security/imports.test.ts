/** Imports run one way: a lower layer never knows a higher one. What each folder may import is written down here. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import * as assert from 'uvu/assert';
import { suite } from '../helpers/suite.ts';

const test = suite('layers');
const src = resolve(import.meta.dirname, '..', '..', '..', 'src');

/** Folders of src/ that each folder may import from, besides itself. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  generated: [],
  lib: [],
  vault: ['lib'],
  store: ['lib', 'generated'],
  keys: ['lib', 'store'],
  plugin: ['lib', 'generated', 'store', 'vault', 'keys'],
  server: ['lib', 'plugin'],
  runtime: ['lib', 'generated', 'store', 'vault', 'keys', 'plugin'],
  workers: ['lib', 'store', 'vault', 'keys', 'plugin', 'server', 'runtime'],
  metrics: ['lib'],
  // Verifies keys as Kong would: over the plugin server's socket, in its protocol.
  migrate: ['lib', 'generated', 'store', 'vault', 'keys', 'plugin', 'server', 'audit'],
  admin: ['lib', 'generated', 'store', 'keys'],
  audit: ['lib'],
  // Asks the server as Kong would, with what `migrate verify` does so, and reads kong.conf as the audit does.
  doctor: ['lib', 'generated', 'store', 'vault', 'keys', 'runtime', 'admin', 'audit', 'migrate'],
  cli: [
    'admin',
    'audit',
    'doctor',
    'lib',
    'generated',
    'store',
    'vault',
    'keys',
    'plugin',
    'server',
    'runtime',
    'workers',
    'metrics',
    'migrate',
  ],
};

function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

test('every folder of src is in the list', () => {
  const folders = readdirSync(src, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  assert.equal(folders.map(({ name }) => name).toSorted(), Object.keys(ALLOWED).toSorted());
});

for (const [folder, allowed] of Object.entries(ALLOWED)) {
  test(`${folder} imports only ${allowed.length === 0 ? 'itself' : allowed.join(', ')}`, () => {
    for (const file of files(join(src, folder))) {
      for (const match of readFileSync(file, 'utf8').matchAll(/from '(\.[^']*)'|import\('(\.[^']*)'\)/g)) {
        const target = resolve(file, '..', match[1] ?? match[2] ?? '').slice(src.length + 1);
        const other = target.split('/')[0] ?? '';
        assert.ok(
          other === folder || allowed.includes(other),
          `${file.slice(src.length + 1)} imports ${target}`,
        );
      }
    }
  });
}

test('importing a module prints nothing and starts nothing: the plugin for the stock server, the command line, the servers', async () => {
  const { execFileSync } = await import('node:child_process');
  for (const module of [
    'runtime/stock-plugin.js',
    'cli/main.js',
    'server/plugin-server.js',
    'workers/supervisor.js',
    'workers/worker.js',
    'runtime/runtime.js',
    'admin/http/server.js',
    'cli/admin.js',
  ]) {
    const output = execFileSync(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `await import(${JSON.stringify(join(src, '..', 'dist', 'src', module))})`,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000 },
    );
    assert.is(output.length, 0, module);
  }
});

test.run();
