import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createLoginMethod, type AuthConfig } from '../../src/vault/auth.ts';
import { mountedJwt } from '../../src/vault/auth/files.ts';
import { parseReference } from '../../src/vault/reference.ts';
import { createVault, type Vault, type VaultConfig } from '../../src/vault/vault.ts';
import { eventually } from '../helpers/eventually.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { suite } from '../helpers/suite.ts';
import {
  kubernetesLogin,
  startVault,
  vaultAbsence,
  vaultPluginsAbsence,
  type VaultServer,
} from '../helpers/vault-server.ts';
import {
  createAuthority,
  createJwtIssuer,
  startTokenReviewer,
  type CertificateAuthority,
  type JwtIssuer,
  type TokenReviewer,
} from './credentials.ts';
import {
  canary,
  everyView,
  failure,
  keepLog,
  makeRole,
  ManualTime,
  privateFile,
  putSecret,
  READABLE,
  vaultConfig,
  type KeptLog,
  type Role,
} from './support.ts';

const test = suite('ways to log in to Vault (R12)');
const withVault = test.needing(vaultAbsence());
const withPlugins = test.needing(vaultPluginsAbsence());

const reference = parseReference('vault://secret/app/login#token');
const issuer: JwtIssuer = createJwtIssuer();
const stranger: JwtIssuer = createJwtIssuer();
const SERVICE_ACCOUNT = {
  sub: 'system:serviceaccount:edge:gateway',
  aud: ['vault'],
  iss: 'https://kubernetes.default.svc',
  'kubernetes.io': { namespace: 'edge', serviceaccount: { name: 'gateway', uid: 'uid-1' } },
};

let plain: VaultServer;
let tls: VaultServer;
let proxy: FaultProxy;
let authority: CertificateAuthority;
let reviewer: TokenReviewer;
const folder = mkdtempSync(join(tmpdir(), 'hka-auth-test-'));

test.before(async () => {
  if (vaultAbsence() !== undefined) return;
  [plain, tls] = await Promise.all([
    startVault({ plugins: vaultPluginsAbsence() === undefined }),
    startVault({ tls: true }),
  ]);
  proxy = await startFaultProxy(plain.address);
  for (const vault of [plain, tls]) {
    await putSecret(vault, 'app/login', { token: 'read by a log-in' });
    await vault.root('PUT', 'sys/policies/acl/readable', { policy: READABLE });
  }
  await plain.root('POST', 'sys/auth/jwt', { type: 'jwt' });
  await plain.root('POST', 'auth/jwt/config', { jwt_validation_pubkeys: [issuer.publicKey] });
  await plain.root('POST', 'auth/jwt/role/gateway', {
    role_type: 'jwt',
    user_claim: 'sub',
    bound_audiences: ['vault'],
    token_policies: ['readable'],
    token_ttl: '1h',
  });
  authority = await createAuthority(tls, 'clients');
  await tls.root('POST', 'sys/auth/cert', { type: 'cert' });
  await tls.root('POST', 'auth/cert/certs/gateway', {
    certificate: authority.ca,
    allowed_common_names: ['gateway'],
    token_policies: ['readable'],
    token_ttl: '1h',
  });
  if (vaultPluginsAbsence() !== undefined) return;
  reviewer = await startTokenReviewer((jwt) => !jwt.endsWith('revoked'));
  await plain.root('POST', 'sys/auth/kubernetes', { type: kubernetesLogin() });
  await plain.root('POST', 'auth/kubernetes/config', {
    kubernetes_host: reviewer.address,
    token_reviewer_jwt: issuer.issue({ sub: 'reviewer' }),
    disable_local_ca_jwt: true,
    // OpenBao wants one with that, plain HTTP or not.
    kubernetes_ca_cert: authority.ca,
  });
  await plain.root('POST', 'auth/kubernetes/role/gateway', {
    bound_service_account_names: ['gateway'],
    bound_service_account_namespaces: ['edge'],
    audience: 'vault',
    token_policies: ['readable'],
    token_ttl: '1h',
  });
});

