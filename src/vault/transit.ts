/**
 * HMAC-SHA256 under a key of Vault's Transit engine that never leaves it.
 * https://developer.hashicorp.com/vault/api-docs/secret/transit#generate-hmac
 *
 * Invariants: always the version of the key that was asked for, so that a rotation in Vault changes no result; while Vault is
 * out of reach it is asked now and then, and in between calls fail at once.
 */
import type { Clock } from '../lib/clock.ts';
import { HkaError, isHkaError, toHkaError } from '../lib/errors.ts';
import type { Secret } from '../lib/secret.ts';
import type { OutageBreaker } from './breaker.ts';
import type { VaultBody, VaultClient } from './client.ts';
import { isAnswer } from './outage.ts';
import { encodePath } from './reference.ts';
import type { VaultSession } from './session.ts';
import { isObject } from './transport.ts';

/** How long an answer that is no result stands. */
const REFUSED_MS = 1000;

export interface TransitPlace {
  readonly mount: string;
  readonly key: string;
}

export class VaultTransit {
  /** For messages. */
  readonly place: string;
  readonly #mount: readonly string[];
  readonly #key: string;
  readonly #client: VaultClient;
  readonly #session: VaultSession;
  readonly #breaker: OutageBreaker;
  readonly #clock: Clock;
  /** The last answer that was no result, by the path that it was for. */
  readonly #refusals = new Map<string, { readonly error: HkaError; readonly until: number }>();

  constructor(
    { mount, key }: TransitPlace,
    client: VaultClient,
    session: VaultSession,
    breaker: OutageBreaker,
    clock: Clock,
  ) {
    this.#clock = clock;
    this.#mount = mount.split('/');
    this.#key = key;
    this.place = `${mount}/keys/${key}`;
    this.#client = client;
    this.#session = session;
    this.#breaker = breaker;
  }

  /** 32 bytes. Rejects with HKA_VAULT_*, which shows neither input nor result. */
  async hmac(input: Buffer, keyVersion: number): Promise<Buffer> {
    const path = [...this.#mount, 'hmac', this.#key, 'sha2-256'];
    const data = { input: input.toString('base64'), key_version: keyVersion };
    const body = await this.#call('update', path, (token) =>
      this.#client.write(encodePath(path), data, { token }),
    );
    const text = isObject(body['data']) ? body['data']['hmac'] : undefined;
    const prefix = `vault:v${keyVersion}:`;
    const bytes =
      typeof text === 'string' && text.startsWith(prefix)
        ? Buffer.from(text.slice(prefix.length), 'base64')
        : undefined;
    if (bytes?.length === 32) return bytes;
    throw new HkaError(
      'HKA_VAULT_MALFORMED',
      `${this.place}: the answer is not an HMAC-SHA256 under version ${keyVersion} of the key`,
    );
  }

  /** The newest version of the key. */
  async latestVersion(): Promise<number> {
    const path = [...this.#mount, 'keys', this.#key];
    const { data } = await this.#call('read', path, (token) =>
      this.#client.read(encodePath(path), { token }),
    );
    const latest = isObject(data) ? data['latest_version'] : undefined;
    if (typeof latest === 'number') return latest;
    throw new HkaError('HKA_VAULT_MALFORMED', `${this.place}: the answer does not say the latest version`);
  }

  /** Adds a version to the key. Those before it stay as they are. */
  async rotate(): Promise<void> {
    const path = [...this.#mount, 'keys', this.#key, 'rotate'];
    await this.#call('update', path, (token) => this.#client.write(encodePath(path), {}, { token }));
  }

  async #call(
    capability: string,
    path: readonly string[],
    call: (token: Secret) => Promise<VaultBody>,
  ): Promise<VaultBody> {
    const name = path.join('/');
    const refusal = this.#refusals.get(name);
    if (refusal !== undefined && this.#clock.now() < refusal.until) throw refusal.error;
    if (!this.#breaker.tryEnter()) {
      throw (
        this.#breaker.error ?? new HkaError('HKA_VAULT_UNAVAILABLE', `${this.place}: Vault is not asked now`)
      );
    }
    try {
      const body = await this.#session.run(call);
      this.#breaker.succeeded();
      this.#refusals.delete(name);
      return body;
    } catch (error) {
      const fault = toHkaError(error);
      if (isAnswer(fault)) this.#breaker.succeeded();
      else this.#breaker.failed(fault);
      if (!isHkaError(error)) throw error;
      const hint =
        error.code === 'HKA_VAULT_FORBIDDEN'
          ? `: the token's policy has to grant ${capability} on "${name}"`
          : '';
      const told = new HkaError(error.code, `${this.place}: ${error.message}${hint}`, {
        details: error.details,
      });
      // Every key that is presented would ask again.
      if (isAnswer(fault)) this.#refusals.set(name, { error: told, until: this.#clock.now() + REFUSED_MS });
      throw told;
    }
  }
}
