/**
 * Log-in by the TLS client certificate that the connection shows. Tokens got so are bound to it: Vault wants the same one
 * for a renewal. https://developer.hashicorp.com/vault/docs/auth/cert
 */
import type { VaultCalls } from '../client.ts';
import type { ClientCertificate } from '../client-certificate.ts';
import {
  checkMount,
  grantOf,
  loginError,
  loginPath,
  statusOf,
  type Grant,
  type LoginMethod,
} from './method.ts';

export interface CertConfig {
  readonly method: 'cert';
  readonly mount: string;
  /** One role to be judged by; Vault tries all when it is not given. */
  readonly role?: string;
}

export class CertLogin implements LoginMethod {
  readonly name = 'cert';
  readonly ownsTokens = true;
  readonly boundToCredentials = true;
  readonly #mount: string;
  readonly #role: string | undefined;
  readonly #certificate: ClientCertificate;
  #tried: string | undefined;

  constructor({ mount, role }: CertConfig, certificate: ClientCertificate) {
    this.#mount = mount;
    this.#role = role;
    this.#certificate = certificate;
  }

  check(): void {
    checkMount(this.#mount, 'TLS certificate');
    this.#certificate.check();
  }

  changed(): boolean {
    return this.#certificate.current().fingerprint !== this.#tried;
  }

  async login(client: VaultCalls): Promise<Grant> {
    const path = loginPath(this.#mount);
    // The log-in goes over a connection of its own, which shows what the files hold now.
    this.#tried = this.#certificate.current().fingerprint;
    try {
      return grantOf(
        await client.write(path, this.#role === undefined ? {} : { name: this.#role }, { token: undefined }),
      );
    } catch (error) {
      const hint = statusOf(error) === 403 ? ' (nothing is mounted there)' : '';
      throw loginError(`the log-in at ${path}${hint}`, error);
    }
  }
}
