import { readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import * as assert from 'uvu/assert';
import { Secret } from '../../src/lib/secret.ts';
import { parseReference } from '../../src/vault/reference.ts';
import { createVault, parseAddress, type Vault, type VaultConfig } from '../../src/vault/vault.ts';
import { startFaultProxy } from '../helpers/fault-proxy.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { clientFor, failure, keepLog, makeToken, privateFile, putSecret, vaultConfig } from './support.ts';

const test = suite('TLS to Vault (R7)');
const withVault = test.needing(vaultAbsence());

/** In the certificate beside localhost and 127.0.0.1. */
const NAME = 'localhost.localdomain';
const reference = parseReference('vault://secret/app/tls#token');

let server: VaultServer;
let tokenFile: string;
const opened: Vault[] = [];

test.before(async () => {
  if (vaultAbsence() !== undefined) return;
  server = await startVault({ tls: true });
  await putSecret(server, 'app/tls', { token: 'over TLS' });
  tokenFile = privateFile(await makeToken(server));
});

test.afterEach(async () => {
  for (const vault of opened.splice(0)) await vault.close();
});

test.after(() => server?.stop());

async function read(overrides: Partial<VaultConfig>): Promise<string> {
  const { secrets: _unused, ...rest } = overrides;
  const config = vaultConfig(server.address, { method: 'token', tokenFile }, rest);
  const vault = createVault(config, { logger: keepLog() });
  opened.push(vault);
  await vault.start();
  return (await vault.field(reference)).reveal();
}

withVault('with the CA that signed its certificate, Vault is trusted', async () => {
  assert.is(await read({ caFile: server.caFile }), 'over TLS');
});

withVault('one CA of several in the file is enough', async () => {
  const caFile = privateFile(`# ours\n${rootCertificates[0]}\n\n${readFileSync(server.caFile, 'utf8')}`);
  assert.is(await read({ caFile }), 'over TLS');
});

withVault('without the CA, or with another, it is not', async () => {
  const error = await failure(() => read({}));
  assert.is(error.code, 'HKA_VAULT_TLS');
  const other = await failure(() => read({ caFile: privateFile(rootCertificates[0] ?? '') }));
  assert.is(other.code, 'HKA_VAULT_TLS');
  assert.match(other.message, /certificate or TLS of https:\/\/127\.0\.0\.1:\d+ was refused: \w+/);
});

withVault('the name in the certificate is checked: the configured one, or the address', async () => {
  assert.is(await read({ caFile: server.caFile, serverName: NAME }), 'over TLS');
  const error = await failure(() => read({ caFile: server.caFile, serverName: 'other.internal' }));
  assert.is(error.code, 'HKA_VAULT_TLS');
  assert.match(error.message, /ERR_TLS_CERT_ALTNAME_INVALID/);
});

withVault('https to a port that speaks plain HTTP is a TLS fault', async () => {
  const plain = await startFaultProxy('http://127.0.0.1:9');
  const error = await failure(() => read({ address: plain.address.replace('http:', 'https:') }));
  assert.is(error.code, 'HKA_VAULT_TLS');
  await plain.close();
});

withVault('plain HTTP to the TLS port gets no answer of Vault', async () => {
  const error = await failure(() => read({ address: server.address.replace('https:', 'http:') }));
  assert.is(error.code, 'HKA_VAULT_LOGIN');
  assert.match(error.message, /answered 400/);
});

withVault('a CA does not switch keep-alive off: fifty reads use one connection', async () => {
  let connections = 0;
  const counter = createServer((socket) => {
    connections += 1;
    const onward = connect(server.port, '127.0.0.1');
    socket.pipe(onward).pipe(socket);
    for (const end of [socket, onward]) end.on('error', () => undefined);
  });
  await new Promise<void>((done) => counter.listen(0, '127.0.0.1', done));
  const { client, transport } = clientFor(`https://127.0.0.1:${(counter.address() as AddressInfo).port}`, {
    ca: readFileSync(server.caFile, 'utf8'),
  });
  const token = new Secret(readFileSync(tokenFile, 'utf8'));
  for (let round = 0; round < 50; round += 1) await client.read('secret/data/app/tls', { token });
  assert.is(connections, 1);
  transport.close();
  counter.close();
});

test('a CA file that is missing, or has something else in it, stops the start', async () => {
  const cases: [file: string, message: RegExp][] = [
    [join(tmpdir(), 'hka-no-such-ca.pem'), /can't be read: ENOENT/],
    [privateFile(''), /has no certificate in it/],
    [
      privateFile('-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'),
      /has no certificate in it/,
    ],
    [
      privateFile(`${rootCertificates[0]}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`),
      /a block that is no certificate, number 2/,
    ],
  ];
  for (const [caFile, message] of cases) {
    const config = vaultConfig(
      'https://127.0.0.1:8200',
      { method: 'token', tokenFile: privateFile('t') },
      { caFile },
    );
    const error = await failure(() => createVault(config, { logger: keepLog() }).start());
    assert.is(error.code, 'HKA_CONFIG_INVALID');
    assert.match(error.message, message);
  }
});

for (const [address, message] of [
  ['vault:8200', /neither https/],
  ['', /not a URL/],
  ['ftp://vault', /neither https/],
  ['http://vault.internal:8200', /readable over the network/],
  ['http://127.0.0.1.example.org:8200', /readable over the network/],
  ['http://10.0.0.1:8200', /readable over the network/],
  ['https://user:pass@vault:8200', /user name or password/],
  ['https://vault:8200/v1', /path, query or fragment/],
  ['https://vault:8200/?x', /path, query or fragment/],
] as const) {
  test(`the address ${address === '' ? '(empty)' : address} is refused`, async () => {
    const error = await failure(() => parseAddress(address, false));
    assert.is(error.code, 'HKA_CONFIG_INVALID');
    assert.match(error.message, message);
    assert.not.match(error.message, /pass@/);
  });
}

test('plain http is taken for this machine, and elsewhere when it is asked for outright', () => {
  for (const host of ['localhost', '127.0.0.1', '127.1.2.3', '[::1]']) {
    assert.is(parseAddress(`http://${host}:8200`, false).protocol, 'http:');
  }
  assert.is(parseAddress('http://vault.internal:8200/', true).host, 'vault.internal:8200');
});

test.run();
