/** `pepper status|rotate|retire` on files, and on one secret of a real Vault, while gateways serve. */
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  chownSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { generatePepperText } from '../../src/keys/pepper.ts';
import { eventually } from '../helpers/eventually.ts';
import { outcomeOf } from '../helpers/gateway-outcome.ts';
import { CLI, hka, install, type Installation } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';

const test = suite('pepper commands');
const withVault = test.needing(vaultAbsence());

let installation: Installation;
let vault: VaultServer | undefined;
test.beforeEach(async () => {
  installation = await install();
});
test.afterEach(async () => {
  await installation.dispose();
  await vault?.stop();
  vault = undefined;
});

interface Version {
  id: string;
  state: string;
  matches: boolean | null;
  retirable: boolean;
  credentials: number;
  imported: number;
  weak: number;
}
async function status(): Promise<{ exit: number; versions: Version[] }> {
  const { status: exit, stdout, stderr } = await installation.run(['pepper', 'status', '--json']);
  assert.ok(stdout !== '', stderr);
  return { exit, versions: (JSON.parse(stdout) as { versions: Version[] }).versions };
}
const states = (versions: readonly Version[]): string =>
  versions.map(({ id, state, credentials }) => `${id} ${state} ${credentials}`).join(', ');
const outcome = (key: string): Promise<string> => outcomeOf(installation.socket, key);
const read = (name: string): string => readFileSync(join(installation.folder, name), 'utf8');
const auditActions = async (): Promise<string[]> => {
  const shown = await installation.run(['audit-log', 'show', '--json']);
  const { data } = JSON.parse(shown.stdout) as { data: { action: string; outcome: string }[] };
  return data.map(({ action, outcome: end }) => `${action} ${end}`);
};
/** A rotation leaves the rest of the line, and of the file, as it was. */
const addComment = (): void =>
  writeFileSync(
    installation.config,
    read('hashed-key-auth.yaml').replace('current: "1"', 'current: "1" # x'),
  );

test('a rotation of a file reaches a running gateway without a restart, and keys move as they are used', async () => {
  addComment();
  const old = await installation.issue('alice');
  const served = await installation.serve();
  assert.is(await outcome(old.key), 'admitted');
  const rotated = await installation.run(['pepper', 'rotate', '--json']);
  assert.is(rotated.status, 0, rotated.stderr);
  assert.equal(JSON.parse(rotated.stdout), {
    version: '2',
    former: '1',
    place: join(installation.folder, 'pepper-2'),
    current: true,
    dry_run: false,
  });
  assert.is(statSync(join(installation.folder, 'pepper-2')).mode & 0o777, 0o600);
  assert.match(read('hashed-key-auth.yaml'), 'current: "2" # x');
  assert.match(read('hashed-key-auth.yaml'), '# Mixed into every hash', 'comments stay');

  const fresh = await installation.issue('alice');
  assert.is(await outcome(fresh.key), 'admitted', 'under a version that the gateway has to look for first');
  assert.match(served.output(), 'its versions have changed');
  assert.is(await outcome(old.key), 'admitted');
  assert.is(states((await status()).versions), '1 old 1, 2 current 1');

  const refused = await installation.run(['pepper', 'retire', '1', '--json']);
  assert.is(refused.status, 6);
  assert.match(refused.stderr, 'HKA_PEPPER_IN_USE');
  await served.kill('SIGTERM');
  const again = await installation.serve();
  assert.is(await outcome(old.key), 'admitted');
  await eventually(
    'the old key has moved',
    async () => states((await status()).versions) === '1 old 0, 2 current 2',
  );
  const [former] = (await status()).versions;
  assert.is(former?.retirable, true);

  const before = read('hashed-key-auth.yaml');
  const retired = await installation.run(['pepper', 'retire', '1']);
  assert.is(retired.status, 0, retired.stderr);
  assert.match(
    readFileSync(installation.store, 'utf8'),
    /- id: "1"\n {4}check: "[0-9a-f]{32}"\n {4}retired: true\n/,
  );
  assert.is(read('hashed-key-auth.yaml').includes('id: "1"'), false);
  assert.is(before.includes('id: "1"'), true);
  again.child.kill('SIGHUP');
  await eventually('it is read again', () => again.output().includes('configuration read again'));
  assert.is(await outcome(old.key), 'admitted');
  assert.is(
    (await installation.run(['audit-log', 'verify'])).status,
    0,
    'entries under version 1 are vouched for',
  );
  const actions = await auditActions();
  for (const action of ['pepper rotate done', 'pepper retire refused', 'pepper retire done'])
    assert.ok(actions.includes(action), action);

  const next = await installation.run(['pepper', 'rotate', '--json']);
  assert.match(next.stdout, '"version":"3"');
  for (const text of [rotated, next, retired])
    assert.not.match(text.stdout + text.stderr + read('audit.log'), 'hka-pepper');
});

