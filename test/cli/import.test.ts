/** `keys import`: the keys of an ordinary kong.yml become hashes, once, with nothing lost and nothing shown. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { install, type Installation } from '../helpers/installation.ts';
import { kongKey } from '../helpers/keys.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('keys import');

const ID = '9d6cf6b5-2f3a-4f5e-8a47-6f1f1d5e9c01';
const STRONG = kongKey();
const FUTURE = Math.floor(Date.now() / 1000) + 86_400;

let installation: Installation;
let source: string;
test.beforeEach(async () => {
  installation = await install();
  source = join(installation.folder, 'kong.yml');
});
test.afterEach(() => installation.dispose());

interface Report {
  imported: { id: string; consumer: { id?: string; username?: string }; where: string }[];
  unchanged: { id: string }[];
  weak: { id: string }[];
  refused: { where: string; problem: string }[];
}

async function importFile(
  text: string,
  ...options: string[]
): Promise<{ status: number; report: Report; stderr: string }> {
  writeFileSync(source, text, { mode: 0o600 });
  const { status, stdout, stderr } = await installation.run(['keys', 'import', source, '--json', ...options]);
  return { status, report: JSON.parse(stdout === '' ? '{}' : stdout) as Report, stderr };
}

const BOTH_FORMS = `
_format_version: '3.0'
consumers:
  - username: alice
    id: 0b6cf6b5-2f3a-4f5e-8a47-6f1f1d5e9c77
  - username: bob
    keyauth_credentials:
      - key: bobs-key
        tags: [a, b]
keyauth_credentials:
  - id: ${ID}
    consumer: alice
    key: ${STRONG}
    ttl: ${FUTURE}
    tags: [x]
`;

test('both forms, with ids, tags and ttl', async () => {
  const { status, report } = await importFile(BOTH_FORMS);
  assert.is(status, 0);
  assert.is(report.imported.length, 2);
  assert.equal(report.weak.length, 1);
  const shown = JSON.parse((await installation.run(['keys', 'show', ID, '--json'])).stdout) as Record<
    string,
    unknown
  >;
  assert.equal(shown['consumer'], { id: '0b6cf6b5-2f3a-4f5e-8a47-6f1f1d5e9c77', username: 'alice' });
  assert.equal(shown['tags'], ['x']);
  assert.is(Date.parse(String(shown['expires_at'])), FUTURE * 1000);
  assert.match((await installation.run(['keys', 'verify'], STRONG)).stdout, ID);
  assert.is((await installation.run(['keys', 'verify'], 'bobs-key')).status, 0);
});

test('a second run changes nothing, byte for byte', async () => {
  await importFile(BOTH_FORMS);
  const before = readFileSync(installation.store, 'utf8');
  const { report } = await importFile(BOTH_FORMS);
  assert.equal([report.imported.length, report.unchanged.length], [0, 2]);
  assert.is(readFileSync(installation.store, 'utf8'), before);
});

test('a dry run writes nothing and says what would be done', async () => {
  const before = readFileSync(installation.store, 'utf8');
  const { report } = await importFile(BOTH_FORMS, '--dry-run');
  assert.is(report.imported.length, 2);
  assert.is(readFileSync(installation.store, 'utf8'), before);
  const file = join(installation.folder, 'weak.yml');
  writeFileSync(file, 'consumers: [{username: a, keyauth_credentials: [{key: weak-1}]}]');
  const { stderr } = await installation.run(['keys', 'import', file, '--dry-run']);
  assert.match(stderr, /^ {2}consumers\[0\]\.keyauth_credentials\[0\].* {2}a$/m);
});

test('a ttl that has passed is kept: the key is expired, as it was', async () => {
  await importFile(`consumers: [{username: a, keyauth_credentials: [{key: old-one, ttl: 3600}]}]`);
  assert.match((await installation.run(['keys', 'verify'], 'old-one')).stdout, 'expired');
});

test('what can not be imported is named by its place, the rest is imported, and the status says so', async () => {
  const issued = (await installation.issue('carol')).key;
  const { status, report } = await importFile(`
consumers:
  - username: alice
    keyauth_credentials:
      - key: good-key
      - key: good-key
      - key: ''
      - key: 12345
      - {tags: [x]}
      - key: ${'x'.repeat(5000)}
      - key: ${issued}
`);
  assert.is(status, 4);
  assert.is(report.imported.length, 1);
  assert.is(report.refused.length, 6);
  for (const { where, problem } of report.refused) {
    assert.match(where, 'consumers[0].keyauth_credentials[');
    assert.not.match(problem, 'good-key');
    assert.not.match(problem, issued);
  }
});

test('an id that is there with another key is refused, and the stored one kept', async () => {
  await importFile(`consumers: [{username: a, keyauth_credentials: [{id: ${ID}, key: first-key}]}]`);
  const { status, report } = await importFile(
    `consumers: [{username: a, keyauth_credentials: [{id: ${ID}, key: other-key}]}]`,
  );
  assert.is(status, 4);
  assert.match(report.refused[0]?.problem ?? '', 'another key');
  assert.is((await installation.run(['keys', 'verify'], 'first-key')).status, 0);
  assert.is((await installation.run(['keys', 'verify'], 'other-key')).status, 3);
});

test('the same key for another consumer is refused', async () => {
  await importFile(`consumers: [{username: a, keyauth_credentials: [{key: shared-key}]}]`);
  const { report } = await importFile(`consumers: [{username: b, keyauth_credentials: [{key: shared-key}]}]`);
  assert.equal([report.imported.length, report.refused.length], [0, 1]);
});

test('a file that is not there, or no YAML, or no configuration, is an error and changes nothing', async () => {
  const before = readFileSync(installation.store, 'utf8');
  assert.is((await installation.run(['keys', 'import', '/no/such/file'])).status, 2);
  for (const text of ['a: [canary-text', '- just\n- a list', '"canary-text"', 'consumer: [canary-text]']) {
    writeFileSync(source, text);
    const { status, stderr } = await installation.run(['keys', 'import', source]);
    assert.is(status, 4, text);
    assert.not.match(stderr, 'canary');
  }
  assert.is(readFileSync(installation.store, 'utf8'), before);
});

test('a file without keys is said to be one: it may be another than was meant', async () => {
  writeFileSync(source, '_format_version: "3.0"\nconsumer: []\n');
  const { status, stderr } = await installation.run(['keys', 'import', source]);
  assert.is(status, 0);
  assert.match(stderr, 'has no keyauth_credentials');
});

test('many keys get one index length, and verify', async () => {
  const keys = Array.from({ length: 60 }, (_, index) => (index % 2 === 0 ? `weak-${index}` : kongKey()));
  const { report } = await importFile(
    `consumers:\n${keys.map((key, index) => `  - username: c${index}\n    keyauth_credentials: [{key: ${key}}]`).join('\n')}\n`,
  );
  assert.equal([report.imported.length, report.weak.length], [60, 30]);
  const stored = readFileSync(installation.store, 'utf8');
  const lengths = new Set([...stored.matchAll(/index: "?(\d+):/g)].map((match) => match[1]));
  // log2(30) + 8, rounded up, and 64 for the strong ones.
  assert.equal(lengths, new Set(['14', '64']));
  for (const key of [keys[0], keys[1], keys[58], keys[59]]) {
    assert.is((await installation.run(['keys', 'verify'], key)).status, 0);
  }
});

test.run();
