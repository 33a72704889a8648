/**
 * Entries of a KV version 2 mount, written with check-and-set, with the program's own log-in.
 * https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2
 *
 * Invariants: a request stays below the configured path, since every segment is checked and percent-encoded; nothing is
 * written to a mount of version 1, which would take any write and ignore the check. No error shows what an entry holds.
 */
import { HkaError, isHkaError } from '../lib/errors.ts';
import type { Secret } from '../lib/secret.ts';
import { says, type VaultBody, type VaultClient } from './client.ts';
import type { MountTable } from './mounts.ts';
import { DEFAULT_CONNECTION, encodePath, type SecretReference } from './reference.ts';
import type { VaultSession } from './session.ts';
import { isObject } from './transport.ts';

export interface RecordsPlace {
  readonly mount: string;
  /** Below the mount. */
  readonly path: string;
  /** For messages: where the configuration says this; `store.vault` unless told. */
  readonly setting?: string;
  /** One of vault.connections; the section itself unless told. */
  readonly connection?: string;
}

export interface VaultEntry {
  readonly version: number;
  /** Undefined when that version was deleted. */
  readonly data: Readonly<Record<string, unknown>> | undefined;
  /** When it was written, by Vault's clock, in milliseconds since the Unix epoch. */
  readonly writtenAt?: number;
}

type Capability = 'read' | 'create and update' | 'list' | 'delete';

export class VaultRecords {
  readonly place: string;
  readonly #setting: string;
  readonly #mount: readonly string[];
  readonly #path: readonly string[];
  readonly #client: VaultClient;
  readonly #session: VaultSession;
  readonly #mounts: MountTable;

  /** Throws HKA_CONFIG_INVALID for a mount or path with segments that could leave it. */
  constructor(place: RecordsPlace, client: VaultClient, session: VaultSession, mounts: MountTable) {
    this.#setting = place.setting ?? 'store.vault';
    this.#mount = segmentsOf(place.mount, `${this.#setting}.mount`);
    this.#path = segmentsOf(place.path, `${this.#setting}.path`);
    this.place = [...this.#mount, ...this.#path].join('/');
    this.#client = client;
    this.#session = session;
    this.#mounts = mounts;
  }

  async prepare(): Promise<void> {
    const reference: SecretReference = {
      text: this.place,
      connection: DEFAULT_CONNECTION,
      segments: [...this.#mount, ...this.#path],
      version: undefined,
    };
    const mount = await this.#call('sys/internal/ui/mounts', 'read', (token) =>
      this.#mounts.find(reference, token),
    );
    const found = mount.segments.join('/');
    if (found !== this.#mount.join('/')) {
      throw new HkaError(
        'HKA_CONFIG_INVALID',
        `${this.#setting}: the mount that holds ${this.place} is ${found}; set mount to that and path to the rest`,
      );
    }
    if (mount.kind === 'kv-2') return;
    if (mount.kind === 'engine') {
      throw new HkaError('HKA_CONFIG_INVALID', `store.vault: the mount ${found} is no key-value store`);
    }
    throw new HkaError(
      'HKA_CONFIG_INVALID',
      `${this.#setting}: the mount ${found} is KV version 1, which has no check-and-set. Use a mount of version 2 (\`vault secrets enable -version=2 -path=… kv\`), or \`vault kv enable-versioning ${found}\``,
    );
  }

  /** An empty path is the entry at the place itself. */
  async read(path: string): Promise<VaultEntry | undefined> {
    const full = this.#full('data', path);
    try {
      const body = await this.#call(full, 'read', (token) => this.#client.read(encodePath(full), { token }));
      return entryOf(body, full);
    } catch (error) {
      if (!isHkaError(error) || error.code !== 'HKA_VAULT_NOT_FOUND') throw error;
      const { deletedVersion } = error.details;
      return typeof deletedVersion === 'number' ? { version: deletedVersion, data: undefined } : undefined;
    }
  }

  async write(path: string, data: object, expected: number): Promise<number | undefined> {
    const full = this.#full('data', path);
    try {
      const body = await this.#call(full, 'create and update', (token) =>
        this.#client.write(encodePath(full), { options: { cas: expected }, data }, { token }),
      );
      const version = isObject(body['data']) ? body['data']['version'] : undefined;
      if (typeof version === 'number') return version;
      throw new HkaError('HKA_VAULT_MALFORMED', `${full.join('/')}: the answer to a write has no version`);
    } catch (error) {
      if (isHkaError(error) && says(error, 'check-and-set parameter did not match the current version')) {
        return undefined;
      }
      throw error;
    }
  }

  async remove(path: string): Promise<void> {
    const full = this.#full('metadata', path);
    await this.#call(full, 'delete', (token) => this.#client.delete(encodePath(full), { token }));
  }

  async list(folder: string): Promise<readonly string[]> {
    const full = this.#full('metadata', folder);
    try {
      const { data } = await this.#call(full, 'list', (token) =>
        this.#client.read(`${encodePath(full)}/?list=true`, { token }),
      );
      const keys = isObject(data) ? data['keys'] : undefined;
      if (Array.isArray(keys) && keys.every((key) => typeof key === 'string')) return keys;
      throw new HkaError('HKA_VAULT_MALFORMED', `${full.join('/')}: the answer is not a list of names`);
    } catch (error) {
      if (isHkaError(error) && error.code === 'HKA_VAULT_NOT_FOUND') return [];
      throw error;
    }
  }

  #full(kind: 'data' | 'metadata', path: string): readonly string[] {
    return [...this.#mount, kind, ...this.#path, ...(path === '' ? [] : path.split('/'))];
  }

  async #call<T>(
    path: string | readonly string[],
    capability: Capability,
    call: (token: Secret) => Promise<T>,
  ): Promise<T> {
    try {
      return await this.#session.run(call);
    } catch (error) {
      if (!isHkaError(error)) throw error;
      const name = typeof path === 'string' ? path : path.join('/');
      const hint =
        error.code === 'HKA_VAULT_FORBIDDEN'
          ? `: the token's policy has to grant ${capability} on "${name}" (docs/vault.md has whole policies)`
          : '';
      throw new HkaError(error.code, `${name}: ${error.message}${hint}`, { details: error.details });
    }
  }
}

function entryOf(body: VaultBody, full: readonly string[]): VaultEntry {
  const outer = body['data'];
  const data = isObject(outer) ? outer['data'] : undefined;
  const metadata = isObject(outer) ? outer['metadata'] : undefined;
  const version = isObject(metadata) ? metadata['version'] : undefined;
  if (typeof version !== 'number' || !(isObject(data) || data === null)) {
    throw new HkaError(
      'HKA_VAULT_MALFORMED',
      `${full.join('/')}: the answer is not an entry of a KV mount of version 2`,
    );
  }
  const writtenAt = isObject(metadata) ? Date.parse(String(metadata['created_time'])) : Number.NaN;
  return { version, data: data ?? undefined, ...(Number.isNaN(writtenAt) ? {} : { writtenAt }) };
}

/** The same characters as in references. */
const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;

function segmentsOf(text: string, field: string): string[] {
  const segments = text.split('/');
  if (segments.every((segment) => SEGMENT.test(segment))) return segments;
  throw new HkaError(
    'HKA_CONFIG_INVALID',
    `${field} has a segment that is empty, dots, or holds more than letters, digits, ".", "_" and "-"`,
  );
}
