/**
 * `migrate secrets` with a real Vault, under the policies that are printed for it: what an upstream gets is the same before,
 * at every moment in between, afterwards, and after the way back. R3, R4, R12.
 */
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { hkaHere } from '../helpers/command-here.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { send } from '../helpers/http.ts';
import { install, type CommandResult, type Installation } from '../helpers/installation.ts';
import { kongKey } from '../helpers/keys.ts';
import { startStandInAdmin, type Entity, type StandInAdmin } from '../helpers/kong/admin-api.ts';
import { startStandInKong } from '../helpers/kong/stand-in.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream } from '../helpers/upstream.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { canary } from '../vault/support.ts';

const test = suite('migrate secrets');
const check = test.needing(vaultAbsence());
const absent = vaultAbsence() !== undefined;

let vault: VaultServer;
let proxy: FaultProxy;
let installation: Installation;
let admin: StandInAdmin;
/** The gateway's configuration is `installation.config`; this one is for the migration alone. */
let config: string;
/** A place in Vault for each test. */
let folder: string;
let count = 0;

const TOKEN = canary('token');
const PASSWORD = canary('password');
const QUERY = canary('query');
const OPEN = canary('open');

test.before(async () => {
  if (absent) return;
  vault = await startVault();
  proxy = await startFaultProxy(vault.address);
});
test.after(async () => {
  await proxy?.close();
  await vault?.stop();
});
test.beforeEach(async () => {
  if (absent) return;
  count += 1;
  folder = `secret/kong-${count}`;
  installation = await install();
  admin = await startStandInAdmin();
  config = join(installation.folder, 'migration.yaml');
  copyFileSync(installation.config, config);
  proxy.set({ kind: 'pass' });
  for (const [name, file] of [
    ['gateway', installation.config],
    ['migration', config],
  ] as const) {
    const made = (await vault.root('POST', 'auth/token/create', {
      policies: [`${name}-${count}`],
      no_default_policy: true,
    })) as { auth: { client_token: string } };
    writeFileSync(join(installation.folder, `${name}-token`), made.auth.client_token, { mode: 0o600 });
    const lines = [
      'vault:',
      `  address: ${name === 'gateway' ? vault.address : proxy.address}`,
      '  timeout_ms: 1000',
      `  auth: { method: token, token_file: ${name}-token }`,
      '  secrets: { fresh_seconds: 1, revalidate_seconds: 0 }',
      '  mounts: [{ path: secret, kv_version: 2 }]',
    ];
    writeFileSync(file, `${readFileSync(file, 'utf8')}${lines.join('\n')}\n`);
  }
  await allow('migration', ['--service', 'migration-secrets', '--path', path()]);
});
test.afterEach(async () => {
  if (absent) return;
  await admin.close();
  await installation.dispose();
});

const path = (): string => `${folder}/{service}/{route}/{kind}-{name}`;

/** Writes the policy as it is printed. */
async function allow(name: 'gateway' | 'migration', options: readonly string[]): Promise<void> {
  const printed = await hkaHere(['vault', 'policy', '--no-default-policy', ...options, '--config', config]);
  assert.is(printed.status, 0, printed.stderr);
  await vault.root('PUT', `sys/policies/acl/${name}-${count}`, { policy: printed.stdout });
}

interface Answer extends CommandResult {
  readonly report: {
    readonly moved?: number;
    readonly stored?: number;
    readonly undone?: number;
    readonly conflicts?: readonly string[];
    readonly moves?: readonly { readonly item: Record<string, unknown>; readonly into: string }[];
    readonly left?: readonly { readonly field: string; readonly reason: string }[];
    readonly references?: readonly string[];
    readonly in_vault?: readonly string[];
    readonly next?: string;
  };
}

