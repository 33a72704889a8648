/**
 * AppRole: a role id, which is no secret, and a secret id from a file, plain or wrapped.
 * https://developer.hashicorp.com/vault/docs/auth/approle
 */
import { HkaError } from '../../lib/errors.ts';
import type { Secret } from '../../lib/secret.ts';
import type { VaultCalls } from '../client.ts';
import { privateCredential } from './files.ts';
import {
  checkMount,
  grantOf,
  loginError,
  loginPath,
  statusOf,
  type Grant,
  type LoginMethod,
} from './method.ts';
import { WrappedSecretId } from './wrapped-secret-id.ts';

/** Where the secret id comes from. */
interface SecretIdSource {
  check(): void;
  /** Rejects as LoginMethod.login does. */
  take(client: VaultCalls): Promise<Secret> | Secret;
  inspect?(client: VaultCalls): Promise<string>;
  changed(): boolean;
}

export interface AppRoleConfig {
  readonly method: 'approle';
  /** Where the method is mounted, such as `approle`. */
  readonly mount: string;
  readonly roleId: string;
  /** Mode 0600 or stricter. */
  readonly secretIdFile: string;
  /** The file holds a wrapping token, whose one unwrapping gives the secret id. */
  readonly secretIdWrapped?: boolean;
  /** The role's name, which a wrapped secret id must have been made for; any role of the mount when it is not given. */
  readonly role?: string;
}

export class AppRole implements LoginMethod {
  readonly name = 'approle';
  readonly ownsTokens = true;
  readonly boundToCredentials = false;
  readonly inspect?: (client: VaultCalls) => Promise<string>;
  readonly #mount: string;
  readonly #roleId: string;
  readonly #secretId: SecretIdSource;

  constructor({ mount, roleId, secretIdFile, secretIdWrapped, role }: AppRoleConfig) {
    this.#mount = mount;
    this.#roleId = roleId;
    if (secretIdWrapped === true) {
      const wrapped = new WrappedSecretId(secretIdFile, mount, role);
      this.#secretId = wrapped;
      this.inspect = (client) => wrapped.inspect(client);
    } else this.#secretId = privateCredential(secretIdFile, 'the AppRole secret id file');
  }

  check(): void {
    checkMount(this.#mount, 'AppRole');
    if (this.#roleId === '') throw new HkaError('HKA_CONFIG_INVALID', 'the AppRole role id is empty');
    this.#secretId.check();
  }

  changed(): boolean {
    return this.#secretId.changed();
  }

  async login(client: VaultCalls): Promise<Grant> {
    const secretId = await this.#secretId.take(client);
    const path = loginPath(this.#mount);
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
      throw loginError(`the log-in at ${path}${hint}`, error);
    }
  }
}
