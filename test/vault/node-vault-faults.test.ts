/**
 * Each known fault of node-vault 0.12.0 that could touch us, shown on plain node-vault first and then not to be there in what
 * we put around it. Where plain node-vault no longer fails, the test fails as well: the fault can then be struck off
 * docs/vault.md. Numbers are those of that page's table.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, createServer as createTcpServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { inspect } from 'node:util';
import nodeVault from 'node-vault';
import * as assert from 'uvu/assert';
import { Secret } from '../../src/lib/secret.ts';
import { createLoginMethod, type AuthConfig } from '../../src/vault/auth.ts';
import { encodePath, parseReference } from '../../src/vault/reference.ts';
import { VaultSession } from '../../src/vault/session.ts';
import { monotonicClock, systemTimers } from '../../src/vault/timers.ts';
import { createVault } from '../../src/vault/vault.ts';
import { eventually } from '../helpers/eventually.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { createJwtIssuer } from './credentials.ts';
import { canary, clientFor, everyView, failure, keepLog, privateFile, vaultConfig } from './support.ts';

const test = suite('faults of node-vault that do not reach us');
const withVault = test.needing(vaultAbsence());

type Call = (...args: readonly unknown[]) => Promise<unknown>;

/** What node-vault's own types say of few of these. */
interface PlainClient {
  token: string;
  readonly read: Call;
  readonly write: Call;
  readonly update: Call;
  readonly mount: Call;
  readonly approleLogin: Call;
  readonly getApproleRole: Call;
  readonly addApproleRole: Call;
  readonly kubernetesLogin: Call;
  readonly certLogin: (options: object) => Promise<unknown>;
  readonly tokenCreate: Call;
  readonly startTokenRenewal: Call;
  readonly stopTokenRenewal: () => void;
}

function plainTo(endpoint: string, options: object = {}): PlainClient {
  return nodeVault({ endpoint, ...options }) as unknown as PlainClient;
}

let server: FaultProxy;
let tls: VaultServer;

test.before(async () => {
  server = await startFaultProxy('http://127.0.0.1:9');
  if (vaultAbsence() === undefined) tls = await startVault({ tls: true });
});

const closers: (() => unknown)[] = [];

test.beforeEach(() => {
  answer(200, '{"data":{}}');
});

test.afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

test.after(async () => {
  await server.close();
  await tls?.stop();
});

function answer(status: number, body: string, headers: Record<string, string> = {}): void {
  server.set({ kind: 'answer', status, body, headers });
}

function ours(address = server.address, options: Parameters<typeof clientFor>[1] = {}) {
  const made = clientFor(address, options);
  closers.push(() => made.transport.close());
  return made;
}

/** What the server has seen of `work`. */
async function seen(work: () => Promise<unknown>): Promise<FaultProxy['requests']> {
  const before = server.requests.length;
  await work();
  return server.requests.slice(before);
}

async function thrown(work: () => unknown): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
}

async function withEnvironment<T>(variables: Record<string, string>, work: () => Promise<T>): Promise<T> {
  const before = Object.fromEntries(Object.keys(variables).map((name) => [name, process.env[name]]));
  Object.assign(process.env, variables);
  try {
    return await work();
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

/** Runs a program to its end; both of its streams as one text. */
function run(args: readonly string[], environment: Record<string, string>): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      cwd: ROOT,
      env: { PATH: process.env['PATH'] ?? '', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    }
    child.on('error', reject);
    child.on('close', () => resolve(output));
  });
}

/** Our layer in a program of its own: logs in by AppRole at `address` and reads one secret. */
function runOurs(address: string, secretId: string, environment: Record<string, string>): Promise<string> {
  const auth = {
    method: 'approle',
    mount: 'approle',
    roleId: 'r',
    secretIdFile: privateFile(secretId),
  } as const;
  const config = vaultConfig(address, auth, { mounts: [{ path: 'secret', kvVersion: 1 }] });
  return run([join(import.meta.dirname, 'read-once.js')], {
    HKA_TEST_VAULT: JSON.stringify(config),
    HKA_TEST_REFERENCE: 'vault://secret/app#token',
    ...environment,
  });
}

/** Good for a log-in and for a secret of KV 1 alike. */
function answerToAll(token: string, value: string): void {
  answer(
    200,
    JSON.stringify({
      auth: { client_token: token, lease_duration: 3600, renewable: true },
      data: { token: value },
    }),
  );
}

const get = { token: new Secret('t') };