async function secrets(step: string, ...args: string[]): Promise<Answer> {
  const places = step === 'status' || args.includes('--file') ? [] : ['--kong-admin-url', admin.url];
  const at = step === 'apply' || step === 'plan' ? ['--path', path()] : [];
  const result = await hkaHere([
    'migrate',
    'secrets',
    step,
    ...places,
    ...at,
    ...args,
    '--json',
    '--config',
    config,
  ]);
  return { ...result, report: JSON.parse(result.stdout === '' ? '{}' : result.stdout) as Answer['report'] };
}

const journal = (): string => readFileSync(join(installation.folder, 'migration-secrets.journal'), 'utf8');

/** Everything of the plugins that counts. */
const plugins = (): unknown =>
  [...admin.entities.plugins.values()]
    .map(({ updated_at: _at, created_at: _made, ...plugin }) => structuredClone(plugin))
    .toSorted((a, b) =>
      JSON.stringify([a['name'], a['route']]) < JSON.stringify([b['name'], b['route']]) ? -1 : 1,
    );

const withoutIds = (entities: unknown): unknown =>
  (entities as Entity[]).map(({ id: _id, ...plugin }) => plugin);

function route(name: string, port: number, ...entities: { name: string; config?: unknown }[]): void {
  const service = admin.add('services', {
    name: `${name}-service`,
    protocol: 'http',
    host: '127.0.0.1',
    port,
  });
  const { id } = admin.add('routes', { name, paths: [`/${name}`], service: { id: service.id } });
  for (const entity of entities) admin.add('plugins', { ...entity, route: { id } });
}

const transformer = (lists: Record<string, unknown>): { name: string; config: unknown } => ({
  name: 'request-transformer',
  config: Object.fromEntries(
    ['remove', 'rename', 'replace', 'add', 'append'].map((mode) => [
      mode,
      {
        ...(mode === 'replace' ? { uri: null } : {}),
        body: [],
        headers: [],
        querystring: [],
        ...(lists[mode] as object | undefined),
      },
    ]),
  ),
});

/** Three routes: Kong's key-auth, ours, and nobody. */
function furnish(port = 9): void {
  route(
    'native',
    port,
    { name: 'key-auth' },
    transformer({
      add: { headers: ['X-Source:kong', `Authorization:Bearer ${TOKEN}`], querystring: [`api_key:${QUERY}`] },
    }),
  );
  const basic = Buffer.from(`svc:${PASSWORD}`).toString('base64');
  route(
    'ours',
    port,
    { name: 'hashed-key-auth', config: {} },
    transformer({
      add: { headers: [`Authorization:Basic ${basic}`] },
      replace: { headers: [`Authorization:Basic ${basic}`] },
    }),
  );
  route('open', port, transformer({ append: { headers: [`X-Api-Key: ${OPEN}`] } }));
}

function hidesSecrets(...texts: string[]): void {
  const basic = Buffer.from(`svc:${PASSWORD}`).toString('base64');
  for (const text of texts) {
    for (const secret of [TOKEN, PASSWORD, QUERY, OPEN, basic]) assert.not.match(text, secret);
  }
}

