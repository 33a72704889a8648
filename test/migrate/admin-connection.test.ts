/** How `migrate` reaches the Admin API: TLS with a private CA and a client certificate, tokens, workspaces, bad days. R5, R7. */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { makeCertificates, opensslAbsence } from '../helpers/certificates.ts';
import { hkaHere } from '../helpers/command-here.ts';
import { install, type CommandResult, type Installation } from '../helpers/installation.ts';
import { kongKey } from '../helpers/keys.ts';
import { startStandInAdmin, type AdminRequest, type StandInAdmin } from '../helpers/kong/admin-api.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('migrate and the Admin API');

let installation: Installation;
const started: StandInAdmin[] = [];
test.beforeEach(async () => {
  installation = await install();
});
test.afterEach(async () => {
  for (const admin of started.splice(0)) await admin.close();
  await installation.dispose();
});

async function start(options: Parameters<typeof startStandInAdmin>[0] = {}): Promise<StandInAdmin> {
  const admin = await startStandInAdmin(options);
  started.push(admin);
  return admin;
}

function migrate(admin: StandInAdmin, step: string, ...options: string[]): Promise<CommandResult> {
  const places = ['--kong-admin-url', admin.url, '--page-size', '2'];
  if (step === 'switch') places.push('--no-server');
  return hkaHere(['migrate', step, '--json', ...places, ...options, '--config', installation.config]);
}

function countOf({ status, stdout, stderr }: CommandResult, name: string): unknown {
  assert.is(status, 0, stderr);
  return (JSON.parse(stdout) as Record<string, unknown>)[name];
}

function tokenFile(text: string): string {
  const path = join(installation.folder, 'kong-token');
  writeFileSync(path, `${text}\n`, { mode: 0o600 });
  return path;
}

function fill(admin: StandInAdmin, count: number): void {
  const alice = admin.addConsumer('alice');
  for (let at = 0; at < count; at += 1) admin.addKey(alice, kongKey());
}

const withOpenssl = test.needing(opensslAbsence());

test('https at an Admin API without TLS is told at once: it would not come back by waiting', async () => {
  const admin = await start();
  const url = admin.url.replace('http:', 'https:');
  const { status, stderr } = await hkaHere([
    'migrate',
    'plan',
    '--kong-admin-url',
    url,
    '--config',
    installation.config,
  ]);
  assert.is(status, 5);
  assert.match(stderr, 'is it http:// there?');
});

withOpenssl('TLS with a private CA and a client certificate: without either nothing is read', async () => {
  const { server, caFile, clientCertFile, clientKeyFile } = makeCertificates(installation.folder);
  const admin = await start({ tls: server, token: 'rbac-token-5150' });
  fill(admin, 3);
  const token = ['--kong-token-file', tokenFile('rbac-token-5150')];
  const ca = ['--kong-ca-file', caFile];
  const client = ['--kong-cert-file', clientCertFile, '--kong-key-file', clientKeyFile];

  const untrusted = await migrate(admin, 'plan', ...token, ...client);
  assert.is(untrusted.status, 5);
  assert.match(untrusted.stderr, '--kong-ca-file');
  assert.is(admin.requests.length, 0);
  const anonymous = await migrate(admin, 'plan', ...token, ...ca, '--timeout', '5s');
  assert.is(anonymous.status, 5, anonymous.stderr);
  assert.is(admin.requests.length, 0);
  const half = await migrate(admin, 'plan', ...ca, '--kong-cert-file', clientCertFile);
  assert.is(half.status, 2);
  assert.match(half.stderr, 'go together');
  chmodSync(clientKeyFile, 0o644);
  const open = await migrate(admin, 'plan', ...token, ...ca, ...client);
  assert.match(open.stderr, `chmod 600 ${clientKeyFile}`);
  chmodSync(clientKeyFile, 0o600);

  assert.is(countOf(await migrate(admin, 'import', ...token, ...ca, ...client), 'import'), 3);
  assert.equal(
    new Set(admin.requests.map(({ headers }) => headers['kong-admin-token'])),
    new Set(['rbac-token-5150']),
  );
  // Plugins are changed over the same connection, with the same token.
  admin.add('plugins', { name: 'key-auth' });
  assert.is(countOf(await migrate(admin, 'switch', '--yes', ...token, ...ca, ...client), 'switched'), 1);
  assert.ok(
    admin.requests.some(
      ({ method, headers }) => method === 'PUT' && headers['kong-admin-token'] === 'rbac-token-5150',
    ),
  );
});

test('a token that is refused, missing, or readable by others', async () => {
  const admin = await start({ token: 'rbac-token-5150' });
  fill(admin, 1);
  const wrong = await migrate(admin, 'plan', '--kong-token-file', tokenFile('rbac-token-stale'));
  assert.is(wrong.status, 5);
  assert.match(wrong.stderr, /refuses the token \(401\).*--kong-token-file/);
  assert.not.match(wrong.stderr, 'rbac-token-stale');
  assert.is((await migrate(admin, 'plan')).status, 5);
  const path = tokenFile('rbac-token-5150');
  chmodSync(path, 0o644);
  assert.match((await migrate(admin, 'plan', '--kong-token-file', path)).stderr, `chmod 600 ${path}`);
  chmodSync(path, 0o600);
  assert.is(countOf(await migrate(admin, 'plan', '--kong-token-file', path), 'total'), 1);
});

