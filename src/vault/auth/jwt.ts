/**
 * Log-in with a signed JWT that the platform keeps in a file and replaces before it expires: Kubernetes' service accounts
 * (Vault asks Kubernetes about the token) and JWT in general (Vault checks the signature).
 * https://developer.hashicorp.com/vault/docs/auth/kubernetes and https://developer.hashicorp.com/vault/docs/auth/jwt
 */
import { HkaError } from '../../lib/errors.ts';
import type { VaultCalls } from '../client.ts';
import { mountedJwt, type CredentialFile } from './files.ts';
import {
  checkMount,
  grantOf,
  loginError,
  loginPath,
  statusOf,
  type Grant,
  type LoginMethod,
} from './method.ts';

/** Where Kubernetes mounts the token of a pod's service account. */
export const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

export interface JwtConfig {
  readonly method: 'kubernetes' | 'jwt';
  readonly mount: string;
  readonly role: string;
  readonly jwtFile: string;
}

export class JwtLogin implements LoginMethod {
  readonly name: 'kubernetes' | 'jwt';
  readonly ownsTokens = true;
  readonly boundToCredentials = false;
  readonly #mount: string;
  readonly #role: string;
  readonly #jwt: CredentialFile;

  constructor({ method, mount, role, jwtFile }: JwtConfig) {
    this.name = method;
    this.#mount = mount;
    this.#role = role;
    this.#jwt = mountedJwt(jwtFile);
  }

  check(): void {
    checkMount(this.#mount, this.name);
    if (this.#role === '') throw new HkaError('HKA_CONFIG_INVALID', `the ${this.name} role is empty`);
    this.#jwt.check();
  }

  changed(): boolean {
    return this.#jwt.changed();
  }

  async login(client: VaultCalls): Promise<Grant> {
    const jwt = this.#jwt.take();
    const path = loginPath(this.#mount);
    try {
      return grantOf(await client.write(path, { role: this.#role, jwt: jwt.reveal() }, { token: undefined }));
    } catch (error) {
      const hint =
        statusOf(error) === 403
          ? ' (nothing is mounted there, or the token or its audience is not what the role wants)'
          : '';
      throw loginError(`the log-in at ${path}${hint}`, error);
    }
  }
}
