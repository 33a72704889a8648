/** SIGHUP throws away nothing that is needed, and forwards nothing that has become the server's own. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { generatePepperText } from '../../src/keys/pepper.ts';
import { eventually } from '../helpers/eventually.ts';
import { outcomeOf } from '../helpers/gateway-outcome.ts';
import { headersReply, PluginSocket, stringReply } from '../helpers/plugin-socket.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { makeRole } from '../vault/support.ts';

const test = suite('a configuration that is read again, with Vault');
const withVault = test.needing(vaultAbsence());
let vault: VaultServer | undefined;
let installation: Installation | undefined;
test.afterEach(async () => {
  await installation?.dispose();
  await vault?.stop();
  vault = undefined;
  installation = undefined;
});

withVault('SIGHUP while Vault is away does not throw away a pepper that is known', async () => {
  vault = await startVault();
  installation = await install();
  const { folder, config } = installation;
  const { key } = await installation.issue('alice');
  const { key: second } = await installation.issue('alice');
  const pepper = readFileSync(join(folder, 'pepper'), 'utf8').trim();
  await vault.root('POST', 'secret/data/hka/pepper', { data: { current: '1', '1': pepper } });
  const role = await makeRole(
    vault,
    {},
    'path "secret/data/hka/*" { capabilities = ["read"] }\npath "sys/internal/ui/mounts/*" { capabilities = ["read"] }',
  );
  const lines = readFileSync(config, 'utf8').replace(
    /^pepper:\n(?:\s.*\n|\n)*/m,
    'pepper:\n  source:\n    mount: secret\n    path: hka/pepper\n',
  );
  writeFileSync(
    config,
    [
      lines,
      'vault:',
      `  address: ${vault.address}`,
      '  timeout_ms: 1000',
      '  auth:',
      '    method: approle',
      `    role_id: ${role.roleId}`,
      `    secret_id_file: ${role.auth.secretIdFile}`,
      '',
    ].join('\n'),
  );
  const served = await installation.serve();
  const { socket } = installation;
  await eventually('the key is good', async () => (await outcomeOf(socket, key)) === 'admitted');
  await vault.seal();
  assert.is(await outcomeOf(socket, second), 'admitted', 'Vault is not needed: the pepper is in memory');
  served.child.kill('SIGHUP');
  await eventually('it was read again', () =>
    /configuration read again|former one stays/.test(served.output()),
  );
  const outcome = await outcomeOf(socket, key);
  await vault.unseal();
  assert.is(outcome, 'admitted', served.output());
});

withVault('what has become a pepper since an instance was started is not forwarded by it', async () => {
  vault = await startVault();
  installation = await install();
  const { config } = installation;
  const { key } = await installation.issue('alice');
  const next = generatePepperText().reveal();
  await vault.root('POST', 'secret/data/hka/pepper-2', { data: { value: next } });
  const role = await makeRole(
    vault,
    {},
    'path "secret/data/hka/*" { capabilities = ["read"] }\npath "sys/internal/ui/mounts/*" { capabilities = ["read"] }',
  );
  installation.configure([
    'vault:',
    `  address: ${vault.address}`,
    '  auth:',
    '    method: approle',
    `    role_id: ${role.roleId}`,
    `    secret_id_file: ${role.auth.secretIdFile}`,
  ]);
  const served = await installation.serve();
  const kong = await PluginSocket.open(installation.socket);
  // Somebody who may write Kong's configuration, and can guess what the next pepper will be called.
  const plugin = {
    upstream_secrets: [
      { header: 'x-mine', reference: 'vault://secret/hka/pepper-2#value', template: '{value}' },
    ],
  };
  const instance = await kong.start('hashed-key-auth', plugin);
  assert.ok(instance !== undefined, 'it is a secret like any other so far');
  const consumer = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';
  const request = (): Promise<unknown> =>
    kong.event(instance, {
      'kong.request.get_headers': () => headersReply({ apikey: key }),
      'kong.request.get_raw_query': () => stringReply(''),
      'kong.client.get_forwarded_ip': () => stringReply('192.0.2.1'),
      'kong.client.load_consumer': () => ({ type: 'Consumer', message: { id: consumer, username: 'alice' } }),
      'kong.nginx.get_var': () => stringReply('0'.repeat(32)),
    });
  const forwarded = (): boolean => Buffer.concat(kong.traffic.splice(0)).includes(next);
  await request();
  assert.ok(forwarded(), served.output());
  const before = readFileSync(config, 'utf8');
  writeFileSync(
    config,
    before
      .replace(/^(\s+)current: .*$/m, '$1current: "2"')
      .replace(
        /^(\s+)- id: .*\n.*file: .*$/m,
        '$&\n$1- id: "2"\n$1  reference: vault://secret/hka/pepper-2#value',
      ),
  );
  served.child.kill('SIGHUP');
  await eventually('it was read again', () => served.output().includes('configuration read again'));
  const other = await PluginSocket.open(installation.socket);
  assert.is(await other.start('hashed-key-auth', plugin), undefined, 'a new instance is refused');
  other.close();
  await request();
  const sent = forwarded();
  kong.close();
  assert.not.ok(sent, 'the pepper went to the upstream');
});

test.run();