check('the upstream gets the same before, at each step, afterwards and after the way back', async () => {
  const upstream = await startUpstream();
  furnish(upstream.port);
  const alice = admin.addConsumer('alice');
  const nativeKey = kongKey();
  admin.addKey(alice, nativeKey);
  const { key } = await installation.issue(alice.id);
  const references = (await secrets('plan')).report.references ?? [];
  assert.is(references.length, 4);
  await allow('gateway', ['--service', 'gateway', '--reference', ...references]);
  await installation.serve();
  const gateway = await startStandInKong({
    config: admin.declarative(),
    pluginServers: installation.pluginServers('vault-upstream-secrets'),
  });
  const look = async (): Promise<unknown> => {
    const answers = [
      await send(`${gateway.url}/native/x?page=1`, { headers: [['apikey', nativeKey]] }),
      await send(`${gateway.url}/ours/x`, { headers: [['apikey', key]] }),
      await send(`${gateway.url}/open/x`),
    ];
    return answers.map(({ status, body }) => {
      if (status !== 200) return `${status} ${body}`;
      const seen = JSON.parse(body) as { url: string; rawHeaders: string[] };
      return [
        seen.url,
        ...['authorization', 'x-api-key', 'x-source'].map((name) =>
          headerValues(seen, name).map((value) => value.trim()),
        ),
      ];
    });
  };
  const expected = await look();
  assert.match(JSON.stringify(expected), new RegExp(`${QUERY}.*${TOKEN}.*${OPEN}`));
  const seen: unknown[] = [];
  admin.onChange = async () => {
    await gateway.reload(admin.declarative());
    seen.push(await look());
  };
  try {
    const before = plugins();
    const shown = await secrets('apply');
    assert.equal(plugins(), before);
    const done = await secrets('apply', '--yes', '--gateway-config', installation.config);
    assert.equal([done.status, done.report.moved, done.report.stored], [0, 4, 4], done.stderr);
    assert.equal(done.report.moves?.map(({ into }) => into).toSorted(), [
      'hashed-key-auth',
      ...Array.from({ length: 3 }, () => 'vault-upstream-secrets'),
    ]);
    // Two new plugins, one with more, and three that have lost secrets.
    assert.equal(
      seen,
      Array.from({ length: 6 }, () => expected),
    );
    hidesSecrets(JSON.stringify(plugins()), journal(), shown.stdout, done.stdout + done.stderr);
    assert.is(statSync(join(installation.folder, 'migration-secrets.journal')).mode & 0o777, 0o600);
    assert.is((await secrets('plan')).report.moves?.length, 0);
    assert.is((await secrets('apply', '--yes')).report.moved, 0);
    assert.is((await secrets('status')).report.in_vault?.length, 4);

    assert.is((await secrets('rollback', '--dry-run')).status, 0);
    const back = await secrets('rollback');
    assert.equal([back.status, back.report.undone], [0, 6], back.stdout);
    assert.equal(plugins(), before);
    assert.equal(
      seen,
      Array.from({ length: 12 }, () => expected),
    );
    // The secrets are in Vault already.
    const again = await secrets('apply', '--yes');
    assert.equal([again.status, again.report.moved, again.report.stored], [0, 4, 0]);
    assert.equal(await look(), expected);
  } finally {
    await gateway.stop();
    await upstream.close();
  }
});

check('without a right, or with another secret in its place, nothing is changed', async () => {
  furnish();
  const before = plugins();
  const references = (await secrets('plan')).report.references ?? [];
  // One right less than is printed, each in turn.
  for (const [capabilities, missing] of [
    ['"read"', 'create and update'],
    ['"create"', 'read'],
  ] as const) {
    await vault.root('PUT', `sys/policies/acl/migration-${count}`, {
      policy: `path "secret/data/*" { capabilities = [${capabilities}] }\npath "auth/token/lookup-self" { capabilities = ["read"] }`,
    });
    const refused = await secrets('apply', '--yes');
    assert.is(refused.status, 5, refused.stderr);
    assert.match(refused.stderr, 'HKA_VAULT_FORBIDDEN');
    assert.match(refused.stderr, `has to grant ${missing} on`);
    assert.equal(plugins(), before);
  }
  await allow('migration', ['--service', 'migration-secrets', '--path', path()]);
  // The gateway may not read them.
  await vault.root('PUT', `sys/policies/acl/gateway-${count}`, {
    policy: 'path "auth/token/lookup-self" { capabilities = ["read"] }',
  });
  const blind = await secrets('apply', '--yes', '--gateway-config', installation.config);
  assert.is(blind.status, 5, blind.stderr);
  assert.equal(plugins(), before);

  const reference = references.find((text) => text.includes('/native/header-authorization')) ?? '';
  const place = reference.replace('vault://secret/', 'secret/data/').replace('#value', '');
  await vault.root('POST', place, { data: { value: 'of somebody else' } });
  const taken = await secrets('apply', '--yes');
  assert.is(taken.status, 6, taken.stderr);
  assert.match(taken.stderr, 'holds another secret already');
  await vault.root('DELETE', place);
  assert.match((await secrets('apply', '--yes')).stderr, 'was deleted there');
  assert.equal(plugins(), before);
  assert.is(
    (
      (await vault.root('GET', place.replace('/data/', '/metadata/'))) as {
        data: { current_version: number };
      }
    ).data.current_version,
    2,
  );
  await vault.root('DELETE', place.replace('/data/', '/metadata/'));
  // A value that is there with others beside it is there.
  await vault.root('POST', place, { data: { value: TOKEN, note: 'x' } });
  assert.is((await secrets('apply', '--yes')).report.moved, 4);
  hidesSecrets(journal());
});

