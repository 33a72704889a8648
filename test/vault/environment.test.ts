import { spawn } from 'node:child_process';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { VaultConfig } from '../../src/vault/vault.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { canary, makeRole, putSecret, vaultConfig, type Role } from './support.ts';

const test = suite('what the environment has no say in');
const withVault = test.needing(vaultAbsence());

let plain: VaultServer;
let tls: VaultServer;
let proxy: FaultProxy;
/** Whatever reaches this has gone astray. */
let honeypot: FaultProxy;
let role: Role;
const value = canary('value');

test.before(async () => {
  if (vaultAbsence() !== undefined) return;
  [plain, tls] = await Promise.all([startVault(), startVault({ tls: true })]);
  proxy = await startFaultProxy(plain.address);
  honeypot = await startFaultProxy('http://127.0.0.1:9');
  honeypot.set({ kind: 'answer', status: 200, body: '{}' });
  role = await makeRole(plain);
  await putSecret(plain, 'app/env', { token: value });
});

test.after(async () => {
  await proxy?.close();
  await honeypot?.close();
  await plain?.stop();
  await tls?.stop();
});

/** Runs test/vault/read-once.ts with these variables and nothing else. */
function readOnce(
  config: VaultConfig,
  environment: Record<string, string>,
): Promise<{ stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'read-once.js')], {
      env: {
        PATH: process.env['PATH'] ?? '',
        HKA_TEST_VAULT: JSON.stringify(config),
        HKA_TEST_REFERENCE: 'vault://secret/app/env#token',
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
    child.on('error', reject);
    child.on('close', () => resolve(output));
  });
}

function proxies(): Record<string, string> {
  const { address } = honeypot;
  return Object.fromEntries(
    ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'].flatMap((name) => [
      [name, address],
      [name.toLowerCase(), address],
    ]),
  );
}

withVault(
  'VAULT_TOKEN, _ADDR, _NAMESPACE, _PREFIX and the proxies change nothing of what is sent, and where to',
  async () => {
    const before = proxy.requests.length;
    const { stdout } = await readOnce(vaultConfig(proxy.address, role.auth), {
      VAULT_TOKEN: canary('environment-token'),
      VAULT_ADDR: honeypot.address,
      VAULT_NAMESPACE: 'astray',
      VAULT_PREFIX: '/astray',
      NODE_USE_ENV_PROXY: '1',
      ...proxies(),
    });
    assert.is(stdout, `value ${value}\n`);
    assert.is(honeypot.connections(), 0);
    const seen = proxy.requests.slice(before);
    assert.not.match(JSON.stringify(seen), /environment-token|astray/);
    assert.is(seen[0]?.path, '/v1/auth/approle/login');
    assert.is(seen[0]?.headers['x-vault-token'], undefined);
  },
);

withVault('DEBUG shows no token, secret id or secret', async () => {
  const { stdout, stderr } = await readOnce(vaultConfig(proxy.address, role.auth), { DEBUG: '*' });
  assert.is(stdout, `value ${value}\n`);
  assert.match(stderr, /logged in to Vault/);
  assert.not.ok(stderr.includes(role.secretId) || /canary|hvs\./.test(stderr), stderr);
});

for (const [name, setting] of [
  ['VAULT_SKIP_VERIFY', 'true'],
  ['VAULT_SKIP_VERIFY', 'false'],
  ['VAULT_SKIP_VERIFY', '0'],
  ['NODE_TLS_REJECT_UNAUTHORIZED', '0'],
] as const) {
  withVault(`${name}=${setting} does not switch verification off`, async () => {
    const { stdout } = await readOnce(vaultConfig(tls.address, role.auth), { [name]: setting });
    assert.is(stdout, 'error HKA_VAULT_TLS\n');
  });
}

withVault('VAULT_CACERT does not add a CA', async () => {
  const { stdout } = await readOnce(vaultConfig(tls.address, role.auth), { VAULT_CACERT: tls.caFile });
  assert.is(stdout, 'error HKA_VAULT_TLS\n');
});

withVault('a program that has read its secret and closed ends by itself', async () => {
  // readOnce resolves when the process has ended; nothing in it calls exit.
  const { stdout } = await readOnce(vaultConfig(proxy.address, role.auth), {});
  assert.is(stdout, `value ${value}\n`);
});

test.run();
