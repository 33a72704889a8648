/**
 * Ways to get a token from Vault. A way to log in knows where its credentials are and how to trade them for a token;
 * keeping the token alive is src/vault/session.ts's part, for all of them alike.
 *
 * Invariant: a log-in sends no token but the one it is about, and credentials go to the log-in path only.
 */
import { readPrivateFile } from '../lib/atomic-file.ts';
import { HkaError, isHkaError, messageOf } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';
import type { VaultBody, VaultClient } from './client.ts';
import { encodePath } from './reference.ts';
import { isObject } from './transport.ts';

/** A token, and how long it lives from the moment the call that brought it was sent. */
export interface Grant {
  readonly token: Secret;
  /** Undefined when it never expires. */
  readonly ttlMs: number | undefined;
  /** The life it was made with: when a renewal brings less, its maximum is near. */
  readonly fullTtlMs: number | undefined;
  readonly renewable: boolean;
}

export interface LoginMethod {
  readonly name: string;
  /** Whether the tokens are made for us alone, so that they are ours to revoke. */
  readonly ownsTokens: boolean;
  /** Throws HKA_CONFIG_INVALID for what a person has to mend before anything can work. */
  check(): void;
  /**
   * Rejects with HKA_VAULT_UNAVAILABLE, _SEALED, _TIMEOUT or _TLS in an outage, else with HKA_VAULT_LOGIN;
   * `details.credentialsRefused` is set when more attempts with the same credentials do harm.
   */
  login(client: VaultClient): Promise<Grant>;
  /** Whether the credentials have changed since the last attempt to log in, successful or not. */
  changed(): boolean;
}

export type AuthConfig =
  | { readonly method: 'token'; /** Mode 0600 or stricter. */ readonly tokenFile: string }
  | {
      readonly method: 'approle';
      /** Where the method is mounted, such as `approle`. */
      readonly mount: string;
      readonly roleId: string;
      /** Mode 0600 or stricter. */
      readonly secretIdFile: string;
    };

export function createLoginMethod(config: AuthConfig): LoginMethod {
  if (config.method === 'token') return new TokenFile(config.tokenFile);
  return new AppRole(config.mount, config.roleId, config.secretIdFile);
}

/** What a header can carry and what Vault makes: no spaces, no control characters. */
const CREDENTIAL = /^[\x21-\x7e]+$/;

/** A file that holds one credential and may be replaced at any time. */
class CredentialFile {
  readonly #path: string;
  readonly #what: string;
  #tried: Secret | undefined;

  constructor(path: string, what: string) {
    this.#path = path;
    this.#what = what;
  }

  check(): void {
    this.#read('HKA_CONFIG_INVALID');
  }

  /** Reads it for an attempt. */
  take(): Secret {
    this.#tried = undefined;
    this.#tried = this.#read('HKA_VAULT_LOGIN');
    return this.#tried;
  }

  changed(): boolean {
    try {
      const now = this.#read('HKA_VAULT_LOGIN');
      return this.#tried === undefined || !now.equals(this.#tried);
    } catch {
      // It may be in the middle of being replaced. An attempt would say what is wrong.
      return false;
    }
  }

  #read(code: 'HKA_CONFIG_INVALID' | 'HKA_VAULT_LOGIN'): Secret {
    const text = readPrivateFile(this.#path, this.#what, code).trim();
    if (CREDENTIAL.test(text)) return new Secret(text);
    throw new HkaError(
      code,
      `${this.#what} ${this.#path} ${text === '' ? 'is empty' : 'has a space or another character that cannot be part of one'}`,
    );
  }
}

/** A token that somebody else made and puts into a file: an operator, or Vault Agent. */
class TokenFile implements LoginMethod {
  readonly name = 'token';
  readonly ownsTokens = false;
  readonly #file: CredentialFile;

  constructor(path: string) {
    this.#file = new CredentialFile(path, 'the Vault token file');
  }