test('node-vault fault 1: a headers object that is used twice keeps the first token', async () => {
  const plain = await seen(async () => {
    const client = plainTo(server.address, { token: 'first', requestOptions: { headers: {} } });
    await client.read('secret/x');
    client.token = 'second';
    await client.read('secret/x');
  });
  assert.equal(
    plain.map(({ headers }) => headers['x-vault-token']),
    ['first', 'first'],
  );
  const { client } = ours();
  const mine = await seen(async () => {
    for (const token of ['first', 'second']) await client.read('secret/x', { token: new Secret(token) });
  });
  assert.equal(
    mine.map(({ headers }) => headers['x-vault-token']),
    ['first', 'second'],
  );
});

test('node-vault fault 2: a command posts its request options, with what is secret in them', async () => {
  const secret = canary('key');
  const plain = await seen(() =>
    plainTo(server.address, { token: 't' }).mount({
      mount_point: 'kv',
      type: 'kv',
      requestOptions: { key: secret },
    }),
  );
  assert.ok(plain[0]?.body.includes(secret));
  const { client } = ours();
  const mine = await seen(() => client.write('sys/mounts/kv', { type: 'kv' }, { token: new Secret(secret) }));
  assert.equal(JSON.parse(mine[0]?.body ?? ''), { type: 'kv' });
});

test('node-vault fault 3: an error of the network shows token and secret id', async () => {
  const nobody = 'http://127.0.0.1:9';
  const [token, secretId] = [canary('token'), canary('secret-id')];
  const error = await thrown(() =>
    plainTo(nobody, { token }).write('auth/approle/login', { secret_id: secretId }),
  );
  assert.ok(
    inspect(error, { depth: 20 }).includes(token) && inspect(error, { depth: 20 }).includes(secretId),
  );
  const mine = await failure(() =>
    ours(nobody).client.write('auth/approle/login', { secret_id: secretId }, { token: new Secret(token) }),
  );
  assert.not.match(everyView(mine), /canary/);
});

test('node-vault fault 4: DEBUG prints what is posted', async () => {
  const secretId = canary('secret-id');
  answerToAll(canary('token'), canary('value'));
  const script = `require('node-vault')({ endpoint: '${server.address}' }).write('auth/approle/login', { secret_id: '${secretId}' })`;
  assert.ok((await run(['-e', script], { DEBUG: 'node-vault' })).includes(secretId));
  const output = await runOurs(server.address, secretId, { DEBUG: '*' });
  assert.match(output, /^value canary-value/m);
  assert.not.match(output.replace(/^value .*$/m, ''), /canary/);
});

test('node-vault fault 5: a redirect takes token and body to another host', async () => {
  const other = await startFaultProxy('http://127.0.0.1:9');
  closers.push(() => other.close());
  other.set({ kind: 'answer', status: 200, body: '{}' });
  const token = canary('token');
  answer(307, '', { location: `${other.address}/v1/elsewhere` });
  await plainTo(server.address, { token }).write('auth/approle/login', { secret_id: 's' });
  assert.is(other.requests[0]?.headers['x-vault-token'], token);
  assert.match(other.requests[0]?.body ?? '', /secret_id/);
  const error = await failure(() =>
    ours().client.write('auth/approle/login', { secret_id: 's' }, { token: new Secret(token) }),
  );
  assert.match(error.message, /a redirect, which is not followed/);
  assert.is(other.requests.length, 1);
});

test('node-vault fault 5: HTTP_PROXY gets the token, even with proxy: false', async () => {
  const astray = await startFaultProxy('http://127.0.0.1:9');
  closers.push(() => astray.close());
  astray.set({ kind: 'answer', status: 200, body: '{}' });
  const token = canary('token');
  answerToAll(canary('login'), 'value');
  const environment = { HTTP_PROXY: astray.address, http_proxy: astray.address };
  const script = `require('node-vault')({ endpoint: '${server.address}', token: '${token}', requestOptions: { proxy: false } }).read('secret/x')`;
  await run(['-e', script], environment);
  assert.is(astray.requests.at(-1)?.headers['x-vault-token'], token);
  const before = astray.connections();
  assert.match(await runOurs(server.address, 's', environment), /^value value$/m);
  assert.is(astray.connections(), before);
});