test('the report counts imported and weak keys, and names a version that is missing', async () => {
  writeFileSync(
    join(installation.folder, 'kong.yml'),
    [
      "_format_version: '3.0'",
      'consumers:',
      '  - username: carol',
      '    keyauth_credentials:',
      '      - key: guessable',
      '      - key: dG9vc2hvcnRidXRyYW5kb21rZXk5MzIx',
    ].join('\n'),
  );
  assert.is((await installation.run(['keys', 'import', join(installation.folder, 'kong.yml')])).status, 0);
  const [first] = (await status()).versions;
  assert.equal([first?.credentials, first?.imported, first?.matches], [2, 2, true]);
  assert.ok((first?.weak ?? 0) >= 1);
  assert.match((await installation.run(['pepper', 'status'])).stdout, /^VERSION +STATE/);

  assert.is((await installation.run(['pepper', 'rotate'])).status, 0);
  writeFileSync(
    installation.config,
    read('hashed-key-auth.yaml').replace(/ {4}- id: "1"\n {6}file: pepper\n/, ''),
  );
  const missing = await status();
  assert.is(missing.exit, 4);
  assert.match(states(missing.versions), '1 missing 2');
});

test('--dry-run and --print change nothing in the configuration', async () => {
  const before = read('hashed-key-auth.yaml');
  const dry = await installation.run(['pepper', 'rotate', '--dry-run']);
  assert.is(dry.status, 0);
  assert.match(dry.stdout, 'pepper-2');
  assert.not.ok(existsSync(join(installation.folder, 'pepper-2')));
  const printed = await installation.run(['pepper', 'rotate', '--print', '--id', 'q4']);
  assert.is(printed.status, 0, printed.stderr);
  assert.match(printed.stdout, 'id: "q4"');
  assert.is(read('hashed-key-auth.yaml'), before);
  assert.ok(existsSync(join(installation.folder, 'pepper-q4')));
  assert.is((await installation.run(['pepper', 'rotate', '--id', '1'])).status, 6);
  assert.is((await installation.run(['pepper', 'rotate', '--id', 'current'])).status, 2);
});

test('a rotation that was interrupted after the file was written is gone on with', async () => {
  const left = generatePepperText().reveal();
  writeFileSync(join(installation.folder, 'pepper-2'), `${left}\n`, { mode: 0o600 });
  const rotated = await installation.run(['pepper', 'rotate', '--json']);
  assert.is(rotated.status, 0, rotated.stderr);
  assert.is(read('pepper-2'), `${left}\n`);
  const { key } = await installation.issue('alice');
  assert.match((await installation.run(['keys', 'verify'], key)).stdout, /^valid/);

  // What was left there may not be a pepper, or belong to a version that was there before.
  writeFileSync(join(installation.folder, 'pepper-3'), 'half', { mode: 0o600 });
  assert.match((await installation.run(['pepper', 'rotate'])).stderr, 'HKA_PEPPER_UNREADABLE');
  rmSync(join(installation.folder, 'pepper-3'));
  assert.match((await installation.run(['pepper', 'rotate', '--json'])).stdout, '"version":"3"');
});

