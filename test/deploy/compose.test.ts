/**
 * docker-compose.yml at work, service by service, without a container engine: secrets are made, Vault is initialised and
 * unsealed, the database takes TLS and its roles only, a key that the admin service issues opens a route of Kong, and the
 * upstream gets its secret from Vault. R1, R3, R5, R6, R7, R8, R12.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { ROOT } from '../helpers/installation.ts';
import { findPostgres, postgresAbsence } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';
import { findVault, vaultAbsence } from '../helpers/vault-server.ts';
import { readComposeFile } from './compose-file.ts';
import { ComposeRun, namespacesAbsence, type Running } from './compose-run.ts';

const absence = namespacesAbsence() ?? postgresAbsence() ?? vaultAbsence();
const test = suite('docker-compose.yml at work');
const running = test.needing(absence);
const ifPossible = (work: () => Promise<void>) => async (): Promise<void> => {
  if (absence === undefined) await work();
};

const READY_MS = 60_000;
const HEALTH_CHECK_MS = 500;
const work = mkdtempSync(join(tmpdir(), 'hka-secrets-'));
const local = join(work, 'local');
const secrets = (): void => {
  execFileSync(join(ROOT, 'deploy/compose/secrets.sh'), [local], { stdio: ['ignore', 'ignore', 'pipe'] });
};
const read = (path: string): string => readFileSync(join(local, path), 'utf8').trim();

/** What PostgreSQL's image does: makes the database once, with a server that only listens on a Unix socket. */
const POSTGRES_ENTRYPOINT = `#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  chmod 700 "$PGDATA"
  initdb $POSTGRES_INITDB_ARGS --no-sync --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE"
  shift
  options="-c listen_addresses= -c unix_socket_directories=/var/run/postgresql"
  pg_ctl -w -o "$options $*" start
  for file in /docker-entrypoint-initdb.d/*.sql; do
    PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")" psql -h /var/run/postgresql -U postgres --no-psqlrc -v ON_ERROR_STOP=1 -f "$file"
  done
  pg_ctl -w -m fast stop
  set -- postgres "$@"
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
`;

const ours = {
  entrypoint: ['hashed-key-auth'],
  path: ['/opt/bin'],
  contents: { '/app': ROOT },
  files: { '/opt/bin/hashed-key-auth': '#!/bin/sh\nexec node /app/bin/hashed-key-auth.js "$@"\n' },
  volumeOwner: '65532:65000',
};
const images = {
  postgres: {
    entrypoint: ['/entrypoint.sh'],
    path: [findPostgres() ?? ''],
    environment: { PGDATA: '/var/lib/postgresql/data' },
    files: { '/entrypoint.sh': POSTGRES_ENTRYPOINT },
    volumeOwner: '999:999',
  },
  'hashicorp/vault': {
    entrypoint: ['vault'],
    path: ['/opt/bin'],
    contents: { '/opt/bin/vault': findVault() ?? '' },
    volumeOwner: '100:1000',
  },
  'hashed-key-auth': ours,
  kong: { ...ours, entrypoint: ['node', '/app/dist/test/deploy/gateway-process.js'] },
};

const compose = readComposeFile();
let stack: ComposeRun;
let postgres: Running;
let vault: Running;
let server: Running;
let admin: Running;
let kong: Running;

/** Runs a service that is to end by itself. */
async function once(name: string): Promise<string> {
  const { status, output } = await stack.start(name).ended;
  assert.is(status, 0, `${name}: ${output}`);
  return output;
}

/** Waits for the service's own health check. Each one costs a program's start, so its log is waited for before. */
async function healthy(name: string, service: Running, said: RegExp): Promise<void> {
  const [kind, ...command] = stack.service(name).healthcheck?.test ?? [];
  assert.is(kind, 'CMD');
  const ended = service.ended.then(({ output }) => {
    throw new Error(`${name} ended: ${output}`);
  });
  const check = async (): Promise<void> => {
    await eventually(`${name} speaks`, () => Promise.resolve(said.test(service.output)), READY_MS);
    await eventually(
      `${name} is healthy`,
      async () => (await service.exec(command)).status === 0,
      READY_MS,
      HEALTH_CHECK_MS,
    );
  };
  await Promise.race([check(), ended]);
}