const opened: Vault[] = [];

test.afterEach(async () => {
  proxy?.set({ kind: 'pass' });
  for (const vault of opened.splice(0)) await vault.close();
});

test.after(async () => {
  rmSync(folder, { recursive: true, force: true });
  await reviewer?.close();
  await proxy?.close();
  await plain?.stop();
  await tls?.stop();
});

interface Opened {
  readonly vault: Vault;
  readonly log: KeptLog;
  readonly time: ManualTime;
  readonly read: () => Promise<string>;
}

function open(config: VaultConfig): Opened {
  const log = keepLog();
  const time = new ManualTime();
  const vault = createVault(config, { logger: log, clock: time, timers: time, random: () => 0.5 });
  opened.push(vault);
  return {
    vault,
    log,
    time,
    read: async () => {
      await vault.start();
      await vault.ready();
      return (await vault.field(reference)).reveal();
    },
  };
}

function openPlain(auth: AuthConfig): Opened {
  return open(vaultConfig(proxy.address, auth));
}

function openTls(pair: { cert: string; key: string }, auth: AuthConfig): Opened & { files: string[] } {
  const files = [privateFile(pair.cert), privateFile(pair.key)];
  const [clientCertFile = '', clientKeyFile = ''] = files;
  const config = vaultConfig(tls.address, auth, { caFile: tls.caFile, clientCertFile, clientKeyFile });
  return { ...open(config), files };
}

// AppRole with a wrapped secret id

async function wrap(role: string, path = `auth/approle/role/${role}/secret-id`): Promise<string> {
  return wrapOf(plain, path);
}

/** The wrapping token around what a request with root's rights brings. */
async function wrapOf(vault: VaultServer, path: string, body: object = {}): Promise<string> {
  const response = await fetch(`${vault.address}/v1/${path}`, {
    method: 'POST',
    headers: { 'x-vault-token': vault.rootToken, 'x-vault-wrap-ttl': '300s' },
    body: JSON.stringify(body),
  });
  const wrapped = (await response.json()) as { wrap_info: { token: string } };
  return wrapped.wrap_info.token;
}

function wrappedAuth(role: Role, token: string, name?: string): AuthConfig & { secretIdFile: string } {
  return {
    method: 'approle',
    mount: 'approle',
    roleId: role.roleId,
    secretIdFile: privateFile(`${token}\n`),
    secretIdWrapped: true,
    ...(name === undefined ? {} : { role: name }),
  };
}

withVault(
  'a wrapped secret id is unwrapped once; the log-in after the next takes it from memory',
  async () => {
    const role = await makeRole(plain, { token_ttl: '10m' });
    const { read, time } = openPlain(wrappedAuth(role, await wrap(role.name), role.name));
    const before = proxy.count('sys/wrapping/unwrap');
    const logins = proxy.count('approle/login');
    assert.is(await read(), 'read by a log-in');
    time.advance(600_000);
    await read();
    assert.is(proxy.count('approle/login') - logins, 2);
    assert.is(proxy.count('sys/wrapping/unwrap') - before, 1);
    const lookup = proxy.requests.findLast(({ path }) => path.endsWith('wrapping/lookup'));
    assert.is(lookup?.headers['x-vault-token'], undefined);
  },
);

withVault('a configuration that is reread goes on with the secret id that was unwrapped before', async () => {
  const role = await makeRole(plain);
  const auth = wrappedAuth(role, await wrap(role.name));
  const before = proxy.count('sys/wrapping/unwrap');
  // SIGHUP makes the parts anew; and two connections may name one file.
  assert.equal(await Promise.all([openPlain(auth).read(), openPlain(auth).read()]), [
    'read by a log-in',
    'read by a log-in',
  ]);
  assert.is(await openPlain({ ...auth }).read(), 'read by a log-in');
  assert.is(proxy.count('sys/wrapping/unwrap') - before, 1);
});

