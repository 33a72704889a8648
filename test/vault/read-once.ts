/**
 * Reads one secret and prints it, as a program of its own: for tests of what environment variables do. Its environment
 * says where: HKA_TEST_VAULT is a JSON VaultConfig, HKA_TEST_REFERENCE a reference.
 */
import { createLogger } from '../../src/lib/logger.ts';
import { toHkaError } from '../../src/lib/errors.ts';
import { parseReference } from '../../src/vault/reference.ts';
import { createVault, type VaultConfig } from '../../src/vault/vault.ts';

const config = JSON.parse(process.env['HKA_TEST_VAULT'] ?? '{}') as VaultConfig;
const vault = createVault(config, { logger: createLogger('debug') });
try {
  await vault.start();
  const value = await vault.field(parseReference(process.env['HKA_TEST_REFERENCE'] ?? ''));
  process.stdout.write(`value ${value.reveal()}\n`);
} catch (error) {
  process.stdout.write(`error ${toHkaError(error).code}\n`);
} finally {
  await vault.close();
}
