import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { storeConformance } from './conformance.ts';
import { openVaultFixture } from './vault-fixture.ts';

let server: Promise<VaultServer> | undefined;

storeConformance('the Vault store', async () => openVaultFixture(await (server ??= startVault())), {
  absence: vaultAbsence(),
  after: async () => (await server)?.stop(),
});