withVault('another wrapping token in the file is unwrapped in its turn', async () => {
  const role = await makeRole(plain, { token_ttl: '10m' });
  const auth = wrappedAuth(role, await wrap(role.name));
  const { read, time } = openPlain(auth);
  await read();
  writeFileSync(auth.secretIdFile, await wrap(role.name));
  time.advance(600_000);
  const before = proxy.count('sys/wrapping/unwrap');
  await read();
  assert.is(proxy.count('sys/wrapping/unwrap') - before, 1);
});

withVault('a wrapping token that somebody else has used is an alarm, and is not tried on', async () => {
  const role = await makeRole(plain);
  const token = await wrap(role.name);
  await plain.call(token, 'POST', 'sys/wrapping/unwrap');
  const auth = wrappedAuth(role, token);
  const logins = proxy.count('approle/login');
  const { read, log, time } = openPlain(auth);
  const error = await failure(read);
  assert.is(error.code, 'HKA_VAULT_LOGIN');
  assert.is(error.details['credentialsRefused'], true);
  assert.match(error.message, /has been used already, or has expired.*somebody else has the secret id/);
  assert.is(log.count('logging in to Vault failed'), 1);
  assert.match(log.text(), /somebody else has the secret id/);
  assert.is(proxy.count('approle/login') - logins, 0);
  writeFileSync(auth.secretIdFile, await wrap(role.name));
  time.runNext();
  await eventually('the new one is used', () => opened[0]?.status().session.state === 'logged-in');
  assert.not.ok(log.text().includes(token) || everyView(error).includes(token));
});

withVault('a wrapping token of anything else is noticed, and stays wrapped', async () => {
  const [role, other] = [await makeRole(plain), await makeRole(plain)];
  await plain.call(plain.rootToken, 'POST', 'sys/auth/second', { type: 'approle' });
  await plain.root('POST', 'auth/second/role/gateway', {});
  const cases: [token: string, name: string | undefined, shown: RegExp][] = [
    // Whoever may wrap can make a token around a secret id of his own choice.
    [
      await wrapOf(plain, 'sys/wrapping/wrap', { secret_id: other.secretId }),
      undefined,
      /made by sys\/wrapping\/wrap, not by auth\/approle\/role\/\*\/secret-id/,
    ],
    [
      await wrap(other.name),
      role.name,
      /made by auth\/approle\/role\/role-\S+, not by auth\/approle\/role\/role-/,
    ],
    [await wrapOf(plain, 'auth/second/role/gateway/secret-id'), undefined, /made by auth\/second\/role/],
  ];
  for (const [token, name, message] of cases) {
    const before = proxy.count('sys/wrapping/unwrap');
    const { read, log } = openPlain(wrappedAuth(role, token, name));
    const error = await failure(read);
    assert.is(error.code, 'HKA_VAULT_LOGIN');
    assert.match(error.message, message);
    assert.is(error.details['credentialsRefused'], true);
    assert.is(proxy.count('sys/wrapping/unwrap') - before, 0);
    assert.is((await plain.call(token, 'POST', 'sys/wrapping/unwrap')).status, 200, 'it is still wrapped');
    assert.not.ok(log.text().includes(token));
  }
});

withVault('an unwrapping whose answer is lost is told apart from a theft', async () => {
  const role = await makeRole(plain);
  const { read, time } = openPlain(wrappedAuth(role, await wrap(role.name)));
  proxy.set({ kind: 'cut' }, 'sys/wrapping/unwrap');
  assert.is((await failure(read)).code, 'HKA_VAULT_UNAVAILABLE');
  proxy.set({ kind: 'pass' });
  time.advance(60_000);
  const error = await failure(read);
  assert.match(error.message, /an attempt of this server to unwrap it got no secret id back/);
});