async function ask(url: string, headers: Record<string, string> = {}): Promise<{ status: number; body: string }> {
  const before = kong.output.split('\n').length;
  kong.stdin?.write(`${JSON.stringify({ url, headers })}\n`);
  await eventually('Kong answers', () => Promise.resolve(kong.output.split('\n').length > before), READY_MS);
  return JSON.parse(kong.output.split('\n').at(-2) ?? '') as { status: number; body: string };
}

const hkaIn = async (service: Running, args: string[], input?: string): Promise<string> => {
  const { status, output } = await service.exec(['hashed-key-auth', ...args], input);
  assert.is(status, 0, output);
  return output;
};
const ADMIN = ['--config', '/etc/hashed-key-auth/admin.yaml', '--json'];
const issue = async (consumer: string): Promise<{ id: string; key: string }> => {
  const lines = (await hkaIn(admin, ['keys', 'create', '--consumer', consumer, ...ADMIN])).split('\n');
  return JSON.parse(lines.find((line) => line.startsWith('{')) ?? '') as { id: string; key: string };
};

test.before(
  ifPossible(async () => {
    secrets();
    stack = new ComposeRun(compose, images, local);
    await stack.connect();
    postgres = stack.start('postgres');
    vault = stack.start('vault');
    await healthy('postgres', postgres, /listening on IPv4/);
    await Promise.all([once('vault-setup'), once('store-migrate').then(() => once('store-grants'))]);
    await healthy('vault', vault, /./);
    server = stack.start('plugin-server');
    admin = stack.start('admin');
    const upstream = stack.start('upstream');
    await Promise.all([healthy('plugin-server', server, /"listening"/),
      healthy('admin', admin, /"listen/),
      healthy('upstream', upstream, /^/)]);
    kong = stack.start('kong');
    await eventually('Kong runs', () => Promise.resolve(kong.output.includes('ready\n')), READY_MS);
  }),
);
test.after(async () => {
  if (absence === undefined) await stack.dispose();
  rmSync(work, { recursive: true, force: true });
});

const SECRETS = ['store/owner-password', 'store/gateway-password', 'kong/pg-password', 'admin-token'];

running('make secrets: files are 0600 and folders 0700, and every password is random', () => {
  for (const entry of readdirSync(local, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const isPublic = entry.name.endsWith('.pem');
    const wanted = entry.isDirectory() ? 0o700 : isPublic ? 0o644 : 0o600;
    assert.is(statSync(path).mode & 0o777, wanted, path);
  }
  const values = SECRETS.map(read);
  assert.is(new Set(values).size, values.length);
  for (const value of values) assert.ok(value.length >= 48, 'short');
});

running('make secrets: again, it changes nothing that is secret, with the pepper moved away as well', () => {
  const files = [...SECRETS, 'ca/ca.key', 'vault/server.key', 'admin/tokens', 'postgres/10-roles.sql'];
  const before = files.map(read);
  const pepper = join(local, 'vault-setup/pepper');
  const kept = read('vault-setup/pepper');
  rmSync(pepper);
  secrets();
  assert.equal(files.map(read), before);
  assert.throws(() => statSync(pepper), /ENOENT/);
  assert.match(kept, /^hka-pepper-v1:/);
});

running('R7: PostgreSQL takes TLS only, each role its own database, the superuser nowhere but on its Unix socket', async () => {
  const login = async (user: string, database: string, password: string, mode: string): Promise<string> => {
    const script = `PGPASSWORD=$(cat) PGSSLMODE=${mode} psql -h 127.0.0.1 -U ${user} -d ${database} -tAc 'select current_user'`;
    return (await postgres.exec(['sh', '-c', script], password)).output.trim();
  };
  const gateway = read('store/gateway-password');
  assert.is(await login('hashed_key_auth_gateway', 'hashed_key_auth', gateway, 'require'), 'hashed_key_auth_gateway');
  assert.match(await login('hashed_key_auth_gateway', 'hashed_key_auth', gateway, 'disable'), /no encryption/);
  assert.match(await login('hashed_key_auth_gateway', 'kong', gateway, 'require'), /no pg_hba.conf entry/);
  assert.match(await login('postgres', 'postgres', read('postgres/superuser-password'), 'require'), /no pg_hba.conf entry/);
});

running('R12: the root token is revoked, and no file has it', async () => {
  assert.not.match(read('vault-setup/init'), /Root Token/);
  assert.match(read('vault-setup/init'), /^Unseal Key 5: /m);
  const { output } = await vault.exec(['vault', 'status', '-address=https://127.0.0.1:8200', '-ca-cert=/etc/vault/ca.pem']);
  assert.match(output, /Storage Type\s+raft/);
});

running('R1, R3: a key of the admin service opens a route, and the upstream gets its secret from Vault', async () => {
  const { id, key } = await issue('alice');
  assert.is((await ask('/orders')).status, 401);
  const answer = await ask('/orders', { apikey: key });
  assert.is(answer.status, 200, answer.body);
  const { headers } = JSON.parse(answer.body) as { headers: Record<string, string> };
  assert.match(headers['authorization'] ?? '', /^Bearer [\w+/]{32}$/);
  assert.is(headers['x-consumer-username'], 'alice');
  assert.is(headers['apikey'], undefined);
  await hkaIn(admin, ['keys', 'revoke', id, '--reason', 'test', '--wait', ...ADMIN]);
  assert.is((await ask('/orders', { apikey: key })).status, 401);
});

running('R6, R8: the admin service wants its token, and is out of reach from where Kong is not', async () => {
  const url = 'https://admin:8443/hashed-key-auths';
  assert.is((await ask(url)).status, 401);
  const answer = await ask(url, { authorization: `Bearer ${read('admin-token')}` });
  assert.is(answer.status, 200, answer.body);
  const connect = `require('net').connect(8443, '172.30.65.3').on('connect', () => process.exit(0)).on('error', (e) => { console.log(e.code); process.exit(1); })`;
  const { output } = await server.exec(['node', '-e', connect]);
  assert.match(output, /ENETUNREACH|EHOSTUNREACH/);
});

running('containers: root folders are read-only, users are not root, and have no capability', async () => {
  for (const [name, service] of Object.entries({ postgres, vault, 'plugin-server': server, admin, kong })) {
    const script = 'touch /x 2>/dev/null && echo writable; id -u; grep -E "^(Cap|NoNewPrivs)" /proc/self/status';
    const { output } = await service.exec(['sh', '-c', script]);
    assert.not.match(output, /writable|^0$/m, name);
    assert.equal([...output.matchAll(/^Cap\w+:\s+(\S+)$/gm)].map(([, set]) => Number(set)), [0, 0, 0, 0, 0], name);
    assert.match(output, /NoNewPrivs:\s+1/, name);
  }
});

running('R12: the plugin server can read neither the database owner’s password nor the admin service’s', async () => {
  const { output } = await server.exec(['sh', '-c', 'ls /run/secrets /etc/hashed-key-auth /vault-login; ls /vault-setup 2>&1']);
  assert.match(output, /store_gateway_password/);
  assert.not.match(output, /owner|admin|pepper|init\b/);
});

running('Vault is sealed after a restart; vault-setup unseals it and changes nothing; keys go on working', async () => {
  const { key } = await issue('alice');
  assert.is((await ask('/orders', { apikey: key })).status, 200);
  await vault.stop();
  vault = stack.start('vault');
  assert.match(await once('vault-setup'), /unsealed\n.*set up already/);
  await healthy('vault', vault, /./);
  assert.is((await ask('/orders', { apikey: key })).status, 200);
});

running('no secret is in what any service has printed', () => {
  const printed = [postgres, vault, server, admin, kong].map(({ output }) => output).join('\n');
  assert.ok(printed.includes('listening'));
  for (const path of [...SECRETS, 'store/admin-password', 'postgres/superuser-password']) {
    assert.not.ok(printed.includes(read(path)), path);
  }
  for (const [, share = ''] of read('vault-setup/init').matchAll(/^Unseal Key \d: (.*)$/gm)) {
    assert.ok(share.length > 20 && !printed.includes(share));
  }
  assert.ok(dirname(local) === work);
});

test.run();
