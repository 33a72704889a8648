/** A token that somebody else made and puts into a file: an operator, or Vault Agent. */
import { HkaError } from '../../lib/errors.ts';
import type { VaultCalls } from '../client.ts';
import { isObject } from '../transport.ts';
import { privateCredential, type CredentialFile } from './files.ts';
import { isSeconds, lifeMs, loginError, type Grant, type LoginMethod } from './method.ts';

export class TokenFile implements LoginMethod {
  readonly name = 'token';
  readonly ownsTokens = false;
  readonly boundToCredentials = false;
  readonly #file: CredentialFile;

  constructor(path: string) {
    this.#file = privateCredential(path, 'the Vault token file');
  }

  check(): void {
    this.#file.check();
  }

  changed(): boolean {
    return this.#file.changed();
  }

  async login(client: VaultCalls): Promise<Grant> {
    const token = this.#file.take();
    try {
      const { data } = await client.read('auth/token/lookup-self', { token });
      if (!isObject(data) || !isSeconds(data['ttl'])) {
        throw new HkaError('HKA_VAULT_MALFORMED', 'the answer says nothing about a token');
      }
      const { ttl, creation_ttl: creationTtl } = data;
      return {
        token,
        ttlMs: lifeMs(ttl),
        fullTtlMs: lifeMs(isSeconds(creationTtl) ? Math.max(creationTtl, ttl) : ttl),
        renewable: data['renewable'] === true,
      };
    } catch (error) {
      throw loginError(
        'the token in the Vault token file, or its policy lacks read on auth/token/lookup-self',
        error,
      );
    }
  }
}
