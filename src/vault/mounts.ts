/**
 * Where KV mounts end and which version they have. Vault tells (sys/internal/ui/mounts, which its own command line asks
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
  readonly kvVersion: 1 | 2;
}

export interface KvMount {
  readonly segments: readonly string[];
  readonly kvVersion: 1 | 2;
  /** Whether it was remembered, and may have changed since. */
  readonly remembered: boolean;
}

/** Mounts can't lie inside each other, so at most one is a prefix of a path. */
export class MountTable {
  readonly #client: VaultClient;
  readonly #configured: readonly KvMount[];
  readonly #known = new Map<string, KvMount>();

  constructor(client: VaultClient, configured: readonly MountConfig[]) {
    this.#client = client;
    this.#configured = configured.map(({ path, kvVersion }) => ({
      segments: mountSegments(path),
      kvVersion,
      remembered: false,
    }));
  }

  /** The mount that `reference` lies in: as configured, as remembered, or as Vault says. */
  async find(reference: SecretReference, token: Secret): Promise<KvMount> {
    const known = [...this.#configured, ...this.#known.values()].find(({ segments }) =>
      isInside(reference, segments),
    );
    return known ?? (await this.#ask(reference, token));
  }

  /** Asks Vault about a mount that was remembered. Undefined when it is what it was. */
  async findChanged(reference: SecretReference, mount: KvMount, token: Secret): Promise<KvMount | undefined> {
    if (!mount.remembered) return undefined;
    this.#known.delete(mount.segments.join('/'));
    const now = await this.#ask(reference, token);
    const same = now.kvVersion === mount.kvVersion && now.segments.join('/') === mount.segments.join('/');
    return same ? undefined : now;
  }

  async #ask(reference: SecretReference, token: Secret): Promise<KvMount> {
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
    if (type !== 'kv' && type !== 'generic') {
      throw new HkaError(
        'HKA_REFERENCE_INVALID',
        `the mount is not a key-value store; only KV version 1 and 2 can be read`,
      );
    }
    const options = data['options'];
    const kvVersion = isObject(options) && options['version'] === '2' ? 2 : 1;
    const mount = { segments, kvVersion } as const;
    this.#known.set(segments.join('/'), { ...mount, remembered: true });
    return { ...mount, remembered: false };
  }
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
function isInside({ segments }: SecretReference, mount: readonly string[]): boolean {
  return segments.length > mount.length && mount.every((segment, index) => segment === segments[index]);
}