check('a wrapped secret id of the gateway is left for the gateway, and nothing is begun', async () => {
  furnish();
  const before = plugins();
  const wrapped = join(installation.folder, 'wrapped.yaml');
  writeFileSync(
    wrapped,
    readFileSync(installation.config, 'utf8').replace(
      /auth: \{.*\}/,
      'auth: { method: approle, role_id: r, secret_id_file: gateway-token, secret_id_wrapped: true }',
    ),
  );
  const refused = await secrets('apply', '--yes', '--gateway-config', wrapped);
  assert.is(refused.status, 2, refused.stderr);
  assert.match(refused.stderr, /would use up the wrapped secret id/);
  assert.equal((await secrets('status')).report.in_vault, []);
  assert.equal(plugins(), before);
});

check('Vault goes away in the middle: nothing is changed, and a later run ends it', async () => {
  furnish();
  const before = plugins();
  await secrets('plan');
  proxy.set({ kind: 'reset' }, 'query-api_key');
  const cut = await secrets('apply', '--yes');
  assert.is(cut.status, 5, cut.stderr);
  assert.equal(plugins(), before);
  assert.match((await secrets('status')).report.next ?? '', 'interrupted');
  proxy.set({ kind: 'pass' });
  const done = await secrets('apply', '--yes');
  assert.equal([done.status, done.report.moved], [0, 4], done.stderr);
  const after = plugins();
  // Without Vault there is no way back, and nothing is half undone.
  proxy.set({ kind: 'reset' }, `${folder.slice('secret/'.length)}/`);
  const stuck = await secrets('rollback');
  assert.is(stuck.status, 5, stuck.stderr);
  assert.equal(plugins(), after);
  proxy.set({ kind: 'pass' });
  assert.match((await secrets('apply', '--yes')).stderr, 'a rollback was interrupted');
  assert.is((await secrets('rollback')).status, 0);
  assert.equal(plugins(), before);
});

check(
  'stopped at each single request to Kong, then run on: as an undisturbed run, there and back',
  async () => {
    furnish();
    const before = plugins();
    await secrets('apply', '--yes');
    const after = withoutIds(plugins());
    await secrets('rollback');
    assert.equal(plugins(), before);
    for (const [step, wanted] of [
      ['apply', after],
      ['rollback', withoutIds(before)],
    ] as const) {
      const options = step === 'apply' ? ['--yes'] : [];
      const start = structuredClone([...admin.entities.plugins]);
      const log = readFileSync(join(installation.folder, 'migration-secrets.journal'));
      let stops = 0;
      for (let at = 1; ; at += 1) {
        admin.entities.plugins.clear();
        for (const [id, plugin] of structuredClone(start)) admin.entities.plugins.set(id, plugin);
        writeFileSync(join(installation.folder, 'migration-secrets.journal'), log);
        admin.requests.length = 0;
        admin.fault = (_request, number) => (number >= at ? { status: 403 } : undefined);
        const stopped = await secrets(step, ...options);
        admin.fault = () => undefined;
        if (stopped.status === 0) break;
        assert.is(stopped.status, 5, stopped.stderr);
        stops += 1;
        const ended = await secrets(step, ...options);
        assert.is(ended.status, 0, `${step}, stopped at request ${at}: ${ended.stderr}`);
        assert.equal(withoutIds(plugins()), wanted, `${step}, stopped at request ${at}`);
      }
      assert.ok(stops > 10, `${stops} requests`);
    }
  },
);

