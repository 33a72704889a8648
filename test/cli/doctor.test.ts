/** `doctor`: what each check finds in a healthy installation, and in one that somebody has damaged. No secret in any of it. */
import {
  chmodSync,
  chownSync,
  copyFileSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import * as assert from 'uvu/assert';
import { main } from '../../src/cli/main.ts';
import { generatePepperText } from '../../src/keys/pepper.ts';
import { CHECKS } from '../../src/doctor/checks.ts';
import { CLI, install, ROOT, type Installation } from '../helpers/installation.ts';
import { mistyped } from '../helpers/keys.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence } from '../helpers/vault-server.ts';

const test = suite('doctor');
const withVault = test.needing(vaultAbsence());

let installation: Installation;
test.beforeEach(async () => {
  installation = await install();
});
test.afterEach(() => installation.dispose());

interface Outcome {
  status: number;
  /** `id status` of each check. */
  checks: Record<string, string>;
  advice: Record<string, string>;
  text: string;
}

async function run(...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  let [stdout, stderr] = ['', ''];
  const io = {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
    stdin: Readable.from([]),
  };
  const status = await main([...args, '--config', installation.config], io);
  return { status, stdout, stderr };
}

/** Without what needs a running server, unless told. */
const doctor = (...args: string[]): Promise<Outcome> => examine('--no-server', ...args);

async function examine(...args: string[]): Promise<Outcome> {
  const { status, stdout, stderr } = await run('doctor', '--json', ...args);
  const { checks } = JSON.parse(stdout) as {
    checks: { id: string; status: string; found: string; advice?: string }[];
  };
  assert.equal(
    checks.map(({ id }) => id),
    CHECKS.map(({ id }) => id),
  );
  assert.not.match(stdout + stderr, 'hka-pepper-v1:');
  return {
    status,
    checks: Object.fromEntries(checks.map((check) => [check.id, check.status])),
    advice: Object.fromEntries(checks.map(({ id, found, advice }) => [id, `${found} ${advice ?? ''}`])),
    text: stdout,
  };
}

const path = (name: string): string => join(installation.folder, name);
const HEALTHY = {
  'config-readable': 'ok',
  versions: 'ok',
  'vault-login': 'skipped',
  'vault-rights': 'skipped',
  'store-reachable': 'ok',
  'pepper-readable': 'ok',
  'pepper-files': 'ok',
  'pepper-strength': 'ok',
  'pepper-matches': 'ok',
  'pepper-backup': 'ok',
  clock: 'skipped',
  socket: 'skipped',
  limits: 'skipped',
  protocol: 'skipped',
  'kong-conf': 'skipped',
  'unknown-key': 'skipped',
  'good-key': 'skipped',
};

test('a good installation with a back-up is healthy; without one there is a warning that says how', async () => {
  assert.is((await run('keys', 'create', '--consumer', 'alice')).status, 0);
  const before = await doctor();
  assert.equal([before.status, before.checks], [0, { ...HEALTHY, 'pepper-backup': 'warn' }]);
  assert.match(before.advice['pepper-backup'] ?? '', '--pepper-backup FILE');
  copyFileSync(path('pepper'), path('copy'));
  const after = await doctor('--pepper-backup', path('copy'));
  assert.equal([after.status, after.checks], [0, HEALTHY]);
  const shown = await run('doctor');
  assert.match(shown.stdout, /^CHECK +STATUS +FOUND/);
  assert.match(shown.stdout, 'To do:');
});

test('a server that runs is asked as Kong asks it; without one, what is to be done is said', async () => {
  const { socket } = installation;
  const before = await examine();
  assert.is(before.status, 1);
  assert.match(before.advice['socket'] ?? '', /is not there.*hashed-key-auth serve/);
  assert.equal([before.checks['protocol'], before.checks['unknown-key']], ['fail', 'fail']);
  const { key } = await installation.issue('alice');
  writeFileSync(path('key'), `${key}\n`, { mode: 0o600 });
  const dump = `${process.execPath} ${CLI} dump hashed-key-auth`;
  const kongConf = (plugins: string, query: string): void =>
    writeFileSync(
      path('kong.conf'),
      `plugins = ${plugins}\npluginserver_names = hka\npluginserver_hka_socket = ${socket} # here\npluginserver_hka_query_cmd = ${query}\n`,
    );
  kongConf('bundled,hashed-key-auth', dump);
  const served = await installation.serve();
  const found = await examine('--kong-conf', path('kong.conf'), '--key-file', path('key'));
  // The limit of core files is the machine's.
  const { limits, ...checks } = found.checks;
  assert.ok(['ok', 'warn'].includes(limits ?? ''), found.advice['limits']);
  assert.match(found.advice['limits'] ?? '', `process ${served.child.pid}: `);
  const { limits: _limits, ...healthy } = HEALTHY;
  const whole = { socket: 'ok', protocol: 'ok', 'kong-conf': 'ok', 'unknown-key': 'ok', 'good-key': 'ok' };
  assert.equal([found.status, checks], [0, { ...healthy, 'pepper-backup': 'warn', ...whole }], found.text);
  assert.match(found.advice['unknown-key'] ?? '', 'answered 401');
  assert.match(found.advice['good-key'] ?? '', 'consumer alice');
  assert.not.match(found.text + served.output(), key);

  chmodSync(socket, 0o666);
  const open = await examine();
  assert.match(open.advice['socket'] ?? '', /every user of this machine/);
  chmodSync(socket, 0o640);
  assert.match((await examine()).advice['socket'] ?? '', /mode 0640.*server.socket_mode is 0600/);
  chmodSync(socket, 0o600);
  writeFileSync(path('key'), `${mistyped(key)}\n`, { mode: 0o600 });
  assert.is((await examine('--key-file', path('key'))).checks['good-key'], 'fail');
  chmodSync(path('key'), 0o644);
  assert.match((await examine('--key-file', path('key'))).advice['good-key'] ?? '', 'HKA_USAGE');

  for (const [plugins, query, expected] of [
    ['bundled', dump, /plugins in .* is bundled, without hashed-key-auth/],
    ['bundled,hashed-key-auth', 'echo hello', /gave no JSON/],
    ['bundled,hashed-key-auth', `${dump} --stock`, /protocol MsgPack:1, and this is .* with ProtoBuf:1/],
    ['bundled,hashed-key-auth', 'echo \'{"Plugins":[{"Name":"other"}]}\'', /describes no plugin of ours/],
  ] as const) {
    kongConf(plugins, query);
    const faulty = await doctor('--kong-conf', path('kong.conf'));
    assert.is(faulty.checks['kong-conf'], 'fail', query);
    assert.match(faulty.advice['kong-conf'] ?? '', expected);
  }
  writeFileSync(path('kong.conf'), 'plugins = bundled\n');
  assert.match(
    (await doctor('--kong-conf', path('kong.conf'))).advice['kong-conf'] ?? '',
    /no plugin server of .* is at .*there is none/,
  );
});

test('something else on the socket, which hangs up on every question, fails', async () => {
  const asked = createServer().on('connection', (connection) => connection.destroy());
  await new Promise<void>((done) => void asked.listen(installation.socket, done));
  chmodSync(installation.socket, 0o600);
  const found = await examine();
  asked.close();
  assert.equal(
    [found.checks['socket'], found.checks['protocol'], found.checks['unknown-key']],
    ['ok', 'fail', 'fail'],
  );
});

test('docs/doctor.md has each check, in this order', () => {
  const text = readFileSync(join(ROOT, 'docs', 'doctor.md'), 'utf8');
  assert.equal(
    [...text.matchAll(/^\| `([\w-]+)` +\|/gm)].map(([, id]) => id),
    CHECKS.map(({ id }) => id),
  );
});

test('a back-up of another pepper fails; of a rotated one, each version has to be in one of the files', async () => {
  copyFileSync(path('pepper'), path('copy'));
  writeFileSync(path('other'), generatePepperText().reveal(), { mode: 0o600 });
  const other = await doctor('--pepper-backup', path('other'));
  assert.equal([other.status, other.checks['pepper-backup']], [1, 'fail']);
  assert.is((await run('pepper', 'rotate')).status, 0);
  const old = await doctor('--pepper-backup', path('copy'));
  assert.is(old.checks['pepper-backup'], 'fail', 'the new one is not backed up');
  const both = await doctor('--pepper-backup', path('copy'), '--pepper-backup', path('pepper-2'));
  assert.is(both.checks['pepper-backup'], 'ok');
  writeFileSync(path('all'), readFileSync(path('copy'), 'utf8') + readFileSync(path('pepper-2'), 'utf8'), {
    mode: 0o600,
  });
  assert.is((await doctor('--pepper-backup', path('all'))).checks['pepper-backup'], 'ok', 'one a line');
  const newer = await doctor('--pepper-backup', path('pepper-2'));
  assert.equal([newer.status, newer.checks['pepper-backup']], [0, 'warn'], 'the former one is still used');
});

test('a pepper that others can read, that is missing, weak or another one fails, each in its own check', async () => {
  assert.is((await run('keys', 'create', '--consumer', 'alice')).status, 0);
  const good = readFileSync(path('pepper'), 'utf8');
  chmodSync(path('pepper'), 0o644);
  const open = await doctor();
  assert.is(open.status, 1);
  assert.equal([open.checks['pepper-files'], open.checks['pepper-readable']], ['fail', 'fail']);
  assert.match(open.advice['pepper-files'] ?? '', `chmod 600 ${path('pepper')}`);
  assert.equal([open.checks['pepper-strength'], open.checks['pepper-matches']], ['skipped', 'skipped']);
  chmodSync(path('pepper'), 0o600);
  chmodSync(installation.folder, 0o777);
  assert.match((await doctor()).advice['pepper-files'] ?? '', 'chmod go-w');
  chmodSync(installation.folder, 0o700);

  writeFileSync(path('pepper'), `hka-pepper-v1:${Buffer.alloc(32, 'ab').toString('base64url')}`);
  const weak = await doctor();
  assert.equal([weak.checks['pepper-readable'], weak.checks['pepper-strength']], ['ok', 'fail']);

  writeFileSync(path('pepper'), generatePepperText().reveal());
  const wrong = await doctor();
  assert.equal([wrong.checks['pepper-readable'], wrong.checks['pepper-matches']], ['ok', 'fail']);
  assert.match(wrong.advice['pepper-matches'] ?? '', 'HKA_PEPPER_MISMATCH');
  writeFileSync(path('pepper'), good);
  assert.equal((await doctor()).status, 0);
});

const asRoot = test.needing(process.geteuid?.() === 0 ? undefined : 'needs root, to act for another user');
asRoot('a pepper file of root, where all others belong to the user of serve, fails', async () => {
  const OTHER = 65_534;
  assert.is((await run('pepper', 'rotate')).status, 0);
  for (const name of ['', 'hashed-key-auth.yaml', 'pepper', 'pepper-2']) chownSync(path(name), OTHER, OTHER);
  assert.is((await doctor()).checks['pepper-files'], 'ok');
  chownSync(path('pepper-2'), 0, 0);
  const found = await doctor();
  assert.equal([found.status, found.checks['pepper-files']], [1, 'fail']);
  assert.match(found.advice['pepper-files'] ?? '', 'chown');
});

test('a version that credentials use and nobody has configured fails', async () => {
  assert.is((await run('keys', 'create', '--consumer', 'alice')).status, 0);
  assert.is((await run('pepper', 'rotate')).status, 0);
  const text = readFileSync(installation.config, 'utf8');
  writeFileSync(installation.config, text.replace(/ {4}- id: "1"\n {6}file: pepper\n/, ''));
  const found = await doctor();
  assert.equal([found.status, found.checks['pepper-matches']], [1, 'fail']);
  assert.match(found.advice['pepper-matches'] ?? '', 'not configured: 1');
});

test('a broken configuration fails once; what needs it is skipped', async () => {
  writeFileSync(installation.config, 'server: {}\n');
  const found = await doctor();
  assert.is(found.status, 1);
  assert.equal(Object.values(found.checks), [
    'fail',
    ...Array.from({ length: CHECKS.length - 1 }, () => 'skipped'),
  ]);
  assert.match(found.advice['config-readable'] ?? '', 'HKA_CONFIG_INVALID');
});

test('a configuration or credentials that everybody may change fail', async () => {
  for (const name of ['hashed-key-auth.yaml', 'credentials.yaml']) {
    chmodSync(path(name), 0o666);
    const found = await doctor();
    assert.equal([found.status, found.checks['config-readable']], [1, 'fail'], name);
    assert.match(found.advice['config-readable'] ?? '', `chmod o-w ${path(name)}`);
    chmodSync(path(name), 0o600);
  }
});

test('credentials that can not be looked at are a fault of the store, not of the configuration', async () => {
  const credentials = join(installation.folder, 'credentials.yaml');
  rmSync(credentials);
  symlinkSync(credentials, credentials);
  const { checks } = await doctor();
  assert.equal([checks['config-readable'], checks['store-reachable']], ['ok', 'fail']);
});

test('a file that was named and can not be read is told by what to do about it, not by the code alone', async () => {
  const none = path('none');
  const found = await doctor('--kong-conf', none, '--key-file', none, '--pepper-backup', none);
  assert.match(found.advice['kong-conf'] ?? '', /is not there.*the kong\.conf that Kong is started with/);
  assert.match(found.advice['good-key'] ?? '', /is not there.*put the key, and nothing else/);
  assert.match(found.advice['pepper-backup'] ?? '', /is not there.*Name a file \(0600\)/);
  const without = await examine();
  for (const id of ['protocol', 'unknown-key']) {
    assert.match(without.advice[id] ?? '', 'start `hashed-key-auth serve`');
    assert.not.match(without.advice[id] ?? '', 'can not be made');
  }
});

test('a database without its tables fails with what to run', async () => {
  const text = readFileSync(installation.config, 'utf8');
  writeFileSync(
    installation.config,
    text.replace(/^store:\n(?: {2}.*\n)+/m, 'store:\n  type: sqlite\n  path: credentials.db\n'),
  );
  const found = await doctor();
  assert.is(found.checks['store-reachable'], 'fail');
  assert.match(found.advice['store-reachable'] ?? '', 'db migrate');
  assert.is((await run('db', 'migrate')).status, 0);
  assert.is((await doctor()).checks['store-reachable'], 'ok');
});

withVault(
  'a pepper in Transit is rotated there; log-in and match are checked, and a back-up is for Vault',
  async () => {
    const server = await startVault();
    try {
      await server.root('POST', 'sys/mounts/transit', { type: 'transit' });
      await server.root('POST', 'transit/keys/hka', {});
      writeFileSync(path('token'), server.rootToken, { mode: 0o600 });
      const text = readFileSync(installation.config, 'utf8');
      const transit = '      transit:\n        key: hka\n        key_version: 1\n';
      writeFileSync(
        installation.config,
        `${text.replace(/ {6}file: pepper\n/, transit)}\nvault:\n  address: ${server.address}\n  auth: {method: token, token_file: token}\n`,
      );
      const made = await run('keys', 'create', '--consumer', 'alice');
      assert.is(made.status, 0, made.stderr);
      const found = await doctor();
      assert.equal(
        [found.status, found.checks],
        [
          0,
          {
            ...HEALTHY,
            'vault-login': 'ok',
            'vault-rights': 'ok',
            clock: 'ok',
            'pepper-files': 'skipped',
            'pepper-backup': 'skipped',
          },
        ],
      );
      const rotated = await run('pepper', 'rotate', '--json');
      assert.is(rotated.status, 0, rotated.stderr);
      assert.match(readFileSync(installation.config, 'utf8'), 'key_version: 2');
      const shown = await run('pepper', 'status', '--json');
      assert.match(shown.stdout, /"current":"2".*"id":"1","state":"old","matches":true/);
      // Of a rotation that was interrupted, Vault has the new version already.
      await server.root('POST', 'transit/keys/hka/rotate');
      assert.is((await run('pepper', 'rotate')).status, 0);
      const latest = (await server.root('GET', 'transit/keys/hka')) as { data: { latest_version: number } };
      assert.is(latest.data.latest_version, 3, 'it was taken, and no further one was made');
      const second = await run('keys', 'create', '--consumer', 'alice');
      assert.is(second.status, 0, second.stderr);
    } finally {
      await server.stop();
    }
  },
);

test.run();
