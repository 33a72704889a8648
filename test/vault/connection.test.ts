/** Namespaces, mutual TLS, proxy, and the time that connecting may take. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, type Server } from 'node:http';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import * as assert from 'uvu/assert';
import type { AuthConfig } from '../../src/vault/auth.ts';
import { ClientCertificate } from '../../src/vault/client-certificate.ts';
import { connectionsOf } from '../../src/vault/connections.ts';
import { parseReference } from '../../src/vault/reference.ts';
import { VaultTransport } from '../../src/vault/transport.ts';
import { createVault, parseProxy, type Vault, type VaultConfig } from '../../src/vault/vault.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { suite } from '../helpers/suite.ts';
import {
  ignoredNamespacesAbsence,
  startVault,
  vaultAbsence,
  type VaultServer,
} from '../helpers/vault-server.ts';
import { createAuthority, type CertificateAuthority } from './credentials.ts';
import {
  canary,
  everyView,
  failure,
  keepLog,
  makeRole,
  makeToken,
  ManualTime,
  privateFile,
  putSecret,
  vaultConfig,
  type Role,
} from './support.ts';

const test = suite('connections to Vault (R7)');
const withVault = test.needing(vaultAbsence());

const reference = parseReference('vault://secret/app/connection#token');

let plain: VaultServer;
let tls: VaultServer;
let recorder: FaultProxy;
let authority: CertificateAuthority;
let role: Role;
let tokenFile: string;

test.before(async () => {
  if (vaultAbsence() !== undefined) return;
  [plain, tls] = await Promise.all([startVault(), startVault({ tls: true })]);
  recorder = await startFaultProxy(plain.address);
  await putSecret(plain, 'app/connection', { token: 'in plain' });
  await putSecret(tls, 'app/connection', { token: 'over TLS' });
  authority = await createAuthority(plain, 'peers');
  role = await makeRole(plain, { token_ttl: '1h' });
  tokenFile = privateFile(await makeToken(tls));
});

const opened: Vault[] = [];
const servers: { close(): unknown }[] = [];
const sockets = new Set<Socket>();

test.afterEach(async () => {
  for (const vault of opened.splice(0)) await vault.close();
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

test.after(async () => {
  await recorder?.close();
  await plain?.stop();
  await tls?.stop();
});

async function read(config: VaultConfig): Promise<string> {
  const vault = createVault(config, { logger: keepLog() });
  opened.push(vault);
  await vault.start();
  await vault.ready();
  return (await vault.field(reference)).reveal();
}

async function portOf(server: Server | ReturnType<typeof createServer>): Promise<number> {
  servers.push(server);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return (server.address() as AddressInfo).port;
}

// Namespaces. Vault Community takes the header and ignores it, so what is sent is what can be seen; namespaces.test.ts has real ones.

const ignoringNamespaces = test.needing(ignoredNamespacesAbsence());

async function namespacesSent(
  namespace: string | undefined,
  loginNamespace: string | undefined,
): Promise<Record<string, unknown>> {
  const before = recorder.requests.length;
  const auth: AuthConfig = {
    ...role.auth,
    ...(loginNamespace === undefined ? {} : { namespace: loginNamespace }),
  };
  const time = new ManualTime();
  const config = vaultConfig(recorder.address, auth, namespace === undefined ? {} : { namespace });
  const vault = createVault(config, { logger: keepLog(), clock: time, timers: time });
  await vault.start();
  await vault.ready();
  await vault.field(reference);
  await vault.close();
  return Object.fromEntries(
    recorder.requests
      .slice(before)
      .map(({ path, headers }) => [path.split('/').slice(2, 4).join('/'), headers['x-vault-namespace']]),
  );
}

ignoringNamespaces('log-in and secrets may have namespaces of their own', async () => {
  assert.equal(await namespacesSent('team/apps', 'infra'), {
    'auth/approle': 'infra',
    'sys/internal': 'team/apps',
    'secret/data': 'team/apps',
    'auth/token': 'infra',
  });
});

ignoringNamespaces('one namespace counts for both, none for neither, and a log-in may leave it', async () => {
  const sent = (secrets: string | undefined, login: string | undefined): object => ({
    'auth/approle': login,
    'sys/internal': secrets,
    'secret/data': secrets,
    'auth/token': login,
  });
  assert.equal(await namespacesSent('team', undefined), sent('team', 'team'));
  assert.equal(await namespacesSent(undefined, undefined), sent(undefined, undefined));
  assert.equal(await namespacesSent('team', 'root'), sent('team', 'root'));
  assert.equal(await namespacesSent(undefined, 'infra'), sent(undefined, 'infra'));
});

// Mutual TLS

withVault(
  'a server that demands a client certificate gets it on every connection, renewed ones too',
  async () => {
    const [server, first, second, stranger] = await Promise.all(
      ['server', 'gateway-1', 'gateway-2', 'x'].map((name) => authority.issue(name)),
    );
    assert.ok(server !== undefined && first !== undefined && second !== undefined && stranger !== undefined);
    const seen: string[] = [];
    const mutual = createTlsServer(
      { cert: server.cert, key: server.key, ca: authority.ca, requestCert: true, rejectUnauthorized: true },
      (socket) => {
        const subject = socket.getPeerCertificate().subject as { CN?: string } | undefined;
        seen.push(subject?.CN ?? 'none');
        const onward = connect(plain.port, '127.0.0.1');
        socket.pipe(onward).pipe(socket);
        for (const end of [socket, onward]) end.on('error', () => undefined);
      },
    );
    const address = new URL(`https://127.0.0.1:${await portOf(mutual)}`);
    const [certFile, keyFile] = [privateFile(first.cert), privateFile(first.key)];
    const certificate = new ClientCertificate(certFile, keyFile);
    certificate.check();
    const transport = new VaultTransport({ address, timeoutMs: 5000, ca: authority.ca, certificate });
    const login = {
      method: 'POST',
      path: '/v1/auth/approle/login',
      headers: {},
      body: { role_id: role.roleId, secret_id: role.secretId },
    };
    assert.is((await transport.exchange(login)).status, 200);
    writeFileSync(certFile, second.cert);
    writeFileSync(keyFile, second.key);
    assert.is((await transport.exchange(login)).status, 200);
    assert.equal(seen, ['gateway-1', 'gateway-2']);
    transport.close();
    const bare = new VaultTransport({ address, timeoutMs: 5000, ca: authority.ca });
    const error = await failure(() => bare.exchange(login));
    assert.is(error.code, 'HKA_VAULT_TLS');
    assert.is(seen.length, 2);
    bare.close();
  },
);

// Proxy

interface Tunnel {
  readonly url: string;
  /** Targets of CONNECT. */
  readonly targets: string[];
  /** Every byte that came to the proxy, its own requests included. */
  bytes(): string;
}