test('node-vault fault 6: an empty token is that of VAULT_TOKEN, and a log-in sends whatever token there is', async () => {
  const token = canary('environment');
  await withEnvironment({ VAULT_TOKEN: token }, async () => {
    const plain = await seen(() => plainTo(server.address, { token: '' }).approleLogin({ role_id: 'r' }));
    assert.is(plain[0]?.headers['x-vault-token'], token);
    const { client } = ours();
    const mine = await seen(() => client.write('auth/approle/login', { role_id: 'r' }, { token: undefined }));
    assert.is(mine[0]?.headers['x-vault-token'], undefined);
  });
});

test('node-vault fault 7: ../ and %2e%2e leave the path', async () => {
  for (const up of ['..', '%2e%2e', '.%2E']) {
    const path = `secret/data/app/${up}/${up}/${up}/sys/policies/acl/root`;
    const plain = await seen(() => plainTo(server.address, { token: 't' }).read(path));
    assert.is(plain[0]?.path, '/v1/sys/policies/acl/root');
    const mine = await seen(async () => {
      const error = await failure(() => ours().client.read(path, get));
      assert.is(error.code, 'HKA_REFERENCE_INVALID');
    });
    assert.is(mine.length, 0);
  }
});

test('node-vault fault 8: names in a path are HTML-escaped, not percent-encoded', async () => {
  const name = 'a&b?list=true';
  const plain = await seen(() => plainTo(server.address, { token: 't' }).getApproleRole({ role_name: name }));
  // Mustache's &#x3D; for the = ends the URL at its #.
  assert.is(plain[0]?.path, '/v1/auth/approle/role/a&amp;b?list&');
  const path = encodePath(['auth', 'approle', 'role', name]);
  const mine = await seen(() => ours().client.read(path, get));
  assert.is(mine[0]?.path, '/v1/auth/approle/role/a%26b%3Flist%3Dtrue');
});

withVault('node-vault fault 9: most ways to name a CA are ignored', async () => {
  const ca = readFileSync(tls.caFile, 'utf8');
  await withEnvironment({ VAULT_CACERT: tls.caFile }, async () => {
    const error = await thrown(() => plainTo(tls.address, { rpDefaults: { ca } }).read('sys/seal-status'));
    assert.match(String(error), /self-signed certificate|unable to/);
  });
  const body = await ours(tls.address, { ca }).client.read('sys/seal-status', { token: undefined });
  assert.is(body['sealed'], false);
});

withVault('node-vault fault 10: VAULT_SKIP_VERIFY=false switches verification off', async () => {
  for (const setting of ['false', '0', 'true']) {
    await withEnvironment({ VAULT_SKIP_VERIFY: setting }, async () => {
      const body = (await plainTo(tls.address).read('sys/seal-status')) as { sealed: boolean };
      assert.is(body.sealed, false, 'an unknown certificate is trusted');
      const error = await failure(() =>
        ours(tls.address).client.read('sys/seal-status', { token: undefined }),
      );
      assert.is(error.code, 'HKA_VAULT_TLS');
    });
  }
});

withVault('node-vault fault 11: a CA switches keep-alive off', async () => {
  let connections = 0;
  const counter = createTcpServer((socket) => {
    connections += 1;
    const onward = connect(tls.port, '127.0.0.1');
    socket.pipe(onward).pipe(socket);
    for (const end of [socket, onward]) end.on('error', () => undefined);
  });
  await new Promise<void>((done) => counter.listen(0, '127.0.0.1', done));
  closers.push(() => counter.close());
  const address = `https://127.0.0.1:${(counter.address() as AddressInfo).port}`;
  const ca = readFileSync(tls.caFile, 'utf8');
  const plain = plainTo(address, { requestOptions: { ca } });
  for (let round = 0; round < 5; round += 1) await plain.read('sys/seal-status');
  assert.is(connections, 5);
  connections = 0;
  const { client } = ours(address, { ca });
  for (let round = 0; round < 5; round += 1) await client.read('sys/seal-status', { token: undefined });
  assert.is(connections, 1);
});

test('node-vault fault 12: a body that drips outlives the timeout', async () => {
  server.set({ kind: 'drip' });
  let over = false;
  const plain = plainTo(server.address, { token: 't', requestOptions: { timeout: 50 } })
    .read('secret/x')
    .catch(() => undefined)
    .finally(() => (over = true));
  // Ours began later and waits longer, and is over first.
  const error = await failure(() => ours(server.address, { timeoutMs: 200 }).client.read('secret/x', get));
  assert.is(error.code, 'HKA_VAULT_TIMEOUT');
  assert.not(over);
  await server.down();
  await plain;
  await server.up();
});

