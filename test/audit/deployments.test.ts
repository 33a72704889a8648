/** A deployment in which everything is wrong: each planted fault is found where it is. Our own examples: nothing is found. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { RULES } from '../../src/audit/rules.ts';
import { hka, install, ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { auditExample, brief } from './support.ts';

const test = suite('audited deployments');

const FOLDER = join(ROOT, 'test', 'audit', 'bad-deployment');
/** Only a live Admin API can show it: test/audit/live.test.ts. */
const LIVE_ONLY = ['R6-admin-api-open'];

const files = Object.fromEntries(
  readdirSync(FOLDER).map((name) => [name, readFileSync(join(FOLDER, name), 'utf8')]),
);
const faults = Object.entries(files).flatMap(([file, text]) => {
  const lines = text.split('\n');
  return lines.flatMap((content, index) => {
    const rule = /FAULT: (R\d+-[\w-]+)/.exec(content)?.[1];
    if (rule === undefined) return [];
    // A comment of its own speaks of the next line that is none.
    const isAlone = /^\s*(?:#|--)/.test(content);
    const next = lines.findIndex((line, at) => at > index && !/^\s*(?:#|--)/.test(line));
    return [{ rule, file, line: (isAlone ? next : index) + 1 }];
  });
});
const findings = auditExample({ files });

test('the bad deployment has a fault for every rule', () => {
  const planted = new Set(faults.map(({ rule }) => rule));
  const missing = RULES.map(({ id }) => id as string).filter((id) => !planted.has(id));
  assert.equal(missing, LIVE_ONLY);
});

for (const { rule, file, line } of faults) {
  test(`bad deployment: ${rule} is found in ${file}, line ${line}`, () => {
    const found = findings.filter((finding) => finding.rule === rule);
    assert.ok(
      found.some(({ place }) => place.source === file && place.line === line),
      brief(found).join('\n'),
    );
  });
}

test('bad deployment: no value that was found is printed, in any format', async () => {
  const secrets = [/n0t-a-real/, /not-a-real/, /not real/, /bm90LWEt/];
  const paths = Object.keys(files).map((name) => join(FOLDER, name));
  for (const format of ['table', 'json', 'sarif']) {
    const { status, stdout, stderr } = await hka(['audit', ...paths, '--format', format]);
    assert.is(status, 1);
    assert.ok(stdout.length > 1000);
    for (const secret of secrets) assert.not.match(stdout + stderr, secret, format);
  }
});

/** Nothing of Kong's or ours: Prometheus' files, units of systemd, PostgreSQL's, Kustomize's own. */
const OTHERS = /\/local\/|\/prometheus\/|\/systemd\/.*\.conf$|\/pg_hba\.conf$|\/kustomization\.yaml$/;

function ownFiles(folder: string, extension: RegExp): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && extension.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !OTHERS.test(path));
}

test('what stands in the place of a name but looks like a key is not printed', () => {
  const key = 'zX8kQ2mN5vB7wL3tR9yP1dF6';
  const misplaced = `_format_version: '3.0'\nkeyauth_credentials:\n  - id: ${key}\n    key: ${key}\nplugins:\n  - name: key-auth\n    config:\n      list: [{name: ${key}, token: ${key}}]\n`;
  const leaked = auditExample({ files: { 'kong.yml': misplaced } });
  assert.equal(leaked.map(({ rule }) => rule).toSorted(), [
    'R1-key-auth-plain',
    'R1-key-auth-plugin',
    'R3-plugin-secret-plain',
    'R3-plugin-secret-plain',
  ]);
  assert.not.match(JSON.stringify(leaked), key);
});

test('our own examples, and what init writes, give no finding', async () => {
  const installation = await install();
  try {
    const paths = [
      join(ROOT, 'docker-compose.yml'),
      join(ROOT, 'kong.yml'),
      ...ownFiles('deploy', /\.(?:ya?ml|conf|env)$/),
      ...ownFiles('src/generated/kong', /\.lua$/),
      installation.config,
    ];
    const { status, stdout, stderr } = await hka(['audit', ...paths, '--fail-on', 'info', '--json']);
    assert.equal([JSON.parse(stdout), stderr, status], [{ findings: [] }, '', 0]);
  } finally {
    await installation.dispose();
  }
});

test.run();
