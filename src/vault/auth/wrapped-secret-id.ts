/**
 * A secret id that is delivered wrapped: the file holds a token of one use, which whoever delivers it could only pass on or
 * use up, not read. https://developer.hashicorp.com/vault/docs/concepts/response-wrapping
 *
 * Invariants: a wrapping token is unwrapped once at most, and only if it was made by a request for a secret id of our mount
 * (and role): a token put in its place would otherwise log us in as somebody else. A used one is an alarm: somebody else
 * has the secret id. The secret id is in memory only, until the file holds another token: in the memory of the process, so that
 * a configuration that is reread, or another connection with the same file, takes no secret id of its own.
 */
import { HkaError } from '../../lib/errors.ts';
import { Secret } from '../../lib/secret.ts';
import type { VaultBody, VaultCalls } from '../client.ts';
import { isObject } from '../transport.ts';
import { privateCredential, type CredentialFile } from './files.ts';
import { CREDENTIAL, isOutage, loginError, statusOf } from './method.ts';

/** A wrapping token that was found in a file, and what has become of it. */
interface Delivery {
  readonly token: Secret;
  /** Whether it was sent to be unwrapped, so that it may be used up. */
  sent: boolean;
  /** Undefined when nothing has come of it so far. */
  secretId: Promise<Secret> | undefined;
}

/** The last delivery of each file, by the Vault it is for, its path, and what must have made it. */
const deliveries = new Map<string, Delivery>();

export class WrappedSecretId {
  readonly #path: string;
  readonly #file: CredentialFile;
  readonly #expected: { readonly pattern: RegExp; readonly text: string };

  constructor(path: string, mount: string, role: string | undefined) {
    this.#path = path;
    this.#file = privateCredential(path, 'the file with the wrapped AppRole secret id');
    const text = `auth/${mount}/role/${role ?? '*'}/secret-id`;
    this.#expected = {
      text,
      pattern: new RegExp(
        `^${text
          .split('/')
          .map((part) => (part === '*' ? '[^/]+' : part.replaceAll(/[^\w-]/g, String.raw`\$&`)))
          .join('/')}$`,
      ),
    };
  }

  check(): void {
    this.#file.check();
  }

  changed(): boolean {
    return this.#file.changed();
  }

  /** The secret id: from memory, or unwrapped now. Rejects as LoginMethod.login does. */
  async take(client: VaultCalls): Promise<Secret> {
    const delivery = this.#deliveryOf(client, this.#file.take());
    delivery.secretId ??= this.#unwrap(client, delivery);
    return await delivery.secretId;
  }

  #deliveryOf({ place }: VaultCalls, token: Secret): Delivery {
    const key = [place, this.#path, this.#expected.text].join('\n');
    const last = deliveries.get(key);
    if (last?.token.equals(token) === true) return last;
    const delivery: Delivery = { token, sent: false, secretId: undefined };
    deliveries.set(key, delivery);
    return delivery;
  }

  async #unwrap(client: VaultCalls, delivery: Delivery): Promise<Secret> {
    const { token } = delivery;
    try {
      await this.#lookUp(client, token, delivery.sent);
      delivery.sent = true;
      const { data } = await client.write('sys/wrapping/unwrap', {}, { token });
      const secretId = isObject(data) ? data['secret_id'] : undefined;
      if (typeof secretId === 'string' && CREDENTIAL.test(secretId)) return new Secret(secretId);
      throw new HkaError('HKA_VAULT_MALFORMED', 'there is no secret id in what it holds');
    } catch (error) {
      delivery.secretId = undefined;
      throw loginError(`to unwrap the token in ${this.#path}`, error, { credentialsRefused: true });
    }
  }

  /** Says how the wrapping token does, without using it up. */
  async inspect(client: VaultCalls): Promise<string> {
    const { creation_ttl: ttl } = await this.#lookUp(client, this.#file.take(), false);
    return `the wrapping token in ${this.#path} is unused, of ${this.#expected.text}, made for ${String(Number(ttl))} s; only the server unwraps it`;
  }

  /** Resolves with the data of a wrapping token that is unused and of the path we expect. */
  async #lookUp(client: VaultCalls, token: Secret, sentBefore: boolean): Promise<VaultBody> {
    let data: unknown;
    try {
      // In the body, as Vault wants it; the call itself needs no token.
      ({ data } = await client.write('sys/wrapping/lookup', { token: token.reveal() }, { token: undefined }));
    } catch (error) {
      const status = statusOf(error);
      if (isOutage(error) || (status !== 400 && status !== 403)) {
        throw loginError(`to look up the wrapping token in ${this.#path}`, error);
      }
      throw refused(
        sentBefore
          ? `the wrapping token in ${this.#path} is used up: an attempt of this server to unwrap it got no secret id back. Deliver a new one`
          : `the wrapping token in ${this.#path} has been used already, or has expired. If it is not an old one that this server has used before, somebody else has the secret id: destroy that secret id, find out who unwrapped it, then deliver a new one`,
      );
    }
    const path = isObject(data) ? data['creation_path'] : undefined;
    if (!isObject(data) || typeof path !== 'string') {
      throw loginError(
        `to look up the wrapping token in ${this.#path}`,
        new HkaError('HKA_VAULT_MALFORMED', 'the answer says not what it was made by'),
      );
    }
    if (!this.#expected.pattern.test(path)) {
      const shown = /^[\w./-]{1,200}$/.test(path) ? path : 'another path';
      throw refused(
        `the wrapping token in ${this.#path} was made by ${shown}, not by ${this.#expected.text}: it was exchanged on its way, or the wrong one was delivered. It has not been unwrapped`,
      );
    }
    return data;
  }
}

function refused(message: string): HkaError {
  return new HkaError('HKA_VAULT_LOGIN', message, { details: { credentialsRefused: true, alarm: true } });
}