test('node-vault fault 13: nothing is repeated, not even a read over a connection that was closed idle', async () => {
  const used = new Set<unknown>();
  const forgetful = createServer((request, response) => {
    if (used.has(request.socket)) request.socket.resetAndDestroy();
    else response.end('{"data":{}}');
    used.add(request.socket);
  });
  await new Promise<void>((done) => forgetful.listen(0, '127.0.0.1', done));
  closers.push(() => {
    forgetful.closeAllConnections();
    forgetful.close();
  });
  const address = `http://127.0.0.1:${(forgetful.address() as AddressInfo).port}`;
  const plain = plainTo(address, { token: 't' });
  await plain.read('secret/x');
  assert.match(String(await thrown(() => plain.read('secret/x'))), /ECONNRESET|socket hang up/);
  const { client } = ours(address);
  for (let round = 0; round < 3; round += 1) await client.read('secret/x', get);
});

test('node-vault fault 14: Retry-After is lost, and of several errors all but the first', async () => {
  answer(429, '{"errors":["first","rate limit quota exceeded"]}', { 'retry-after': '7' });
  const error = await thrown(() => plainTo(server.address, { token: 't' }).read('secret/x'));
  assert.is((error as Error).message, 'first');
  assert.not.match(inspect(error, { depth: 20 }), /retry-after/i);
  const mine = await failure(() => ours().client.read('secret/x', get));
  assert.is(mine.details['retryAfterMs'], 7000);
  assert.match(mine.message, /rate limit quota exceeded/);
});

test('node-vault fault 15: what is not JSON is a success, and so is a 502 for a path with sys/health in it', async () => {
  const plain = plainTo(server.address, { token: 't' });
  answer(200, '{"data":');
  assert.is(await plain.read('secret/x'), '{"data":');
  assert.is((await failure(() => ours().client.read('secret/x', get))).code, 'HKA_VAULT_MALFORMED');
  answer(502, '<html>');
  assert.is(await plain.read('secret/data/sys/health'), '<html>');
  const error = await failure(() => ours().client.read('secret/data/sys/health', get));
  assert.is(error.code, 'HKA_VAULT_UNAVAILABLE');
});

test('node-vault fault 16: a large number becomes another one', async () => {
  answer(200, '{"data":{"number":9007199254740993,"text":"9007199254740993"}}');
  const plain = (await plainTo(server.address, { token: 't' }).read('secret/x')) as {
    data: { number: number };
  };
  assert.is(String(plain.data.number), '9007199254740992');
  const auth = { method: 'token', tokenFile: privateFile('t') } as const;
  const config = vaultConfig(server.address, auth, { mounts: [{ path: 'secret', kvVersion: 1 }] });
  const vault = createVault(config, { logger: keepLog() });
  closers.push(() => vault.close());
  server.set({
    kind: 'answer',
    status: 200,
    body: '{"data":{"ttl":0,"number":9007199254740993,"text":"9007199254740993"}}',
  });
  await vault.start();
  const text = await vault.field(parseReference('vault://secret/x#text'));
  assert.is(text.reveal(), '9007199254740993');
  const error = await failure(() => vault.field(parseReference('vault://secret/x#number')));
  assert.is(error.code, 'HKA_VAULT_MALFORMED');
  assert.match(error.message, /only strings can be used/);
});

test("node-vault fault 17: Vault's default token life overflows a timer, and floods Vault with renewals", async () => {
  const ttl = 768 * 3600;
  // A server of its own: plain node-vault does not stop when told to, if a renewal is under way, but at the first error.
  const flooded = await startFaultProxy('http://127.0.0.1:9');
  closers.push(() => flooded.close());
  flooded.set({
    kind: 'answer',
    status: 200,
    body: JSON.stringify({ auth: { client_token: 'token', lease_duration: ttl, renewable: true } }),
  });
  const plain = plainTo(flooded.address, { token: 't' });
  const { client } = ours(flooded.address);
  const session = new VaultSession({
    client,
    method: createLoginMethod({
      method: 'approle',
      mount: 'approle',
      roleId: 'r',
      secretIdFile: privateFile('s'),
    }),
    logger: keepLog(),
    clock: monotonicClock,
    timers: systemTimers,
    random: () => 0.999,
  });
  session.start();
  await session.ready();
  const before = flooded.count('renew-self');
  await plain.startTokenRenewal({ ttl });
  await eventually(
    'plain node-vault has renewed ten times',
    () => flooded.count('renew-self') - before >= 10,
  );
  plain.stopTokenRenewal();
  const ownRenewals = flooded.requests.filter(
    ({ path, headers }) =>
      path.endsWith('renew-self') &&
      headers['x-vault-token'] === 'token' &&
      headers['x-vault-request'] === 'true',
  );
  assert.is(ownRenewals.length, 0);
  await session.close();
});