withVault('an outage before the unwrapping leaves the wrapping token good', async () => {
  const role = await makeRole(plain);
  const { read, time } = openPlain(wrappedAuth(role, await wrap(role.name)));
  proxy.set({ kind: 'answer', status: 503, body: '{"errors":["Vault is sealed"]}' }, 'sys/wrapping');
  assert.is((await failure(read)).code, 'HKA_VAULT_SEALED');
  proxy.set({ kind: 'pass' });
  time.advance(60_000);
  assert.is(await read(), 'read by a log-in');
});

withVault('a check looks at a wrapping token and leaves it for the server', async () => {
  const role = await makeRole(plain);
  const auth = wrappedAuth(role, await wrap(role.name));
  for (let round = 0; round < 2; round += 1) {
    const { vault } = openPlain(auth);
    assert.match(await vault.check(), /the wrapping token in \S+ is unused.*made for 300 s/);
  }
  assert.is(await openPlain(auth).read(), 'read by a log-in');
});

// JWT and Kubernetes

function jwtFile(text: string, mode = 0o644): string {
  const path = privateFile(text);
  chmodSync(path, mode);
  return path;
}

withVault('a JWT logs in, with the file read anew each time', async () => {
  const file = jwtFile(issuer.issue({ sub: 'gateway', aud: 'vault' }));
  const { read, time } = openPlain({ method: 'jwt', mount: 'jwt', role: 'gateway', jwtFile: file });
  assert.is(await read(), 'read by a log-in');
  const next = issuer.issue({ sub: 'gateway', aud: 'vault', jti: '2' });
  writeFileSync(file, `${next}\n`);
  time.advance(3_600_000);
  await read();
  const login = proxy.requests.findLast(({ path }) => path === '/v1/auth/jwt/login');
  assert.equal(JSON.parse(login?.body ?? ''), { role: 'gateway', jwt: next });
  assert.is(login?.headers['x-vault-token'], undefined);
});

withVault('a JWT of another issuer, for somebody else, or too old is a failed log-in', async () => {
  const now = Math.floor(Date.now() / 1000);
  const cases = [
    stranger.issue({ sub: 'gateway', aud: 'vault' }),
    issuer.issue({ sub: 'gateway', aud: 'other' }),
    issuer.issue({ sub: 'gateway', aud: 'vault', iat: now - 7200, nbf: now - 7200, exp: now - 3600 }),
  ];
  for (const jwt of cases) {
    const { read, log } = openPlain({ method: 'jwt', mount: 'jwt', role: 'gateway', jwtFile: jwtFile(jwt) });
    const error = await failure(read);
    assert.is(error.code, 'HKA_VAULT_LOGIN');
    assert.match(error.message, /the log-in at auth\/jwt\/login/);
    assert.not.ok(`${everyView(error)}${log.text()}`.includes(jwt.split('.')[2] ?? '-'));
  }
});

withVault('a JWT that has been replaced is tried at once', async () => {
  const file = jwtFile(stranger.issue({ sub: 'gateway', aud: 'vault' }));
  const { read } = openPlain({ method: 'jwt', mount: 'jwt', role: 'gateway', jwtFile: file });
  await failure(read);
  writeFileSync(file, issuer.issue({ sub: 'gateway', aud: 'vault' }));
  assert.is(await read(), 'read by a log-in');
});