type Answer = (socket: Socket, target: string) => void;

/** An HTTP proxy that keeps all that it could read. `answer` takes the place of its tunnel. */
async function startTunnel(answer?: Answer): Promise<Tunnel> {
  const targets: string[] = [];
  const chunks: Buffer[] = [];
  const server = createServer((socket) => {
    let head = '';
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    const onHead = (chunk: Buffer): void => {
      head += chunk.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      socket.off('data', onHead);
      const target = /^CONNECT (\S+) HTTP\/1\.1\r\n/.exec(head)?.[1] ?? '';
      targets.push(target);
      if (answer !== undefined) {
        answer(socket, target);
        return;
      }
      const [host = '', port = ''] = target.split(':');
      const onward = connect(Number(port), host, () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        socket.pipe(onward).pipe(socket);
      });
      onward.on('error', () => socket.destroy());
    };
    socket.on('data', onHead);
  });
  return {
    url: `http://127.0.0.1:${await portOf(server)}`,
    targets,
    bytes: () => Buffer.concat(chunks).toString('latin1'),
  };
}

withVault(
  'through a proxy Vault is reached by CONNECT, and the proxy can read neither token nor secret',
  async () => {
    const tunnel = await startTunnel();
    const config = vaultConfig(
      tls.address,
      { method: 'token', tokenFile },
      { caFile: tls.caFile, proxy: tunnel.url },
    );
    assert.is(await read(config), 'over TLS');
    const { host } = new URL(tls.address);
    assert.ok(tunnel.targets.length >= 1 && tunnel.targets.every((target) => target === host));
    const token = readFileSync(tokenFile, 'utf8');
    for (const word of [token, 'x-vault-token', 'over TLS', '/v1/']) {
      assert.not.ok(tunnel.bytes().toLowerCase().includes(word.toLowerCase()), word);
    }
  },
);

withVault('a proxy that puts itself in the place of Vault is found out by its certificate', async () => {
  const other = await authority.issue('somebody');
  const impostor = createTlsServer({ cert: other.cert, key: other.key });
  const port = await portOf(impostor);
  const tunnel = await startTunnel((socket) => {
    const onward = connect(port, '127.0.0.1');
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    socket.pipe(onward).pipe(socket);
    onward.on('error', () => undefined);
  });
  const config = vaultConfig(
    tls.address,
    { method: 'token', tokenFile },
    { caFile: tls.caFile, proxy: tunnel.url },
  );
  assert.is((await failure(() => read(config))).code, 'HKA_VAULT_TLS');
});

