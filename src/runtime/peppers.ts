/** Peppers from where the configuration says: files that nobody else may read, or Vault. */
import { readPrivateFile } from '../lib/atomic-file.ts';
import { HkaError } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';
import { parsePepper, PepperRing, type PepperVersion } from '../keys/pepper.ts';
import { transitPepper } from '../keys/transit-pepper.ts';
import { parseReference, type ReferencePattern } from '../vault/reference.ts';
import type { Vault } from '../vault/vault.ts';
import { loadConfig, type Config } from './config.ts';
import { PepperSecret } from './pepper-secret.ts';

/** False when every version comes from a file. */
export function peppersNeedVault({ pepper }: Config): boolean {
  return pepper.source !== undefined || pepper.versions.some(({ file }) => file === undefined);
}

/** Throws HKA_PEPPER_UNREADABLE, HKA_PEPPER_WEAK, or what Vault throws. */
export async function loadPeppers(config: Config, vault: Vault | undefined): Promise<PepperRing> {
  const { source, versions, current = '' } = config.pepper;
  if (source !== undefined) return PepperSecret.of(source, vaultFor(vault)).load();
  return new PepperRing(await Promise.all(versions.map((version) => loadVersion(version, vault))), current);
}

/** The same with the `pepper` section as it is in the file by now: a rotation writes it there. Throws HKA_CONFIG_INVALID. */
export function withCurrentPeppers(config: Config): Config {
  return { ...config, pepper: loadConfig(config.file, { withoutTokens: true }).pepper };
}

/**
 * Whether `pattern` leads to nothing that is the server's own, whatever the consumer: pepper, credentials, the store's
 * password. What counts is the path, whatever connection and field: two connections may lead to one Vault.
 */
export function isApartFromOwn(
  { pepper, store }: Config,
  pattern: Pick<ReferencePattern, 'isApartFrom' | 'isOutside'>,
): boolean {
  const { source, versions } = pepper;
  const { postgres, vault } = store;
  if (vault !== undefined && !pattern.isOutside([...vault.mount.split('/'), ...vault.path.split('/')])) {
    return false;
  }
  if (
    postgres?.passwordReference !== undefined &&
    !pattern.isApartFrom(parseReference(postgres.passwordReference).segments)
  ) {
    return false;
  }
  if (source !== undefined && !pattern.isApartFrom([...source.mount.split('/'), ...source.path.split('/')])) {
    return false;
  }
  return versions.every(
    ({ reference }) => reference === undefined || pattern.isApartFrom(parseReference(reference).segments),
  );
}

async function loadVersion(
  { id, file, reference, transit }: Config['pepper']['versions'][number],
  vault: Vault | undefined,
): Promise<PepperVersion> {
  if (file !== undefined) {
    const text = readPrivateFile(file, 'the pepper file', 'HKA_PEPPER_UNREADABLE');
    return parsePepper(id, new Secret(text), file);
  }
  if (transit !== undefined) {
    const key = vaultFor(vault).transit(transit);
    return transitPepper(id, (input) => key.hmac(input, transit.keyVersion));
  }
  if (reference === undefined) throw new HkaError('HKA_CONFIG_INVALID', 'checked with the configuration');
  return parsePepper(id, await vaultFor(vault).field(parseReference(reference)), reference);
}

function vaultFor(vault: Vault | undefined): Vault {
  if (vault !== undefined) return vault;
  throw new HkaError('HKA_CONFIG_INVALID', 'the pepper lies in Vault; add a vault section and restart');
}
