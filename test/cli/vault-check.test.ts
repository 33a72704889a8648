/** `config check` with several connections to a real Vault: it logs in on each and names each. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { install, type Installation } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { makeRole, makeToken } from '../vault/support.ts';

const test = suite('config check of connections to Vault');
const withVault = test.needing(vaultAbsence());

let vault: VaultServer;
let installation: Installation;

test.before(async () => {
  if (vaultAbsence() !== undefined) return;
  [vault, installation] = await Promise.all([startVault(), install()]);
});

test.after(async () => {
  await installation?.dispose();
  await vault?.stop();
});

function put(name: string, text: string): void {
  writeFileSync(join(installation.folder, name), text, { mode: 0o600 });
}

withVault(
  'each connection is logged in to and named, a wrapped secret id is left for the server',
  async () => {
    const role = await makeRole(vault);
    put('secret-id', role.secretId);
    put('token', await makeToken(vault));
    const wrapped = await fetch(`${vault.address}/v1/auth/approle/role/${role.name}/secret-id`, {
      method: 'POST',
      headers: { 'x-vault-token': vault.rootToken, 'x-vault-wrap-ttl': '5m' },
    });
    const { wrap_info: wrap } = (await wrapped.json()) as { wrap_info: { token: string } };
    put('wrapped', wrap.token);
    put('none', 'hvs.not-a-token');
    const approle = `method: approle, role_id: ${role.roleId}`;
    installation.configure([
      'vault:',
      `  address: ${vault.address}`,
      `  auth: { ${approle}, secret_id_file: secret-id }`,
      '  connections:',
      '    - { name: by-token, auth: { method: token, token_file: token } }',
      `    - { name: by-wrapped, auth: { ${approle}, secret_id_file: wrapped, secret_id_wrapped: true, role: ${role.name} } }`,
      '    - { name: broken, auth: { method: token, token_file: none } }',
    ]);
    for (let round = 0; round < 2; round += 1) {
      const { status, stdout } = await installation.run(['config', 'check']);
      assert.is(status, 4, 'one is broken');
      assert.match(stdout, /^ok {3}vault: http:\S+: logged in \(approle\), with a token good for \d+ s$/m);
      assert.match(stdout, /^ok {3}vault by-token: http:\S+: logged in \(token\)/m);
      assert.match(stdout, /^ok {3}vault by-wrapped: http:\S+: the wrapping token in \S+ is unused/m);
      assert.match(stdout, /^FAIL vault broken: Vault refused the token in the Vault token file/m);
      assert.match(stdout, /^ok {3}store/m);
      for (const secret of [role.secretId, wrap.token]) assert.not.ok(stdout.includes(secret));
    }
    assert.is((await vault.call(wrap.token, 'POST', 'sys/wrapping/unwrap')).status, 200);
  },
);

test.run();