test('a pepper that is not the one of the credentials stops the start, and every command that would use it', async () => {
  const { key } = await installation.issue('alice');
  const path = join(installation.folder, 'pepper');
  renameSync(path, `${path}.good`);
  writeFileSync(path, generatePepperText().reveal(), { mode: 0o600 });
  const serve = await installation.run(['serve', '--json']);
  assert.is(serve.status, 4);
  assert.match(serve.stderr, 'HKA_PEPPER_MISMATCH');
  assert.match(serve.stderr, 'docs/pepper.md');
  for (const args of [
    ['keys', 'create', '--consumer', 'x'],
    ['pepper', 'rotate'],
    ['keys', 'verify'],
  ]) {
    const result = await installation.run(args, key);
    assert.is(result.status, 4, args.join(' '));
    assert.match(result.stderr, 'HKA_PEPPER_MISMATCH', args.join(' '));
  }
  const found = await status();
  assert.is(found.exit, 4);
  assert.is(found.versions[0]?.matches, false);
  renameSync(`${path}.good`, path);
  await installation.serve();
  assert.is(await outcome(key), 'admitted');
});

const SECRET = 'secret/data/hka/pepper';
const POLICY = [
  'path "secret/data/hka/pepper" { capabilities = ["read"] }',
  'path "sys/internal/ui/mounts/*" { capabilities = ["read"] }',
].join('\n');

/** The pepper in one secret of a Vault; gateways may only read it. Gives the configuration file of who may change it. */
async function moveToVault(address?: string): Promise<{ server: VaultServer; admin: string }> {
  const server = await startVault();
  vault = server;
  await server.root('POST', SECRET, { data: { '1': read('pepper').trim(), current: '1' } });
  await server.root('PUT', 'sys/policies/acl/gateway', { policy: POLICY });
  const made = (await server.root('POST', 'auth/token/create', { policies: ['gateway'] })) as {
    auth: { client_token: string };
  };
  writeFileSync(join(installation.folder, 'gateway-token'), made.auth.client_token, { mode: 0o600 });
  writeFileSync(join(installation.folder, 'root-token'), server.rootToken, { mode: 0o600 });
  const config = read('hashed-key-auth.yaml').replace(
    /^pepper:\n(?:(?: .*)?\n)+/m,
    'pepper:\n  source: {mount: secret, path: hka/pepper, poll_seconds: 1}\n\n',
  );
  const withToken = (token: string): string =>
    `${config}\nvault:\n  address: ${address ?? server.address}\n  timeout_ms: 1000\n  auth: {method: token, token_file: ${token}}\n`;
  writeFileSync(installation.config, withToken('gateway-token'));
  const admin = join(installation.folder, 'admin.yaml');
  writeFileSync(admin, withToken('root-token'));
  return { server, admin };
}

async function fields(server: VaultServer): Promise<Record<string, string>> {
  const body = (await server.root('GET', SECRET)) as { data: { data: Record<string, string> } };
  return body.data.data;
}

