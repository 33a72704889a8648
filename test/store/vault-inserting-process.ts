/** Inserts batches of three for as long as it lives, and prints the tag of each that was acknowledged. */
import { randomUUID } from 'node:crypto';
import { silentLogger } from '../../src/lib/logger.ts';
import { openVaultStore } from '../../src/store/vault/vault-store.ts';
import { createVault } from '../../src/vault/vault.ts';
import { vaultConfig } from '../vault/support.ts';
import { issuedRecord } from './conformance.ts';
import { MOUNT } from './vault-fixture.ts';

const [address = '', tokenFile = '', path = ''] = process.argv.slice(2);
const vault = createVault(vaultConfig(address, { method: 'token', tokenFile }), { logger: silentLogger });
await vault.start();
const store = openVaultStore({
  records: () => vault.records({ mount: MOUNT, path }),
  pollMs: 50,
  maxStaleMs: 60_000,
  logger: silentLogger,
  checkHash: () => undefined,
});
await store.open();
for (;;) {
  const tag = randomUUID();
  await store.insert([1, 2, 3].map(() => issuedRecord({ tags: [tag] })));
  process.stdout.write(`${tag}\n`);
}
