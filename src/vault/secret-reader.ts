/**
 * Reads secrets: those of KV version 1 and 2, and credentials that an engine makes for us under a lease (`database`,
 * `rabbitmq` and others, which differ in nothing that matters here).
 * https://developer.hashicorp.com/vault/docs/concepts/lease
 */
import { HkaError, isHkaError } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';
import { isAboutToken, type VaultBody, type VaultClient } from './client.ts';
import { isAnswer } from './outage.ts';
import type { Mount, MountTable } from './mounts.ts';
import { encodePath, type SecretReference } from './reference.ts';
import { fieldsOf, SecretData } from './secret-data.ts';
import type { VaultSession } from './session.ts';
import { isObject } from './transport.ts';

export interface FetchedSecret {
  readonly data: SecretData;
  /** KV version 2's number of it. */
  readonly version?: number;
  /** Credentials that end unless they are renewed. */
  readonly lease?: Lease;
  /** Milliseconds until Vault replaces the value by itself, as it does with the passwords of static roles. */
  readonly changesInMs?: number;
}

export interface Lease {
  /** Names the lease to Vault. Whoever has it and the right to revoke leases can end it. */
  readonly id: Secret;
  readonly ttlMs: number;
  readonly renewable: boolean;
  /** Until when the token that it was made with is good, as of now: it ends with that at the latest, whoever renews it. */
  readonly tokenEnd?: () => number;
}

export class SecretReader {
  readonly #client: VaultClient;
  readonly #session: VaultSession;
  readonly #mounts: MountTable;

  constructor(client: VaultClient, session: VaultSession, mounts: MountTable) {
    this.#client = client;
    this.#session = session;
    this.#mounts = mounts;
  }

  /** Rejects with HKA_VAULT_*, or HKA_REFERENCE_INVALID for a mount of another kind. Every message names the reference. */
  async read(reference: SecretReference): Promise<FetchedSecret> {
    return await naming(reference, () => this.#session.run((token) => this.#readWith(reference, token)));
  }

  /**
   * Prolongs a lease by what its role allows; the result may be shorter than asked for. Rejects with HKA_VAULT_*: an answer
   * (see `isAnswer`) says that this lease has come to its end.
   */
  async renew(reference: SecretReference, lease: Lease): Promise<Lease> {
    return await naming(reference, async () => {
      const body = await this.#session.run((token) =>
        this.#client.write('sys/leases/renew', { lease_id: lease.id.reveal() }, { token }),
      );
      const renewed = leaseOf(body);
      if (renewed !== undefined) return { ...lease, ...renewed, id: lease.id };
      throw new HkaError('HKA_VAULT_MALFORMED', 'the answer to a renewal says nothing about a lease');
    });
  }

  async #readWith(reference: SecretReference, token: Secret): Promise<FetchedSecret> {
    const mount = await this.#mounts.find(reference, token);
    try {
      return this.#under(token, await this.#readFrom(mount, reference, token));
    } catch (error) {
      if (!isHkaError(error) || !isAnswer(error) || isAboutToken(error)) throw error;
      // The mount may have been upgraded or replaced since it was asked about. When that can't be told, the answer stands.
      const changed = await this.#mounts.findChanged(reference, mount, token).catch(() => undefined);
      if (changed === undefined) throw error;
      return this.#under(token, await this.#readFrom(changed, reference, token));
    }
  }

  #under(token: Secret, fetched: FetchedSecret): FetchedSecret {
    const { lease } = fetched;
    if (lease === undefined) return fetched;
    return { ...fetched, lease: { ...lease, tokenEnd: () => this.#session.endOf(token) } };
  }

  async #readFrom(mount: Mount, reference: SecretReference, token: Secret): Promise<FetchedSecret> {
    const { segments, version } = reference;
    if (version !== undefined && mount.kind !== 'kv-2') {
      throw new HkaError(
        'HKA_REFERENCE_INVALID',
        `asks for version ${version}, and only KV version 2 keeps versions; the mount ${mount.segments.join('/')} is ${mount.kind === 'kv-1' ? 'KV version 1' : 'no key-value store'}`,
      );
    }
    const below = segments.slice(mount.segments.length);
    const path = encodePath(mount.kind === 'kv-2' ? [...mount.segments, 'data', ...below] : segments);
    try {
      const body = await this.#client.read(version === undefined ? path : `${path}?version=${version}`, {
        token,
      });
      return mount.kind === 'kv-2' ? ofVersion2(body, reference) : ofOthers(body, reference, mount);
    } catch (error) {
      throw explain(error, mount, below, version);
    }
  }
}

async function naming<T>(reference: SecretReference, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!isHkaError(error)) throw error;
    throw new HkaError(error.code, `${reference.text}: ${error.message}`, {
      details: { ...error.details, reference: reference.text },
    });
  }
}

/** KV version 1 and the engines: the fields lie directly under `data`. */
function ofOthers(body: VaultBody, reference: SecretReference, mount: Mount): FetchedSecret {
  const { data } = body;
  if (!isObject(data)) throw new HkaError('HKA_VAULT_MALFORMED', 'the answer has no secret in it');
  const secret = new SecretData(reference.text, fieldsOf(data));
  if (mount.kind !== 'engine') return { data: secret };
  const lease = leaseOf(body);
  if (lease !== undefined) return { data: secret, lease };
  const { ttl } = data;
  return isSeconds(ttl) ? { data: secret, changesInMs: ttl * 1000 } : { data: secret };
}

/** https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version */
function ofVersion2(body: VaultBody, reference: SecretReference): FetchedSecret {
  const outer = body['data'];
  const data = isObject(outer) ? outer['data'] : undefined;
  const metadata = isObject(outer) ? outer['metadata'] : undefined;
  if (!isObject(data)) throw new HkaError('HKA_VAULT_MALFORMED', 'the answer has no secret in it');
  const version = isObject(metadata) ? metadata['version'] : undefined;
  return {
    data: new SecretData(reference.text, fieldsOf(data)),
    ...(typeof version === 'number' ? { version } : {}),
  };
}

/** Undefined when the answer has none: KV version 1 gives a duration, but nothing that could be renewed. */
function leaseOf(body: VaultBody): Lease | undefined {
  const { lease_id: id, lease_duration: duration, renewable } = body;
  if (typeof id !== 'string' || id === '') return undefined;
  // One that has ended already would be asked for again with every request.
  if (!isSeconds(duration) || duration === 0) {
    throw new HkaError('HKA_VAULT_MALFORMED', 'the answer does not say how long its lease lasts');
  }
  return { id: new Secret(id), ttlMs: duration * 1000, renewable: renewable === true };
}

function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

/** Adds to a 404 what it most likely means. */
function explain(error: unknown, mount: Mount, below: readonly string[], asked: number | undefined): unknown {
  if (!isHkaError(error) || error.code !== 'HKA_VAULT_NOT_FOUND') return error;
  const { deletedVersion, destroyed } = error.details;
  let message = 'there is no secret at this path';
  if (typeof deletedVersion === 'number') {
    const which = asked === undefined ? ', its latest,' : '';
    message = `version ${deletedVersion} of the secret${which} is ${destroyed === true ? 'destroyed' : 'deleted'}`;
  } else if (asked !== undefined) {
    message = `there is no version ${asked} of the secret, or no secret at this path`;
  } else if (mount.kind === 'kv-2' && (below[0] === 'data' || below[0] === 'metadata')) {
    message += `: leave out ${below[0]}/ after the mount, as in \`vault kv get\``;
  }
  return new HkaError('HKA_VAULT_NOT_FOUND', message, { details: error.details });
}
