/**
 * Where mounts end and what they are. Vault tells (sys/internal/ui/mounts, which its own command line asks
 * too), to every token that may do something inside the mount; configuration can say it instead.
 */
import { HkaError } from '../lib/errors.ts';
import type { Secret } from '../lib/secret.ts';
import type { VaultClient } from './client.ts';
import { encodePath, type SecretReference } from './reference.ts';
import { isObject } from './transport.ts';

export interface MountConfig {
  /** Path of the mount, such as `secret` or `team/kv`. */
  readonly path: string;
  readonly kvVersion?: 1 | 2;
  /** An engine that makes credentials, and no key-value store. */
  readonly leased?: boolean;
}

export type MountKind = 'kv-1' | 'kv-2' | 'engine';

export interface Mount {
  readonly segments: readonly string[];
  readonly kind: MountKind;
  /** Whether it was remembered, and may have changed since. */
  readonly remembered: boolean;
}

/**
 * Engines whose reads give out credentials. Others are refused unless the configuration names their mount: what `transit`,
 * `identity` or `sys` answer is no secret for an upstream.
 */
const ENGINES: ReadonlySet<string> = new Set([
  'ad',
  'alicloud',
  'aws',
  'azure',
  'consul',
  'database',
  'gcp',
  'ldap',
  'mongodbatlas',
  'nomad',
  'openldap',
  'rabbitmq',
  'terraform',
]);

/** The mount that the configuration names for a path; undefined when Vault has to be asked. Throws HKA_CONFIG_INVALID. */
export function configuredMount(
  configured: readonly MountConfig[],
  reference: Pick<SecretReference, 'segments'>,
): Mount | undefined {
  return configured.map(mountOf).find(({ segments }) => isInside(reference, segments));
}

/** Mounts can't lie inside each other, so at most one is a prefix of a path. */
export class MountTable {
  readonly #client: VaultClient;
  readonly #configured: readonly Mount[];
  readonly #known = new Map<string, Mount>();

  constructor(client: VaultClient, configured: readonly MountConfig[]) {
    this.#client = client;
    this.#configured = configured.map(mountOf);
  }

  /** The mount that `reference` lies in: as configured, as remembered, or as Vault says. */
  async find(reference: SecretReference, token: Secret): Promise<Mount> {
    const known = [...this.#configured, ...this.#known.values()].find(({ segments }) =>
      isInside(reference, segments),
    );
    return known ?? (await this.#ask(reference, token));
  }

  /** Asks Vault about a mount that was remembered. Undefined when it is what it was. */
  async findChanged(reference: SecretReference, mount: Mount, token: Secret): Promise<Mount | undefined> {
    if (!mount.remembered) return undefined;
    this.#known.delete(mount.segments.join('/'));
    const now = await this.#ask(reference, token);
    const same = now.kind === mount.kind && now.segments.join('/') === mount.segments.join('/');
    return same ? undefined : now;
  }

  async #ask(reference: SecretReference, token: Secret): Promise<Mount> {
    const { data } = await this.#client.read(`sys/internal/ui/mounts/${encodePath(reference.segments)}`, {
      token,
    });
    const path = isObject(data) ? data['path'] : undefined;
    const type = isObject(data) ? data['type'] : undefined;
    if (!isObject(data) || typeof path !== 'string' || typeof type !== 'string') {
      throw new HkaError('HKA_VAULT_MALFORMED', `the answer about the mount says neither path nor type`);
    }
    const segments = path.replace(/\/$/, '').split('/');
    if (!isInside(reference, segments)) {
      throw new HkaError('HKA_VAULT_MALFORMED', 'the answer is about another mount than the one asked for');
    }
    const mount = { segments, kind: kindOf(type, data['options']) } as const;
    this.#known.set(segments.join('/'), { ...mount, remembered: true });
    return { ...mount, remembered: false };
  }
}

/** Throws HKA_REFERENCE_INVALID for an engine that is not known to give out secrets. */
function kindOf(type: string, options: unknown): MountKind {
  if (type === 'kv' || type === 'generic') {
    return isObject(options) && options['version'] === '2' ? 'kv-2' : 'kv-1';
  }
  if (ENGINES.has(type)) return 'engine';
  throw new HkaError(
    'HKA_REFERENCE_INVALID',
    `the mount is neither a key-value store nor an engine that is known to give out credentials (${[...ENGINES].join(', ')}); if it does, name it in vault.mounts with \`leased: true\``,
  );
}

/** Throws HKA_CONFIG_INVALID. */
function mountOf({ path, kvVersion, leased }: MountConfig): Mount {
  return {
    segments: mountSegments(path),
    kind: kvVersion === undefined || leased === true ? 'engine' : (`kv-${kvVersion}` as const),
    remembered: false,
  };
}

/** Throws HKA_CONFIG_INVALID. */
function mountSegments(path: string): string[] {
  const segments = path.replace(/^\/|\/$/g, '').split('/');
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..')) {
    throw new HkaError('HKA_CONFIG_INVALID', 'a path under `mounts` has an empty segment, or one of dots');
  }
  return segments;
}

/** Whether something of the reference is left below the mount. */
function isInside({ segments }: Pick<SecretReference, 'segments'>, mount: readonly string[]): boolean {
  return segments.length > mount.length && mount.every((segment, index) => segment === segments[index]);
}