check('what somebody has changed since stays, and its secrets go on being sent', async () => {
  furnish();
  await secrets('apply', '--yes');
  const all = [...admin.entities.plugins.values()];
  const changed = all.find(
    ({ name, config: own }) => name === 'request-transformer' && JSON.stringify(own).includes('X-Source'),
  );
  assert.ok(changed !== undefined);
  const lists = changed['config'] as { add: { headers: string[] } };
  lists.add.headers.push('X-More:1');
  const back = await secrets('rollback');
  assert.equal([back.status, back.report.conflicts?.length], [4, 1], back.stdout);
  assert.match(
    back.report.conflicts?.[0] ?? '',
    /was changed since.*add\.headers had Authorization:<vault:\/\/secret/,
  );
  const sends = [...admin.entities.plugins.values()].filter(({ name }) => name === 'vault-upstream-secrets');
  assert.equal([sends.length, JSON.stringify(sends).includes('query-api_key')], [1, true]);
  lists.add.headers.pop();
  assert.is((await secrets('rollback')).status, 0);
  hidesSecrets(back.stdout);

  // Another value in Vault is not what was there.
  await secrets('apply', '--yes');
  const { report } = await secrets('status');
  const place = report.in_vault?.find((reference) => reference.includes('header-x-api-key')) ?? '';
  await vault.root('POST', place.replace('vault://secret/', 'secret/data/').replace('#value', ''), {
    data: { value: 'rotated' },
  });
  const rotated = await secrets('rollback');
  assert.is(rotated.status, 4);
  assert.match(rotated.report.conflicts?.[0] ?? '', 'Vault holds other values');
  assert.not.match(rotated.stdout, 'rotated"');
});

check('one place for two templates: each is read and put back as it was sent', async () => {
  route(
    'twice',
    9,
    { name: 'key-auth' },
    transformer({ add: { headers: [`Authorization:Bearer ${TOKEN}`, `X-Token:${TOKEN}`] } }),
  );
  const before = plugins();
  const shared = ['--path', `${folder}/{route}`];
  await allow('migration', ['--service', 'migration-secrets', ...shared]);
  const references = (await secrets('plan', ...shared)).report.references ?? [];
  assert.is(references.length, 1);
  await allow('gateway', ['--service', 'gateway', '--reference', ...references]);
  const done = await secrets('apply', '--yes', ...shared, '--gateway-config', installation.config);
  assert.equal([done.status, done.report.moved, done.report.stored], [0, 2, 1], done.stderr);
  hidesSecrets(journal());
  const back = await secrets('rollback');
  assert.equal([back.status, back.report.conflicts, back.report.in_vault], [0, [], references], back.stderr);
  assert.equal(plugins(), before);
});

check('a rollback that was killed before its last word is ended by the next one', async () => {
  furnish();
  const before = plugins();
  await secrets('apply', '--yes');
  assert.is((await secrets('rollback')).status, 0);
  const lines = journal().trimEnd().split('\n');
  assert.match(lines.pop() ?? '', '"rollback-done"');
  writeFileSync(join(installation.folder, 'migration-secrets.journal'), `${lines.join('\n')}\n`);
  assert.match((await secrets('status')).report.next ?? '', 'rollback');
  assert.is((await secrets('rollback')).status, 0);
  assert.equal(plugins(), before);
  const again = await secrets('apply', '--yes');
  assert.equal([again.status, again.report.moved], [0, 4], again.stderr);
});

