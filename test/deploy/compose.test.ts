/**
 * docker-compose.yml at work, service by service, without a container engine: secrets are made, Vault is initialised and
 * unsealed, the database takes TLS and its roles only, a key that the admin service issues opens a route of Kong, and the
 * upstream gets its secret from Vault. R1, R3, R5, R6, R7, R8, R12. With KONG_BIN it is a real Kong, in each of its modes (R13).
 */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { realKongBinary } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { Stack, stackAbsence } from './stack.ts';

const absence = stackAbsence();
const kongAbsence = absence ?? (realKongBinary() === undefined ? 'no real Kong: set KONG_BIN' : undefined);
const test = suite('docker-compose.yml at work');
const running = test.needing(absence);
const withKong = test.needing(kongAbsence);

let stack: Stack;
test.before(async () => {
  if (absence !== undefined) return;
  stack = new Stack();
  await stack.start();
  await stack.startKong();
});
test.after(() => (absence === undefined ? stack.dispose() : undefined));

const SECRETS = ['store/owner-password', 'store/gateway-password', 'kong/pg-password', 'admin-token'];
const UP = ['postgres', 'vault', 'plugin-server', 'admin', 'kong'];

running('make secrets: files are 0600 and folders 0700, and every password is random', () => {
  for (const entry of readdirSync(stack.local, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const isPublic = entry.name.endsWith('.pem');
    const wanted = entry.isDirectory() ? 0o700 : isPublic ? 0o644 : 0o600;
    assert.is(statSync(path).mode & 0o777, wanted, path);
  }
  const values = SECRETS.map((path) => stack.read(path));
  assert.is(new Set(values).size, values.length);
  for (const value of values) assert.ok(value.length >= 48, 'short');
});

running('make secrets: again, it changes nothing that is secret, with the pepper moved away as well', () => {
  const files = [...SECRETS, 'ca/ca.key', 'vault/server.key', 'admin/tokens', 'postgres/10-roles.sql'];
  const before = files.map((path) => stack.read(path));
  const pepper = join(stack.local, 'vault-setup/pepper');
  const kept = stack.read('vault-setup/pepper');
  rmSync(pepper);
  stack.secrets();
  assert.equal(
    files.map((path) => stack.read(path)),
    before,
  );
  assert.throws(() => statSync(pepper), /ENOENT/);
  assert.match(kept, /^hka-pepper-v1:/);
});

running(
  'R7: PostgreSQL takes TLS only, each role its own database, the superuser nowhere but on its Unix socket',
  async () => {
    const login = async (user: string, database: string, password: string, mode: string): Promise<string> => {
      const script = `PGPASSWORD=$(cat) PGSSLMODE=${mode} psql -h 127.0.0.1 -U ${user} -d ${database} -tAc 'select current_user'`;
      return (await stack.of('postgres').exec(['sh', '-c', script], password)).output.trim();
    };
    const gateway = stack.read('store/gateway-password');
    assert.is(
      await login('hashed_key_auth_gateway', 'hashed_key_auth', gateway, 'require'),
      'hashed_key_auth_gateway',
    );
    assert.match(
      await login('hashed_key_auth_gateway', 'hashed_key_auth', gateway, 'disable'),
      /no encryption/,
    );
    assert.match(await login('hashed_key_auth_gateway', 'kong', gateway, 'require'), /no pg_hba.conf entry/);
    assert.match(
      await login('postgres', 'postgres', stack.read('postgres/superuser-password'), 'require'),
      /no pg_hba.conf entry/,
    );
  },
);

running('R12: the root token is revoked, and no file has it', async () => {
  assert.not.match(stack.read('vault-setup/init'), /Root Token/);
  assert.match(stack.read('vault-setup/init'), /^Unseal Key 5: /m);
  const { output } = await stack
    .of('vault')
    .exec(['vault', 'status', '-address=https://127.0.0.1:8200', '-ca-cert=/etc/vault/ca.pem']);
  assert.match(output, /Storage Type\s+raft/);
});

running(
  'R1, R3: a key of the admin service opens a route, and the upstream gets its secret from Vault',
  async () => {
    const { id, key } = await stack.issue('alice');
    assert.is((await stack.ask('/orders')).status, 401);
    const answer = await stack.ask('/orders', { apikey: key });
    assert.is(answer.status, 200, answer.body);
    const { headers } = JSON.parse(answer.body) as { headers: Record<string, string> };
    assert.match(headers['authorization'] ?? '', /^Bearer [\w+/]{32}$/);
    assert.is(headers['x-consumer-username'], 'alice');
    assert.is(headers['apikey'], undefined);
    await stack.keys('revoke', id, '--reason', 'test', '--wait');
    assert.is((await stack.ask('/orders', { apikey: key })).status, 401);
  },
);

running(
  'metrics: the plugin server tells its own container how it is, its log-in to Vault included',
  async () => {
    const get = "fetch('http://127.0.0.1:9464/metrics').then((r) => r.text()).then(console.log)";
    const { output } = await stack.of('plugin-server').exec(['node', '-e', get]);
    assert.match(output, /^hashed_key_auth_ready 1$/m);
    assert.match(output, /^hashed_key_auth_vault_logged_in\{connection="default"\} 1$/m);
    const [, seconds] =
      /^hashed_key_auth_vault_token_seconds\{connection="default"\} (\d+)$/m.exec(output) ?? [];
    // setup.sh gives tokens an hour.
    assert.ok(Number(seconds) > 3000 && Number(seconds) <= 3600, seconds);
    assert.match(
      output,
      /^hashed_key_auth_secret_failing\{reference="vault:\/\/secret\/demo\/orders.*"\} 0$/m,
    );
  },
);

running('R6, R8: the admin service wants its token, and is out of reach from where Kong is not', async () => {
  const url = 'https://admin:8443/hashed-key-auths';
  assert.is((await stack.ask(url)).status, 401);
  const answer = await stack.ask(url, { authorization: `Bearer ${stack.read('admin-token')}` });
  assert.is(answer.status, 200, answer.body);
  const connect = `require('net').connect(8443, '172.30.65.3').on('connect', () => process.exit(0)).on('error', (e) => { console.log(e.code); process.exit(1); })`;
  const { output } = await stack.of('plugin-server').exec(['node', '-e', connect]);
  assert.match(output, /ENETUNREACH|EHOSTUNREACH/);
});

running('containers: root folders are read-only, users are not root, and have no capability', async () => {
  for (const name of UP) {
    const script =
      'touch /x 2>/dev/null && echo writable; id -u; grep -E "^(Cap|NoNewPrivs)" /proc/self/status';
    const { output } = await stack.of(name).exec(['sh', '-c', script]);
    assert.not.match(output, /writable|^0$/m, name);
    assert.equal(
      [...output.matchAll(/^Cap\w+:\s+(\S+)$/gm)].map(([, set]) => Number(set)),
      [0, 0, 0, 0, 0],
      name,
    );
    assert.match(output, /NoNewPrivs:\s+1/, name);
  }
});

running(
  'R12: the plugin server can read neither the database owner’s password nor the admin service’s',
  async () => {
    const { output } = await stack
      .of('plugin-server')
      .exec(['sh', '-c', 'ls /run/secrets /etc/hashed-key-auth /vault-login; ls /vault-setup 2>&1']);
    assert.match(output, /store_gateway_password/);
    assert.not.match(output, /owner|admin|pepper|init\b/);
  },
);

running(
  'Vault is sealed after a restart; vault-setup unseals it and changes nothing; keys go on working',
  async () => {
    const { key } = await stack.issue('alice');
    assert.is((await stack.ask('/orders', { apikey: key })).status, 200);
    await stack.of('vault').stop();
    stack.up('vault');
    assert.match(await stack.once('vault-setup'), /unsealed\n.*set up already/);
    await stack.healthy('vault');
    assert.is((await stack.ask('/orders', { apikey: key })).status, 200);
  },
);

running('no secret is in what any service has printed', () => {
  const printed = UP.map((name) => stack.of(name).output).join('\n');
  assert.ok(printed.includes('listening'));
  for (const path of [...SECRETS, 'store/admin-password', 'postgres/superuser-password']) {
    assert.not.ok(printed.includes(stack.read(path)), path);
  }
  for (const [, share = ''] of stack.read('vault-setup/init').matchAll(/^Unseal Key \d: (.*)$/gm)) {
    assert.ok(share.length > 20 && !printed.includes(share));
  }
});

withKong(
  'R6: Kong’s own Admin API and our admin service are reached over a route, by a key of the group',
  async () => {
    const admin = (await stack.issue('platform-admin')).key;
    const alice = (await stack.issue('alice')).key;
    for (const path of ['/admin-api', '/key-admin/hashed-key-auths']) {
      assert.is((await stack.ask(path)).status, 401, path);
      assert.is((await stack.ask(path, { apikey: alice })).status, 403, path);
    }
    const status = await stack.ask('/admin-api/status', { apikey: admin });
    assert.is(status.status, 200, status.body);
    // The route's credential is not the service's.
    assert.is((await stack.ask('/key-admin/hashed-key-auths', { apikey: admin })).status, 401);
    const both = { apikey: admin, authorization: `Bearer ${stack.read('admin-token')}` };
    const answer = await stack.ask('/key-admin/hashed-key-auths', both);
    assert.is(answer.status, 200, answer.body);
    assert.ok((JSON.parse(answer.body) as { data: unknown[] }).data.length >= 2);
  },
);

test.run();

const modes = suite('Kong’s modes by deploy/compose');
const inMode = modes.needing(kongAbsence);

/** What every mode gives in the end. */
async function opensRoutes(with_: Stack): Promise<void> {
  const { id, key } = await with_.issue('alice');
  // A data plane may have the route before it has the consumers, whose keys are refused until then.
  const answer = await eventually('the key opens the route', async () => {
    const { status, body } = await with_.ask('/orders', { apikey: key });
    return status === 200 ? body : undefined;
  });
  assert.match(
    (JSON.parse(answer) as { headers: { authorization?: string } }).headers.authorization ?? '',
    /^Bearer /,
  );
  await with_.keys('revoke', id, '--reason', 'test', '--wait');
  assert.is((await with_.ask('/orders', { apikey: key })).status, 401);
}

inMode('R13: PostgreSQL: Kong reads its configuration from the database, over TLS', async () => {
  const mode = new Stack('deploy/compose/kong-postgres.yml');
  try {
    await mode.start();
    await mode.once('kong-migrations');
    await mode.startKong({ imports: true });
    await opensRoutes(mode);
  } finally {
    await mode.dispose();
  }
});

inMode('R13: hybrid: the control plane has no plugin server, the data plane no database', async () => {
  const mode = new Stack('deploy/compose/kong-hybrid.yml');
  try {
    await mode.start();
    await mode.once('kong-migrations');
    mode.up('control-plane');
    await mode.importInto('control-plane');
    await mode.startKong();
    await opensRoutes(mode);
  } finally {
    await mode.dispose();
  }
});

modes.run();