withVault(
  'in Vault a rotation reaches gateways before any record uses it, and needs no restart',
  async () => {
    const old = await installation.issue('alice');
    const { server, admin } = await moveToVault();
    const asAdmin = (args: readonly string[]): ReturnType<typeof hka> => hka([...args, '--config', admin]);
    const served = await installation.serve();
    assert.is(await outcome(old.key), 'admitted');

    const denied = await installation.run(['pepper', 'rotate', '--json']);
    assert.match(denied.stderr, 'HKA_VAULT_FORBIDDEN');
    assert.equal(Object.keys(await fields(server)).toSorted(), ['1', 'current'], 'nothing was written');

    const rotated = await asAdmin(['pepper', 'rotate', '--json']);
    assert.is(rotated.status, 0, rotated.stderr);
    const after = await fields(server);
    assert.equal([Object.keys(after).toSorted(), after['current']], [['1', '2', 'current'], '2']);
    assert.match(served.output(), 'its versions have changed', 'before the command ended');
    const fresh = await asAdmin(['keys', 'create', '--consumer', 'alice']);
    assert.is(await outcome(fresh.stdout.trim()), 'admitted');
    assert.is(await outcome(old.key), 'admitted');
    assert.is((await asAdmin(['pepper', 'retire', '2'])).status, 6, 'the current one');

    await eventually('the old key has moved or is still counted', async () => {
      const { versions } = await status();
      return versions.some(({ id, credentials }) => id === '2' && credentials >= 1);
    });
    assert.not.match(served.output() + rotated.stdout + rotated.stderr, after['2']?.slice(20) ?? '');
  },
);

withVault('killed between the two writes, a rotation is seen as staged and gone on with', async () => {
  const { server, admin } = await moveToVault();
  const was = await fields(server);
  const left = generatePepperText().reveal();
  await server.root('POST', SECRET, { data: { ...was, '2': left, next: '2' } });
  const shown = await hka(['pepper', 'status', '--config', admin]);
  assert.match(shown.stdout, /2 +staged.*was not finished/);
  assert.is((await hka(['pepper', 'rotate', '--id', '9', '--config', admin])).status, 6);
  const both = await Promise.all([1, 2].map(() => hka(['pepper', 'rotate', '--json', '--config', admin])));
  for (const result of both) assert.is(result.status, 0, result.stderr);
  assert.equal(await fields(server), { ...was, '2': left, current: '2' });
});

withVault(
  'killed again and again while several workers serve, it ends with one new version, and no key is ever refused',
  async () => {
    installation.setServer('workers: 2');
    const old = await installation.issue('alice');
    const { server, admin } = await moveToVault();
    const served = await installation.serve();
    assert.is(served.workers().length, 2);
    const outcomes = new Map<string, number>();
    let rotating = true;
    const traffic = (async () => {
      while (rotating) {
        const seen = await outcome(old.key);
        outcomes.set(seen, (outcomes.get(seen) ?? 0) + 1);
      }
    })();
    try {
      // Before anything is written, once it is staged, and while it waits for the gateways.
      const moments: (() => Promise<unknown>)[] = [
        () => eventually('it runs', () => existsSync(join(installation.folder, 'audit.log'))),
        () => eventually('it is staged', async () => (await fields(server))['next'] === '2'),
        () =>
          eventually('a gateway has read it', () => served.output().includes('its versions have changed')),
      ];
      for (const moment of moments) {
        const child = spawn(process.execPath, [CLI, 'pepper', 'rotate', '--config', admin], {
          stdio: 'ignore',
        });
        const gone = new Promise((done) => child.once('exit', done));
        await moment();
        child.kill('SIGKILL');
        await gone;
        assert.is((await fields(server))['current'], '1', 'it is not the current one yet');
      }
      const last = await hka(['pepper', 'rotate', '--json', '--config', admin]);
      assert.is(last.status, 0, last.stderr);
      assert.equal(Object.keys(await fields(server)).toSorted(), ['1', '2', 'current']);
      assert.is((await fields(server))['current'], '2');
      const fresh = (await hka(['keys', 'create', '--consumer', 'alice', '--config', admin])).stdout.trim();
      // New connections go to either worker.
      for (let count = 0; count < 6; count += 1) assert.is(await outcome(fresh), 'admitted');
    } finally {
      rotating = false;
      await traffic;
    }
    assert.equal([...outcomes.keys()], ['admitted']);
    assert.ok((outcomes.get('admitted') ?? 0) > 20);
    assert.is((await hka(['audit-log', 'verify', '--config', admin])).status, 0);
  },
);