/** As Kubernetes mounts it: a link to a link to a folder that is replaced as a whole. */
class ServiceAccountMount {
  readonly #root = mkdtempSync(join(folder, 'mount-'));
  #version = 0;
  readonly file = join(this.#root, 'token');

  put(jwt: string): void {
    this.#version += 1;
    const name = `..2026_11_26_12_00_0${this.#version}.123`;
    mkdirSync(join(this.#root, name));
    writeFileSync(join(this.#root, name, 'token'), jwt, { mode: 0o644 });
    symlinkSync(name, join(this.#root, '..data_tmp'));
    renameSync(join(this.#root, '..data_tmp'), join(this.#root, '..data'));
    if (this.#version === 1) symlinkSync(join('..data', 'token'), this.file);
  }
}

withPlugins(
  'a service account of Kubernetes logs in with its mounted token, and with the next one',
  async () => {
    const mount = new ServiceAccountMount();
    const [first, second] = [
      issuer.issue(SERVICE_ACCOUNT),
      issuer.issue({ ...SERVICE_ACCOUNT, jti: 'second' }),
    ];
    mount.put(first);
    const auth = { method: 'kubernetes', mount: 'kubernetes', role: 'gateway', jwtFile: mount.file } as const;
    const { read, time, vault } = openPlain(auth);
    assert.is(await read(), 'read by a log-in');
    assert.is(vault.status().session.method, 'kubernetes');
    assert.equal(reviewer.asked.slice(-1), [first]);
    mount.put(second);
    time.advance(3_600_000);
    await read();
    assert.equal(reviewer.asked.slice(-1), [second]);
  },
);

withPlugins('another service account, and a token that Kubernetes refuses, are failed log-ins', async () => {
  const other = {
    ...SERVICE_ACCOUNT,
    sub: 'system:serviceaccount:edge:other',
    'kubernetes.io': { namespace: 'edge', serviceaccount: { name: 'other', uid: 'uid-2' } },
  };
  for (const jwt of [issuer.issue(other), `${issuer.issue(SERVICE_ACCOUNT)}revoked`]) {
    const file = jwtFile(jwt);
    const { read, log } = openPlain({
      method: 'kubernetes',
      mount: 'kubernetes',
      role: 'gateway',
      jwtFile: file,
    });
    const error = await failure(read);
    assert.is(error.code, 'HKA_VAULT_LOGIN');
    assert.match(error.message, /the log-in at auth\/kubernetes\/login/);
    assert.not.ok(`${everyView(error)}${log.text()}`.includes(jwt));
  }
});

test('a mounted JWT may be readable by all and be a link in its folder; anything else is refused', async () => {
  const jwt = issuer.issue(SERVICE_ACCOUNT);
  const mount = new ServiceAccountMount();
  mount.put(jwt);
  assert.is(mountedJwt(mount.file).take().reveal(), jwt);
  const place = mkdtempSync(join(folder, 'place-'));
  const elsewhere = jwtFile(jwt);
  const link = join(place, 'out');
  symlinkSync(elsewhere, link);
  const dangling = join(place, 'dangling');
  symlinkSync(join(place, 'nothing'), dangling);
  const loop = join(place, 'loop');
  symlinkSync('loop', loop);
  const cases: [file: string, message: RegExp][] = [
    [link, /is a link that leads out of its folder/],
    [dangling, /is not there/],
    [loop, /ELOOP/],
    [place, /is not a regular file/],
    [join(place, 'missing'), /is not there/],
    [jwtFile(jwt, 0o664), /can be written by others than its owner/],
    [jwtFile(jwt, 0o646), /can be written by others than its owner/],
    [jwtFile(''), /is empty/],
    [jwtFile(canary('root-password')), /something else in it than a JWT/],
    [jwtFile(`${jwt} ${canary('more')}`), /something else in it than a JWT/],
    [jwtFile('x'.repeat(70_000)), /has 70000 bytes, allowed are 65536/],
  ];
  for (const [file, message] of cases) {
    for (const method of ['jwt', 'kubernetes'] as const) {
      const login = createLoginMethod({ method, mount: method, role: 'gateway', jwtFile: file });
      const error = await failure(() => login.check());
      assert.is(error.code, 'HKA_CONFIG_INVALID');
      assert.match(error.message, message);
      assert.not.match(everyView(error), /canary/);
    }
  }
});

if (process.geteuid?.() === 0) {
  test("a mounted JWT that is a stranger's is refused", async () => {
    const file = jwtFile(issuer.issue(SERVICE_ACCOUNT));
    chownSync(file, 12345, 12345);
    assert.match((await failure(() => mountedJwt(file).check())).message, /belongs to uid 12345/);
  });
}

// TLS certificate

/** Two thirds of an hour, and a little more: a token of one hour has been renewed. */
const RENEWED_BY_MS = 2_500_000;

withVault('a client certificate logs in, with a role and without', async () => {
  const pair = await authority.issue('gateway');
  for (const role of ['gateway', undefined]) {
    const { read, vault } = openTls(pair, {
      method: 'cert',
      mount: 'cert',
      ...(role === undefined ? {} : { role }),
    });
    assert.is(await read(), 'read by a log-in');
    assert.is(vault.status().session.method, 'cert');
  }
});

withVault('a certificate that no role wants is a failed log-in', async () => {
  const { read } = openTls(await authority.issue('stranger'), { method: 'cert', mount: 'cert' });
  const error = await failure(read);
  assert.is(error.code, 'HKA_VAULT_LOGIN');
  assert.match(error.message, /the log-in at auth\/cert\/login/);
});

withVault(
  'a renewed certificate is used without a restart: the token bound to the old one is replaced',
  async () => {
    const { read, time, files, vault, log } = openTls(await authority.issue('gateway'), {
      method: 'cert',
      mount: 'cert',
    });
    await read();
    const next = await authority.issue('gateway');
    // One file after the other: in between the pair before is used.
    writeFileSync(files[0] ?? '', next.cert);
    await vault.ready();
    writeFileSync(files[1] ?? '', next.key);
    assert.is(log.count('logged in to Vault'), 1);
    await time.pass(RENEWED_BY_MS, () => Promise.resolve());
    await eventually('it has logged in with the new one', () => log.count('logged in to Vault') === 2);
    await read();
  },
);

withVault('with the same certificate the token is renewed', async () => {
  const { read, time, log } = openTls(await authority.issue('gateway'), { method: 'cert', mount: 'cert' });
  await read();
  await time.pass(RENEWED_BY_MS, () => Promise.resolve());
  await eventually('it is renewed', () => log.count('Vault token renewed') === 1);
  assert.is(log.count('logged in to Vault'), 1);
});

withVault('certificate and key are checked at the start', async () => {
  const [pair, other] = [await authority.issue('gateway'), await authority.issue('gateway')];
  const shared = privateFile(pair.key);
  chmodSync(shared, 0o640);
  const cases: [cert: string | undefined, key: string | undefined, message: RegExp][] = [
    [undefined, undefined, /needs client_cert_file and client_key_file/],
    [privateFile(pair.cert), undefined, /need one another/],
    [join(folder, 'none'), privateFile(pair.key), /client certificate for Vault.*ENOENT/],
    [privateFile(pair.cert), join(folder, 'none'), /is not there/],
    [privateFile(pair.cert), shared, /mode 0640/],
    [privateFile(pair.cert), privateFile(other.key), /is not that of the certificate/],
    [privateFile(pair.cert), privateFile(canary('key')), /has no private key in it/],
    [privateFile('nothing'), privateFile(pair.key), /has no certificate in it/],
  ];
  for (const [clientCertFile, clientKeyFile, message] of cases) {
    const config = vaultConfig(
      tls.address,
      { method: 'cert', mount: 'cert' },
      {
        caFile: tls.caFile,
        ...(clientCertFile === undefined ? {} : { clientCertFile }),
        ...(clientKeyFile === undefined ? {} : { clientKeyFile }),
      },
    );
    const error = await failure(() => open(config).vault.start());
    assert.is(error.code, 'HKA_CONFIG_INVALID');
    assert.match(error.message, message);
    assert.not.match(everyView(error), /canary|PRIVATE KEY/);
  }
});

test.run();
