/** Peppers from where the configuration says: files that nobody else may read, or Vault. */
import { readPrivateFile } from '../lib/atomic-file.ts';
import { Secret } from '../lib/secret.ts';
import { parsePepper, PepperRing, type PepperVersion } from '../keys/pepper.ts';
import { parseReference, type ReferencePattern } from '../vault/reference.ts';
import type { Vault } from '../vault/vault.ts';
import type { Config } from './config.ts';

/** Whether every version comes from a file, so that no Vault is needed. */
export function peppersNeedVault(config: Config): boolean {
  return config.pepper.versions.some(({ reference }) => reference !== undefined);
}

/** Throws HKA_PEPPER_UNREADABLE, or what Vault throws. */
export async function loadPeppers(config: Config, vault: Vault | undefined): Promise<PepperRing> {
  const versions = await Promise.all(
    config.pepper.versions.map(async ({ id, file, reference }): Promise<PepperVersion> => {
      if (file !== undefined) {
        return parsePepper(
          id,
          new Secret(readPrivateFile(file, 'the pepper file', 'HKA_PEPPER_UNREADABLE')),
          file,
        );
      }
      if (reference === undefined || vault === undefined) throw new Error('checked with the configuration');
      return parsePepper(id, await vault.field(parseReference(reference)), reference);
    }),
  );
  return new PepperRing(versions, config.pepper.current);
}

/** Whether `pattern` leads to where no pepper is kept, whatever the consumer: to another path, whatever connection and field. */
export function isApartFromPeppers(config: Config, pattern: ReferencePattern): boolean {
  return config.pepper.versions.every(
    ({ reference }) => reference === undefined || pattern.isApartFrom(parseReference(reference).segments),
  );
}
