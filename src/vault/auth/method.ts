/**
 * What every way to log in has in common: what it gives, how it fails, how Vault's answer is read.
 *
 * Invariant: a log-in sends no token but the one it is about, and credentials go to the log-in path only.
 */
import { HkaError, isHkaError, messageOf } from '../../lib/errors.ts';
import { Secret } from '../../lib/secret.ts';
import type { VaultBody, VaultCalls } from '../client.ts';
import { encodePath } from '../reference.ts';
import { isObject } from '../transport.ts';

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
  /** Whether a token can only be renewed with the credentials that it was got with. */
  readonly boundToCredentials: boolean;
  /** Throws HKA_CONFIG_INVALID for what a person has to mend before anything can work. */
  check(): void;
  /**
   * For credentials that are used up by a log-in: looks at them without that, and says in words what was found. Rejects
   * as `login` does.
   */
  inspect?(client: VaultCalls): Promise<string>;
  /**
   * Rejects with HKA_VAULT_UNAVAILABLE, _SEALED, _TIMEOUT or _TLS in an outage, else with HKA_VAULT_LOGIN;
   * `details.credentialsRefused` is set when more attempts with the same credentials do harm.
   */
  login(client: VaultCalls): Promise<Grant>;
  /** Whether the credentials have changed since the last attempt to log in, successful or not. */
  changed(): boolean;
}

/** What a header can carry and what Vault makes: no spaces, no control characters. */
export const CREDENTIAL = /^[\x21-\x7e]+$/;

/** Throws HKA_CONFIG_INVALID for a mount of a log-in method that could be another path. */
export function checkMount(mount: string, what: string): void {
  if (/^[A-Za-z0-9_-]+(\/[A-Za-z0-9_-]+)*$/.test(mount)) return;
  throw new HkaError('HKA_CONFIG_INVALID', `the ${what} mount is not a path of letters, digits, - and _`);
}

/** Where the method mounted at `mount` takes log-ins. */
export function loginPath(mount: string): string {
  return `auth/${encodePath(mount.split('/'))}/login`;
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

export function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

/** Milliseconds; undefined for the 0 that Vault writes for what never expires. */
export function lifeMs(seconds: number): number | undefined {
  return seconds === 0 ? undefined : seconds * 1000;
}

/** The status of Vault's answer that `error` was made of, if any. */
export function statusOf(error: unknown): unknown {
  return isHkaError(error) ? error.details['status'] : undefined;
}

const OUTAGES = new Set(['HKA_VAULT_UNAVAILABLE', 'HKA_VAULT_SEALED', 'HKA_VAULT_TIMEOUT', 'HKA_VAULT_TLS']);

export function isOutage(error: unknown): boolean {
  return isHkaError(error) && OUTAGES.has(error.code);
}

/** An outage stays what it is; anything else is a failed log-in, which is no answer about any secret. */
export function loginError(what: string, error: unknown, details: Record<string, unknown> = {}): HkaError {
  if (isHkaError(error) && (isOutage(error) || error.code === 'HKA_VAULT_LOGIN')) return error;
  return new HkaError('HKA_VAULT_LOGIN', `Vault refused ${what}: ${messageOf(error)}`, { details });
}