withVault(
  'a gateway that can not read a new version answers 503 for its keys, not 401, and recovers at once',
  async () => {
    const old = await installation.issue('alice');
    const { server, admin } = await moveToVault();
    const served = await installation.serve();
    assert.is(await outcome(old.key), 'admitted');
    await server.root('PUT', 'sys/policies/acl/gateway', {
      policy: 'path "secret/data/other" { capabilities = ["read"] }',
    });
    assert.is((await hka(['pepper', 'rotate', '--config', admin])).status, 0);
    const fresh = await hka(['keys', 'create', '--consumer', 'alice', '--config', admin]);
    const key = fresh.stdout.trim();
    assert.is(await outcome(key), '503');
    assert.is(await outcome(old.key), 'admitted', 'keys of known versions go on');
    assert.match(served.output(), 'can not be read again');
    await server.root('PUT', 'sys/policies/acl/gateway', { policy: POLICY });
    await eventually('the new key is good', async () => (await outcome(key)) === 'admitted');
  },
);

withVault(
  "a secret that is not the store's pepper keeps a gateway from being ready, and the log says what to do",
  async () => {
    const { key } = await installation.issue('alice');
    const { server } = await moveToVault();
    const good = await fields(server);
    await server.root('POST', SECRET, { data: { ...good, '1': generatePepperText().reveal() } });
    const serve = await installation.run(['serve', '--json']);
    assert.equal([serve.status, /HKA_PEPPER_MISMATCH/.test(serve.stderr)], [4, true], 'read at the start');

    await server.seal();
    const port = await freeMetricsPort();
    appendFileSync(installation.config, `metrics: {listen: '127.0.0.1:${port}'}\n`);
    const served = await installation.serve();
    assert.is(await outcome(key), '503');
    await server.unseal();
    await eventually('the mismatch is told', () => served.output().includes('HKA_PEPPER_MISMATCH'));
    assert.is(await outcome(key), '503');
    assert.is((await fetch(`http://127.0.0.1:${port}/ready`)).status, 503);
    await server.root('POST', SECRET, { data: good });
    await eventually('it is ready', async () => (await outcome(key)) === 'admitted');
    assert.is((await fetch(`http://127.0.0.1:${port}/ready`)).status, 200);
  },
);

async function freeMetricsPort(): Promise<number> {
  const { createServer } = await import('node:net');
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => done(port));
    });
  });
}

const asRoot = test.needing(process.geteuid?.() === 0 ? undefined : 'needs root, to act for another user');
const OTHER = 65_534;

function giveAwayAll(): void {
  const { folder } = installation;
  chownSync(folder, OTHER, OTHER);
  for (const name of readdirSync(folder)) chownSync(join(folder, name), OTHER, OTHER);
}

asRoot('a pepper that root makes can be read by the user whose pepper it follows', async () => {
  giveAwayAll();
  const rotated = await installation.run(['pepper', 'rotate', '--json']);
  assert.is(rotated.status, 0, rotated.stderr);
  const { uid, gid, mode } = statSync(join(installation.folder, 'pepper-2'));
  assert.is(statSync(installation.config).uid, OTHER, 'the configuration kept its owner');
  assert.equal([uid, gid, mode & 0o777], [OTHER, OTHER, 0o600]);
});

asRoot('a pepper of root that an interrupted rotation has left is not taken', async () => {
  giveAwayAll();
  const left = join(installation.folder, 'pepper-2');
  writeFileSync(left, generatePepperText().reveal(), { mode: 0o600 });
  const before = readFileSync(installation.config, 'utf8');
  const refused = await installation.run(['pepper', 'rotate']);
  assert.is(refused.status, 4, refused.stderr);
  assert.match(refused.stderr, `chown --reference=${join(installation.folder, 'pepper')} ${left}`);
  assert.is(readFileSync(installation.config, 'utf8'), before);
  chownSync(left, OTHER, OTHER);
  assert.is((await installation.run(['pepper', 'rotate'])).status, 0);
});

test.run();