test('node-vault fault 18: making a token for somebody else replaces the own one', async () => {
  answer(200, '{"auth":{"client_token":"somebody-elses"}}');
  const plain = plainTo(server.address, { token: 'mine' });
  await plain.tokenCreate({});
  assert.is(plain.token, 'somebody-elses');
  const { client } = ours();
  const mine = await seen(async () => {
    await client.write('auth/token/create', {}, { token: new Secret('mine') });
    await client.read('secret/x', { token: undefined });
    await client.read('secret/x', { token: new Secret('mine') });
  });
  assert.equal(
    mine.map(({ headers }) => headers['x-vault-token']),
    ['mine', undefined, 'mine'],
  );
});

test('node-vault fault 19: fields that a command does not know are dropped in silence', async () => {
  const role = { token_policies: 'gateway', token_period: 60 };
  const plain = await seen(() =>
    plainTo(server.address, { token: 't' }).addApproleRole({ role_name: 'r', policies: 'p', ...role }),
  );
  assert.equal(JSON.parse(plain[0]?.body ?? ''), { policies: 'p' });
  const mine = await seen(() => ours().client.write('auth/approle/role/r', role, get));
  assert.equal(JSON.parse(mine[0]?.body ?? ''), role);
});

/** Logs in by `auth` at the recording server, which has no certificate to show. */
async function loginsOf(auth: AuthConfig): Promise<FaultProxy['requests']> {
  answer(200, '{"auth":{"client_token":"t","lease_duration":3600,"renewable":true}}');
  return await seen(() => createLoginMethod(auth).login(ours().client));
}

test('node-vault fault 20: a log-in of Kubernetes without a mount goes to a path that is none', async () => {
  const jwt = createJwtIssuer().issue({ sub: 'system:serviceaccount:a:b' });
  answer(200, '{"auth":{"client_token":"t","lease_duration":3600}}');
  const plain = await seen(() => plainTo(server.address).kubernetesLogin({ role: 'r', jwt }));
  assert.is(plain[0]?.path, '/v1/auth//login');
  const mine = await loginsOf({
    method: 'kubernetes',
    mount: 'kubernetes',
    role: 'r',
    jwtFile: privateFile(jwt),
  });
  assert.is(mine[0]?.path, '/v1/auth/kubernetes/login');
});

test('node-vault fault 21: a log-in by certificate cannot name a role', async () => {
  const error = await thrown(() => plainTo(server.address).certLogin({ name: 'gateway' }));
  assert.instance(error, TypeError);
  // What CertLogin sends; test/vault/auth.test.ts logs in so at a real Vault.
  const mine = await seen(() =>
    ours().client.write('auth/cert/login', { name: 'gateway' }, { token: undefined }),
  );
  assert.equal(JSON.parse(mine[0]?.body ?? ''), { name: 'gateway' });
});

test('node-vault fault 22: a call cannot have a namespace of its own', async () => {
  const plain = await seen(() =>
    plainTo(server.address, { token: 't', namespace: 'team' }).read('secret/x', {
      headers: { 'X-Vault-Namespace': 'other' },
    }),
  );
  assert.is(plain[0]?.headers['x-vault-namespace'], 'team');
  const [team, other] = [
    ours(server.address, { namespace: 'team' }),
    ours(server.address, { namespace: 'other' }),
  ];
  const mine = await seen(async () => {
    await team.client.read('secret/x', get);
    await other.client.read('secret/x', get);
  });
  assert.equal(
    mine.map(({ headers }) => headers['x-vault-namespace']),
    ['team', 'other'],
  );
});

test('node-vault faults 22 and 23: of node-vault only read, write and delete are used, in one file', () => {
  const folder = join(ROOT, 'src');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  );
  const using = files.filter((name) => /['"]node-vault['"]/.test(readFileSync(join(folder, name), 'utf8')));
  assert.equal(using, [join('vault', 'client.ts')]);
  const source = readFileSync(join(folder, 'vault', 'client.ts'), 'utf8');
  const calls = [...source.matchAll(/this\.#client\.(\w+)\(/g)].map(([, name]) => name);
  assert.equal(new Set(calls), new Set(['read', 'write', 'delete']));
  // And none of its commands is there to be called.
  assert.match(source, /commands: \{\}/);
});

test.run();
