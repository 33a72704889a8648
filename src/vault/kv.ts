/**
 * Reads one field of a KV secret, version 1 or 2.
 *
 * Whoever can write the secret controls names and types of its fields: only own properties are looked at, and only
 * strings are taken (Vault's numbers lose precision beyond 2^53 on their way through JSON).
 */
import { HkaError, isHkaError } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';
import { says, type VaultBody, type VaultClient } from './client.ts';
import { isAnswer } from './outage.ts';
import type { KvMount, MountTable } from './mounts.ts';
import { encodePath, type SecretReference } from './reference.ts';
import type { VaultSession } from './session.ts';
import { isObject } from './transport.ts';

export interface SecretValue {
  readonly value: Secret;
  /** KV version 2's number of it. */
  readonly version?: number;
}

export class KvReader {
  readonly #client: VaultClient;
  readonly #session: VaultSession;
  readonly #mounts: MountTable;

  constructor(client: VaultClient, session: VaultSession, mounts: MountTable) {
    this.#client = client;
    this.#session = session;
    this.#mounts = mounts;
  }

  /** Rejects with HKA_VAULT_*, or HKA_REFERENCE_INVALID for a mount of another kind. Every message names the reference. */
  async read(reference: SecretReference): Promise<SecretValue> {
    try {
      return await this.#session.run((token) => this.#readWith(reference, token));
    } catch (error) {
      if (!isHkaError(error)) throw error;
      throw new HkaError(error.code, `${reference.text}: ${error.message}`, {
        details: { ...error.details, reference: reference.text },
      });
    }
  }

  async #readWith(reference: SecretReference, token: Secret): Promise<SecretValue> {
    const mount = await this.#mounts.find(reference, token);
    try {
      return await this.#readFrom(mount, reference, token);
    } catch (error) {
      if (!isHkaError(error) || !isAnswer(error) || says(error, 'invalid token')) throw error;
      // The mount may have been upgraded or replaced since it was asked about. When that can't be told, the answer stands.
      const changed = await this.#mounts.findChanged(reference, mount, token).catch(() => undefined);
      if (changed === undefined) throw error;
      return await this.#readFrom(changed, reference, token);
    }
  }

  async #readFrom(mount: KvMount, reference: SecretReference, token: Secret): Promise<SecretValue> {
    const below = reference.segments.slice(mount.segments.length);
    const path = mount.kvVersion === 2 ? [...mount.segments, 'data', ...below] : reference.segments;
    try {
      const body = await this.#client.read(encodePath(path), { token });
      return mount.kvVersion === 2 ? fieldOfVersion2(body, reference) : fieldOfVersion1(body, reference);
    } catch (error) {
      throw explain(error, mount, below);
    }
  }
}

function fieldOfVersion1(body: VaultBody, reference: SecretReference): SecretValue {
  const { data } = body;
  if (!isObject(data)) throw new HkaError('HKA_VAULT_MALFORMED', 'the answer has no secret in it');
  return { value: fieldOf(data, reference.field) };
}

/** https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version */
function fieldOfVersion2(body: VaultBody, reference: SecretReference): SecretValue {
  const outer = body['data'];
  const data = isObject(outer) ? outer['data'] : undefined;
  const metadata = isObject(outer) ? outer['metadata'] : undefined;
  if (!isObject(data)) throw new HkaError('HKA_VAULT_MALFORMED', 'the answer has no secret in it');
  const version = isObject(metadata) ? metadata['version'] : undefined;
  return {
    value: fieldOf(data, reference.field),
    ...(typeof version === 'number' ? { version } : {}),
  };
}

function fieldOf(data: Readonly<Record<string, unknown>>, field: string): Secret {
  if (!Object.hasOwn(data, field)) {
    throw new HkaError('HKA_VAULT_FIELD_MISSING', 'the secret is there, but has no field of this name');
  }
  const value = data[field];
  if (typeof value === 'string') return new Secret(value);
  const kind = value === null ? 'null' : Array.isArray(value) ? 'a list' : `of type ${typeof value}`;
  throw new HkaError(
    'HKA_VAULT_MALFORMED',
    `the field is ${kind}; only strings can be used (write it with quotes around it)`,
  );
}

/** Adds to a 404 what it most likely means. */
function explain(error: unknown, mount: KvMount, below: readonly string[]): unknown {
  if (!isHkaError(error) || error.code !== 'HKA_VAULT_NOT_FOUND') return error;
  const { deletedVersion, destroyed } = error.details;
  let message = 'there is no secret at this path';
  if (typeof deletedVersion === 'number') {
    message = `version ${deletedVersion} of the secret, its latest, is ${destroyed === true ? 'destroyed' : 'deleted'}`;
  } else if (mount.kvVersion === 2 && (below[0] === 'data' || below[0] === 'metadata')) {
    message += `: leave out ${below[0]}/ after the mount, as in \`vault kv get\``;
  }
  return new HkaError('HKA_VAULT_NOT_FOUND', message, { details: error.details });
}