/** Workspaces of the requests for lists and entities. */
function workspacesIn(
  requests: readonly AdminRequest[],
  of: (request: AdminRequest) => string | undefined,
): string[] {
  const asked = requests.filter(({ url }) => /\/(?:key-auths|plugins|consumers)\b/.test(url));
  return [...new Set(asked.map((request) => of(request) ?? 'none'))].toSorted();
}

for (const [how, options, of] of [
  ['in front of the path', [], ({ url }: AdminRequest) => /^\/(red|blue)\//.exec(url)?.[1]],
  [
    'in a header',
    ['--workspace-header', 'X-Workspace'],
    ({ headers }: AdminRequest) => headers['x-workspace'],
  ],
] as const) {
  test(`workspaces, ${how}: each is read, switched and purged in its own`, async () => {
    const admin = await start({ workspaces: how === 'in a header' ? { header: 'x-workspace' } : 'path' });
    const keys = ['red', 'blue'].map((workspace) => {
      const consumer = admin.addConsumer(`${workspace}-caller`, { workspace });
      admin.add('plugins', { name: 'key-auth', route: { id: workspace }, workspace });
      return admin.addKey(consumer, kongKey(), { workspace });
    });
    const run = (step: string, ...more: string[]): Promise<CommandResult> =>
      migrate(admin, step, '--workspace', 'red,blue', ...options, ...more);
    assert.is(countOf(await run('import'), 'import'), 2);
    assert.is(countOf(await run('verify'), 'verified'), 2);
    assert.is(countOf(await run('switch', '--yes'), 'switched'), 2);
    const before = admin.requests.length;
    assert.is(countOf(await run('rollback'), 'undone'), 2);
    const named = (request: AdminRequest): string | undefined => {
      const found = of(request);
      return typeof found === 'string' ? found : undefined;
    };
    assert.equal(workspacesIn(admin.requests.slice(before), named), ['blue', 'red']);
    await run('switch', '--yes');
    assert.is(countOf(await run('purge', '--settle', '1s', '--yes-delete-plain-keys', '2'), 'deleted'), 2);
    assert.is(admin.entities['key-auths'].size, 0);
    // What was said to Kong about an entity was said in its own workspace, or the stand-in would not have known it.
    assert.equal(workspacesIn(admin.requests, named), ['blue', 'red']);
    for (const { key } of keys) {
      assert.is((await hkaHere(['keys', 'verify', '--config', installation.config], String(key))).status, 0);
    }
  });
}

test('429: it is asked again when Retry-After says so, by seconds or by date, and not before', async () => {
  for (const [header, leastMs] of [
    [() => '1', 1000],
    // A date has whole seconds.
    [() => new Date(Date.now() + 3000).toUTCString(), 1900],
  ] as const) {
    const admin = await start();
    fill(admin, 1);
    const times: number[] = [];
    admin.fault = ({ url }) => {
      if (!url.startsWith('/key-auths')) return undefined;
      times.push(performance.now());
      return times.length === 1 ? { status: 429, headers: { 'retry-after': header() } } : undefined;
    };
    assert.is(countOf(await migrate(admin, 'plan'), 'total'), 1);
    const [first = 0, second = 0] = times;
    assert.ok(second - first >= leastMs, `asked again after ${second - first} ms`);
  }
});

test('404 in the middle of a list: it is begun again, a few times; then the run ends and has revoked nobody', async () => {
  const admin = await start();
  fill(admin, 7);
  for (const list of ['/key-auths', '/consumers']) {
    for (let at = 0; at < 4; at += 1) admin.addConsumer(`${list}-${at}`);
    let gone = 0;
    admin.fault = ({ url }) => {
      if (!url.startsWith(`${list}?`) || !url.includes('offset=') || gone >= 2) return undefined;
      gone += 1;
      return { status: 404 };
    };
    assert.is(countOf(await migrate(admin, 'import'), list === '/key-auths' ? 'import' : 'unchanged'), 7);
    assert.is(gone, 2);
  }
  const before = readFileSync(installation.store, 'utf8');
  admin.fault = ({ url }) => (url.includes('offset=') ? { status: 404 } : undefined);
  const ended = await migrate(admin, 'import');
  assert.is(ended.status, 5, ended.stderr);
  assert.match(ended.stderr, /GET \/consumers with 404.*not that of the proxy/);
  assert.is(readFileSync(installation.store, 'utf8'), before);
});

test('a purge through 5xx, cut connections and slow answers deletes each key once, and a later run ends it', async () => {
  const admin = await start();
  fill(admin, 6);
  admin.add('plugins', { name: 'key-auth' });
  await migrate(admin, 'import');
  assert.is((await migrate(admin, 'switch', '--yes')).status, 0);
  const purge = ['--settle', '1s', '--yes-delete-plain-keys', '6', '--timeout', '1s'];
  const faults = [
    { status: 502 },
    { cut: true },
    { delayMs: 1500 },
    { status: 429, headers: { 'retry-after': '0' } },
  ];
  admin.fault = ({ method }) => (method === 'DELETE' ? faults.pop() : undefined);
  // A slow answer comes too late, and what it says is done: the second time there is nothing left to delete.
  const rough = await migrate(admin, 'purge', ...purge);
  assert.is(rough.status, 0, rough.stderr);
  assert.is(admin.entities['key-auths'].size, 0);
  assert.equal(faults, []);
  // The same again is no fault: a script that was killed after the last key may be started anew.
  assert.is(countOf(await migrate(admin, 'purge', ...purge), 'deleted'), 0);
  assert.is((await migrate(admin, 'purge', ...purge.map((text) => (text === '6' ? '5' : text)))).status, 6);
});

test.run();