check('a file: there and back byte for byte; changed since, it is left alone', async () => {
  const file = join(installation.folder, 'kong.yml');
  const original = `# edge\nservices:\n- name: s\n  url: http://127.0.0.1:9\n  routes:\n  - name: r\n    paths: [/r]\n    plugins:\n    - name: key-auth\n    - name: request-transformer\n      config:\n        add:\n          headers:\n          - "Authorization:Bearer ${TOKEN}" # shop\n          querystring: ['api_key:${QUERY}', 'page:1']\n- name: lambda\n  url: http://127.0.0.1:9\n  plugins:\n  - {name: aws-lambda, config: {aws_secret: ${PASSWORD}, function_name: f}}\n`;
  writeFileSync(file, original, { mode: 0o640 });
  const shown = await hkaHere([
    'migrate',
    'secrets',
    'plan',
    '--file',
    file,
    '--path',
    path(),
    '--config',
    config,
  ]);
  assert.is(shown.status, 4);
  assert.match(shown.stdout, /- {3}config\.add\.headers: Authorization:\*{8}/);
  assert.match(
    shown.stdout,
    /\+ {3}vault-upstream-secrets: header Authorization, vault:\/\/.*#value, Bearer \{value\}/,
  );
  assert.match(shown.stdout, /STAYS[^]*aws-lambda[^]*\{vault:\/\/env\/NAME\}/);
  assert.is(readFileSync(file, 'utf8'), original);
  const done = await secrets('apply', '--yes', '--file', file);
  assert.equal([done.status, done.report.moved, done.report.left?.length], [4, 2, 1], done.stderr);
  const changed = readFileSync(file, 'utf8');
  assert.not.match(changed, TOKEN);
  assert.not.match(changed, QUERY);
  assert.match(changed, '# shop');
  assert.is(statSync(file).mode & 0o777, 0o640);
  hidesSecrets(shown.stdout, done.stdout, journal());

  writeFileSync(file, `${changed}# later\n`);
  const refused = await secrets('rollback', '--file', file);
  assert.is(refused.status, 4);
  assert.match(refused.report.conflicts?.[0] ?? '', 'was changed since');
  writeFileSync(file, changed);
  assert.is((await secrets('rollback', '--file', file)).status, 0);
  assert.is(readFileSync(file, 'utf8'), original);
  const other = await secrets('plan');
  assert.match(other.stderr, 'this journal is of the secrets in');
});

check('workspaces, a Kong without our plugin, no Vault section', async () => {
  furnish();
  const { requests } = admin;
  // The same secret in the same place is one secret.
  const shared = await secrets('plan', '--workspace', 'one,two', '--workspace-header', 'X-Ws');
  assert.equal([shared.status, shared.report.moves?.length, shared.report.references?.length], [0, 8, 4]);
  assert.equal(new Set(requests.map(({ headers }) => headers['x-ws'])), new Set([undefined, 'one', 'two']));
  const byName = `${folder}/{workspace}/{route}/{kind}-{name}`;
  const apart = await secrets(
    'plan',
    '--workspace',
    'one,two',
    '--workspace-header',
    'X-Ws',
    '--path',
    byName,
  );
  assert.is(apart.report.references?.length, 8);
  admin.missing.add('vault-upstream-secrets');
  const before = plugins();
  const refused = await secrets('apply', '--yes');
  assert.is(refused.status, 6, refused.stderr);
  assert.match(refused.stderr, 'does not have the plugin vault-upstream-secrets yet');
  assert.equal(plugins(), before);
  const bare = await install();
  const plain = await hkaHere([
    'migrate',
    'secrets',
    'plan',
    '--kong-admin-url',
    admin.url,
    '--config',
    bare.config,
  ]);
  await bare.dispose();
  assert.is(plain.status, 4);
  assert.match(plain.stderr, 'no vault section');
});

test.run();