  check(): void {
    this.#file.check();
  }

  changed(): boolean {
    return this.#file.changed();
  }

  async login(client: VaultClient): Promise<Grant> {
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
        {},
      );
    }
  }
}

/** https://developer.hashicorp.com/vault/docs/auth/approle */
class AppRole implements LoginMethod {
  readonly name = 'approle';
  readonly ownsTokens = true;
  readonly #mount: string;
  readonly #roleId: string;
  readonly #secretId: CredentialFile;

  constructor(mount: string, roleId: string, secretIdFile: string) {
    this.#mount = mount;
    this.#roleId = roleId;
    this.#secretId = new CredentialFile(secretIdFile, 'the AppRole secret id file');
  }

  check(): void {
    if (!/^[A-Za-z0-9_-]+(\/[A-Za-z0-9_-]+)*$/.test(this.#mount)) {
      throw new HkaError('HKA_CONFIG_INVALID', 'the AppRole mount is not a path of letters, digits, - and _');
    }
    if (this.#roleId === '') throw new HkaError('HKA_CONFIG_INVALID', 'the AppRole role id is empty');
    this.#secretId.check();
  }

  changed(): boolean {
    return this.#secretId.changed();
  }

  async login(client: VaultClient): Promise<Grant> {
    const secretId = this.#secretId.take();
    const path = `auth/${encodePath(this.#mount.split('/'))}/login`;
    try {
      return grantOf(
        await client.write(
          path,
          { role_id: this.#roleId, secret_id: secretId.reveal() },
          { token: undefined },
        ),
      );
    } catch (error) {
      // Vault answers 400 to a wrong role or secret id.
      if (statusOf(error) === 400) {
        throw loginError(`the log-in at ${path}`, error, { credentialsRefused: true });
      }
      const hint =
        statusOf(error) === 403
          ? ' (nothing is mounted there, or the role is locked for wrong secret ids)'
          : '';
      throw loginError(`the log-in at ${path}${hint}`, error, {});
    }
  }
}

function statusOf(error: unknown): unknown {
  return isHkaError(error) ? error.details['status'] : undefined;
}

/** The grant in the answer to a log-in or a renewal. Throws HKA_VAULT_MALFORMED when there is none. */
export function grantOf(body: VaultBody): Grant {
  const { auth } = body;
  const token = isObject(auth) ? auth['client_token'] : undefined;
  if (!isObject(auth) || typeof token !== 'string' || !CREDENTIAL.test(token)) {
    throw new HkaError(
      'HKA_VAULT_MALFORMED',
      isObject(auth) && isObject(auth['mfa_requirement'])
        ? 'Vault demands a second factor, which a server cannot give'
        : 'the answer has no token in it',
    );
  }
  const duration = auth['lease_duration'];
  if (!isSeconds(duration))
    throw new HkaError('HKA_VAULT_MALFORMED', 'the answer says not how long the token lives');
  return {
    token: new Secret(token),
    ttlMs: lifeMs(duration),
    fullTtlMs: lifeMs(duration),
    renewable: auth['renewable'] === true,
  };
}

function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

/** Vault writes 0 for what never expires. */
function lifeMs(seconds: number): number | undefined {
  return seconds === 0 ? undefined : seconds * 1000;
}

const OUTAGES = new Set(['HKA_VAULT_UNAVAILABLE', 'HKA_VAULT_SEALED', 'HKA_VAULT_TIMEOUT', 'HKA_VAULT_TLS']);

/** An outage stays what it is; anything else is a failed log-in, which is no answer about any secret. */
function loginError(what: string, error: unknown, details: Record<string, unknown>): HkaError {
  if (isHkaError(error) && (OUTAGES.has(error.code) || error.code === 'HKA_VAULT_LOGIN')) return error;
  return new HkaError('HKA_VAULT_LOGIN', `Vault refused ${what}: ${messageOf(error)}`, { details });
}
