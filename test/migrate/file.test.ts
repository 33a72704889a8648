/** `migrate` on a declarative file: every byte that is not meant stays, comments and anchors too. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { applyEdits, inverse, planFileSwitch, withoutCredentials } from '../../src/migrate/file-edit.ts';
import { isHkaError } from '../../src/lib/errors.ts';
import { hkaHere } from '../helpers/command-here.ts';
import { install } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('migrate a declarative file');

const switched = (text: string): string => planFileSwitch(text, 'kong.yml').text;

function conflict(work: () => unknown, message: string): void {
  try {
    work();
  } catch (error) {
    assert.ok(isHkaError(error) && error.code === 'HKA_CONFLICT', String(error));
    assert.match(error.message, message);
    return;
  }
  assert.unreachable('it was changed');
}

const CASES: readonly (readonly [name: string, before: string, after: string])[] = [
  [
    'a block mapping with a comment',
    `plugins:\n  # who calls\n  - name: key-auth # note\n    config:\n      key_names: [x] # names\n`,
    `plugins:\n  # who calls\n  - name: hashed-key-auth # note\n    config:\n      hide_credentials: false\n      key_names: [x] # names\n`,
  ],
  [
    'a setting that is stated stays as it is written',
    `plugins:\n- config: {hide_credentials: yes-no}\n  name: other\n- {name: "key-auth", config: {hide_credentials:   true}}\n`,
    `plugins:\n- config: {hide_credentials: yes-no}\n  name: other\n- {name: "hashed-key-auth", config: {hide_credentials:   true}}\n`,
  ],
  [
    'no configuration',
    `services:\n- name: s\n  plugins:\n  - name: 'key-auth'\n    enabled: false\n`,
    `services:\n- name: s\n  plugins:\n  - config:\n      hide_credentials: false\n    name: 'hashed-key-auth'\n    enabled: false\n`,
  ],
  [
    'an empty configuration, and null',
    `plugins:\n- name: key-auth\n  config:\n- name: key-auth\n  route: r\n  config: ~\n- name: key-auth\n  service: s\n  config: {}\n`,
    `plugins:\n- name: hashed-key-auth\n  config: {hide_credentials: false}\n- name: hashed-key-auth\n  route: r\n  config: {hide_credentials: false}\n- name: hashed-key-auth\n  service: s\n  config: {hide_credentials: false}\n`,
  ],
  [
    'an anchor that only key-auth plugins share',
    `_c: &c\n  key_names: [x]\nroutes:\n- name: a\n  plugins: [{name: key-auth, config: *c}]\n- name: b\n  plugins:\n  - name: key-auth\n    config: *c\n`,
    '',
  ],
  [
    'a merge key that states the setting',
    `_c: &c {hide_credentials: true}\nroutes:\n- name: a\n  plugins:\n  - name: key-auth\n    config:\n      <<: *c\n      key_names: [a]\n`,
    `_c: &c {hide_credentials: true}\nroutes:\n- name: a\n  plugins:\n  - name: hashed-key-auth\n    config:\n      <<: *c\n      key_names: [a]\n`,
  ],
  [
    "decK's shared configuration",
    `_plugin_configs:\n  ka:\n    hide_credentials: true\nplugins:\n- name: key-auth\n  _config: ka\n`,
    `_plugin_configs:\n  ka:\n    hide_credentials: true\nplugins:\n- name: hashed-key-auth\n  _config: ka\n`,
  ],
  [
    'JSON',
    `{"_format_version":"3.0","plugins":[ {"name":"key-auth","config":{"realm":"a"}} ],\n "services":[{"name":"s","plugins":[{"name": "key-auth"}]}]}`,
    `{"_format_version":"3.0","plugins":[ {"name":"hashed-key-auth","config":{"hide_credentials": false, "realm":"a"}} ],\n "services":[{"name":"s","plugins":[{"config": {"hide_credentials": false}, "name": "hashed-key-auth"}]}]}`,
  ],
  [
    'Windows line ends and what is no ASCII',
    `# ключ 🔑\r\nplugins:\r\n- name: key-auth\r\n  config:\r\n    realm: "ä"\r\n`,
    `# ключ 🔑\r\nplugins:\r\n- name: hashed-key-auth\r\n  config:\r\n    hide_credentials: false\r\n    realm: "ä"\r\n`,
  ],
];

for (const [name, before, after] of CASES.filter(([, , expected]) => expected !== '')) {
  test(`${name}: only the plugin changes, and the way back is exact`, () => {
    const { text, edits } = planFileSwitch(before, 'kong.yml');
    assert.is(text, after);
    assert.is(applyEdits(text, inverse(edits)), before);
    assert.is(switched(text), text);
  });
}

test('a configuration under an anchor, used twice and nowhere else: where it is defined counts as a use', () => {
  const [, shared = ''] = CASES.find(([name]) => name.startsWith('an anchor')) ?? [];
  // `_c` itself is a value of the file and would change with it.
  conflict(() => switched(shared), 'anchor');
  const inPlace = `routes:\n- name: a\n  plugins:\n  - name: key-auth\n    config: &c\n      key_names: [x]\n- name: b\n  plugins:\n  - {name: key-auth, config: *c}\n`;
  assert.is(
    switched(inPlace),
    `routes:\n- name: a\n  plugins:\n  - name: hashed-key-auth\n    config: &c\n      hide_credentials: false\n      key_names: [x]\n- name: b\n  plugins:\n  - {name: hashed-key-auth, config: *c}\n`,
  );
});

test('what a key-auth plugin shares with another plugin is not changed', () => {
  conflict(
    () =>
      switched(
        `plugins:\n- name: key-auth\n  config: &c\n    anonymous: a\n- name: basic-auth\n  config: *c\n`,
      ),
    'Write it out',
  );
});

test('a plugin on a consumer is refused with the reason, the others are switched', () => {
  const { refused, plugins, text } = planFileSwitch(
    `consumers:\n- username: a\n  plugins:\n  - name: key-auth\nplugins:\n- {name: key-auth, consumer_group: g}\n- {name: key-auth}\n- {name: key-auth, route: r, config: {key_names: ["a b"]}}\n`,
    'kong.yml',
  );
  assert.equal(
    plugins.map(({ id }) => id),
    ['plugins[1]'],
  );
  assert.equal(
    refused.map(({ plugin }) => plugin.id),
    ['consumers[0].plugins[0]', 'plugins[0]', 'plugins[2]'].toSorted(
      (a, b) =>
        refused.findIndex(({ plugin }) => plugin.id === a) -
        refused.findIndex(({ plugin }) => plugin.id === b),
    ),
  );
  assert.match(refused.map(({ reason }) => reason).join('\n'), 'a consumer group');
  assert.match(refused.map(({ reason }) => reason).join('\n'), 'config.key_names[0]');
  assert.match(text, '- {config: {hide_credentials: false}, name: hashed-key-auth}');
});

const PURGES: readonly (readonly [name: string, before: string, after: string])[] = [
  [
    'under consumers, between and after other fields, with comments around',
    `consumers:\n# first\n- username: a # a\n  keyauth_credentials:\n  - key: k1 # old\n    tags: [x]\n  # acls of a\n  acls:\n  - group: g\n- username: b\n  keyauth_credentials:\n  - key: k2\n# end\n`,
    `consumers:\n# first\n- username: a # a\n  # acls of a\n  acls:\n  - group: g\n- username: b\n# end\n`,
  ],
  [
    'first in its item',
    `consumers:\n- keyauth_credentials:\n  - key: k1\n  username: a\n`,
    `consumers:\n- username: a\n`,
  ],
  [
    'in flow style and on top',
    `keyauth_credentials:\n- {consumer: a, key: k0}\nconsumers: [{username: a, keyauth_credentials: [{key: k1}]}, {keyauth_credentials: [], username: b}]\n`,
    `consumers: [{username: a}, {username: b}]\n`,
  ],
  [
    'JSON',
    `{"consumers":[{"username":"a","keyauth_credentials":[{"key":"k1"}],"tags":["x"]},{"username":"b","keyauth_credentials":[{"key":"k2"}]}]}`,
    `{"consumers":[{"username":"a","tags":["x"]},{"username":"b"}]}`,
  ],
  [
    'a block scalar as a key',
    `consumers:\n- username: a\n  keyauth_credentials:\n  - key: |-\n      k1\n  tags: [b]\n`,
    `consumers:\n- username: a\n  tags: [b]\n`,
  ],
];
for (const [name, before, after] of PURGES) {
  test(`keys are taken out: ${name}`, () => {
    assert.is(withoutCredentials(before, 'kong.yml').text, after);
  });
}

test('the whole way on a file, and back, byte for byte', async () => {
  const installation = await install();
  const path = join(installation.folder, 'kong.yml');
  const original = `# our gateway\n_format_version: "3.0"\nconsumers:\n- username: alice # vip\n  keyauth_credentials:\n  - key: alices-own-key\n    tags: [web]\n- username: bob\n  keyauth_credentials:\n  - {key: 'bob key with spaces'}\nplugins:\n- name: key-auth\n`;
  writeFileSync(path, original, { mode: 0o640 });
  const step = async (...args: string[]): Promise<Record<string, unknown>> => {
    const result = await hkaHere(['migrate', ...args, '--json', '--config', installation.config]);
    assert.is(result.status, 0, result.stderr);
    return JSON.parse(result.stdout) as Record<string, unknown>;
  };
  assert.is((await step('import', '--file', path))['import'], 2);
  const stored = readFileSync(installation.store, 'utf8');
  assert.is((await step('import', '--file', path))['unchanged'], 2);
  assert.is(readFileSync(installation.store, 'utf8'), stored);
  const early = await hkaHere(['migrate', 'rollback', '--file', path, '--config', installation.config]);
  assert.equal(
    [early.status, early.stdout],
    [0, `There was nothing to undo: nothing at ${path} is switched.\n`],
  );
  assert.is((await step('verify', '--file', path))['verified'], 2);
  assert.is((await step('switch', '--yes', '--file', path))['switched'], 1);
  assert.match(readFileSync(path, 'utf8'), 'name: hashed-key-auth');
  assert.is((await step('rollback', '--file', path))['undone'], 2);
  assert.is(readFileSync(path, 'utf8'), original);
  await step('switch', '--yes', '--file', path);
  assert.is(
    (await step('purge', '--file', path, '--settle', '1s', '--yes-delete-plain-keys', '2'))['deleted'],
    2,
  );
  assert.is(
    readFileSync(path, 'utf8'),
    `# our gateway\n_format_version: "3.0"\nconsumers:\n- username: alice # vip\n- username: bob\nplugins:\n- config:\n    hide_credentials: false\n  name: hashed-key-auth\n`,
  );
  for (const key of ['alices-own-key', 'bob key with spaces']) {
    assert.is((await hkaHere(['keys', 'verify', '--config', installation.config], key)).status, 0);
    assert.not.match(readFileSync(join(installation.folder, 'migration.journal'), 'utf8'), key);
  }
  await installation.dispose();
});

test('the plan notes what is taken as it is, but may not be what was meant', async () => {
  const installation = await install();
  const path = join(installation.folder, 'kong.yml');
  writeFileSync(
    path,
    'keyauth_credentials:\n- {consumer: elsewhere, key: CANARY-1}\n- {consumer: elsewhere, key: CANARY-2, ttl: 86400}\n',
  );
  const args = ['migrate', 'plan', '--file', path, '--config', installation.config];
  const { status, stdout } = await hkaHere(args);
  assert.is(status, 0);
  assert.match(stdout, /note: keyauth_credentials\[0\] \(line 2\): its consumer is not among/);
  assert.match(stdout, /note: keyauth_credentials\[1\] \(line 3\): ttl lies before 2001/);
  const { warnings } = JSON.parse((await hkaHere([...args, '--json'])).stdout) as { warnings: unknown[] };
  assert.is(warnings.length, 3);
  assert.not.match(stdout, 'CANARY');
  await installation.dispose();
});

test.run();