const VAULTS_404 = '{"errors":[]}';
const answers: readonly [what: string, answer: Answer, message: RegExp][] = [
  [
    'a 404 in the form of Vault',
    (socket) =>
      void socket.end(
        `HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: ${VAULTS_404.length}\r\n\r\n${VAULTS_404}`,
      ),
    /the proxy \S+ answered 404 to CONNECT/,
  ],
  [
    'a demand for credentials',
    (socket) => void socket.end('HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n'),
    /answered 407 to CONNECT/,
  ],
  [
    'words before TLS',
    (socket) => void socket.write(`HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}`),
    /sent something after its answer to CONNECT/,
  ],
  ['no HTTP at all', (socket) => void socket.end('SSH-2.0\r\n\r\n'), /can't be used: HPE_/],
  ['an end', (socket) => void socket.destroy(), /can't be used: ECONNRESET/],
];
for (const [what, answer, message] of answers) {
  test(`a proxy that answers CONNECT with ${what} is an outage, never an answer of Vault`, async () => {
    const tunnel = await startTunnel(answer);
    const transport = new VaultTransport({
      address: new URL('https://127.0.0.1:8200'),
      timeoutMs: 5000,
      proxy: parseProxy(tunnel.url),
    });
    const secret = canary('token');
    const error = await failure(() =>
      transport.exchange({
        method: 'GET',
        path: '/v1/secret/data/app',
        headers: { 'x-vault-token': secret },
      }),
    );
    assert.is(error.code, 'HKA_VAULT_UNAVAILABLE');
    assert.match(error.message, message);
    assert.not.ok(`${everyView(error)}${tunnel.bytes()}`.includes(secret));
    transport.close();
  });
}

test('a proxy is refused for http, and must be http:// with a host and nothing else', async () => {
  const auth = { method: 'token', tokenFile: privateFile('t') } as const;
  const cases: [address: string, proxy: string, message: RegExp][] = [
    ['http://127.0.0.1:8200', 'http://127.0.0.1:3128', /for https:\/\/ addresses only/],
    ['https://vault:8200', 'https://proxy:3128', /is not http:\/\//],
    ['https://vault:8200', 'socks5://proxy:1080', /neither https/],
    ['https://vault:8200', 'http://user:password@proxy:3128', /user name or password/],
    ['https://vault:8200', 'proxy', /not a URL/],
  ];
  for (const [address, proxy, message] of cases) {
    const vault = createVault(vaultConfig(address, auth, { proxy }), { logger: keepLog() });
    const error = await failure(() => vault.start());
    assert.is(error.code, 'HKA_CONFIG_INVALID');
    assert.match(error.message, message);
  }
});

// Time

test('connecting has a limit of its own: a TLS handshake and a proxy that never answer', async () => {
  const silent = createServer();
  const address = new URL(`https://127.0.0.1:${await portOf(silent)}`);
  const tunnel = await startTunnel(() => undefined);
  for (const proxy of [undefined, parseProxy(tunnel.url)]) {
    const transport = new VaultTransport({
      address,
      timeoutMs: 60_000,
      connectTimeoutMs: 100,
      ...(proxy === undefined ? {} : { proxy }),
    });
    const error = await failure(() => transport.exchange({ method: 'GET', path: '/v1/x', headers: {} }));
    assert.is(error.code, 'HKA_VAULT_TIMEOUT');
    assert.match(error.message, /no connection to https:\/\/127\.0\.0\.1:\d+.* within 100 ms/);
    transport.close();
  }
});

test('the limit of connecting does not count against an answer that takes longer', async () => {
  const server = createHttpServer((_request, response) => {
    setTimeout(() => response.end('{"data":{}}'), 150);
  });
  const address = new URL(`http://127.0.0.1:${await portOf(server)}`);
  const transport = new VaultTransport({ address, timeoutMs: 20_000, connectTimeoutMs: 100 });
  for (const method of ['GET', 'GET', 'POST']) {
    const reply = await transport.exchange({ method, path: '/v1/x', headers: {} });
    assert.is(reply.status, 200);
  }
  transport.close();
});

test('closing ends what is connecting', async () => {
  const silent = createServer();
  const address = new URL(`https://127.0.0.1:${await portOf(silent)}`);
  const transport = new VaultTransport({ address, timeoutMs: 60_000 });
  const call = failure(() => transport.exchange({ method: 'GET', path: '/v1/x', headers: {} }));
  await new Promise((done) => silent.once('connection', done));
  transport.close();
  assert.is((await call).code, 'HKA_VAULT_UNAVAILABLE');
});

// Names

withVault('each connection has its own rights, and a read under one sends no token of another', async () => {
  const second = await makeRole(plain);
  const own = vaultConfig(recorder.address, role.auth);
  const connections = connectionsOf({
    ...own,
    connections: [{ ...own, name: 'billing', auth: second.auth }],
  });
  assert.equal([...connections.keys()], ['default', 'billing']);
  const before = recorder.requests.length;
  for (const config of connections.values()) assert.is(await read(config), 'in plain');
  const seen = recorder.requests.slice(before);
  const logins = seen.filter(({ path }) => path.endsWith('/login')).map(({ body }) => body);
  assert.equal(
    logins.map((body) => (JSON.parse(body) as { role_id: string }).role_id),
    [role.roleId, second.roleId],
  );
  const reads = seen.filter(({ path }) => path.startsWith('/v1/secret/'));
  assert.is(new Set(reads.map(({ headers }) => headers['x-vault-token'])).size, 2);
});

test.run();
