import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as assert from 'uvu/assert';
import { suite } from './suite.ts';

const test = suite('what a failing test file says');
const folder = mkdtempSync(join(tmpdir(), 'hka-suite-test-'));

test.after(() => rmSync(folder, { recursive: true, force: true }));

/** What a test file of these lines prints. */
async function printed(name: string, lines: readonly string[]): Promise<string> {
  const imports = [
    `import { suite } from ${JSON.stringify(pathToFileURL(join(import.meta.dirname, 'suite.js')).href)};`,
    `import { HkaError } from ${JSON.stringify(new URL('../../src/lib/errors.js', import.meta.url).href)};`,
    "const test = suite('inner');",
  ];
  const file = join(folder, `${name}.mjs`);
  writeFileSync(file, [...imports, ...lines, 'test.run();'].join('\n'));
  return await new Promise((done) => {
    const { HKA_TEST_REPORT: _unused, ...env } = process.env;
    execFile(process.execPath, [file], { env: { ...env, NO_COLOR: '1' } }, (_error, stdout, stderr) =>
      done(`${stdout}${stderr}`),
    );
  });
}

test('an error of ours is shown with its details, and the tests after it run', async () => {
  const output = await printed('ours', [
    "test('first', () => { throw new HkaError('HKA_INTERNAL', 'the reason', { details: { status: 418 } }); });",
    "test('second', () => { throw 'a text'; });",
    "test('third', () => undefined);",
  ]);
  assert.match(output, /the reason \{ status: 418 \}/);
  assert.match(output, /thrown, and no error: 'a text'/);
  assert.match(output, /Passed: {4}1\n/);
});

test('what a hook throws is shown', async () => {
  const output = await printed('hook', [
    "test.before(() => { throw new Error('nothing is there'); });",
    "test('first', () => undefined);",
  ]);
  assert.match(output, /a hook of the suite failed: Error: nothing is there/);
});

test.run();
