/**
 * Ways to get a token from Vault, one to a file of src/vault/auth/. A way to log in knows where its credentials are and how
 * to trade them for a token; keeping the token alive is src/vault/session.ts's part, for all of them alike.
 */
import { HkaError } from '../lib/errors.ts';
import { AppRole, type AppRoleConfig } from './auth/approle.ts';
import { CertLogin, type CertConfig } from './auth/cert.ts';
import { JwtLogin, type JwtConfig } from './auth/jwt.ts';
import type { LoginMethod } from './auth/method.ts';
import { TokenFile } from './auth/token.ts';
import type { ClientCertificate } from './client-certificate.ts';

export interface TokenFileConfig {
  readonly method: 'token';
  /** Mode 0600 or stricter. */
  readonly tokenFile: string;
}

export type AuthConfig = (TokenFileConfig | AppRoleConfig | JwtConfig | CertConfig) & {
  /** Where the log-in takes place and the token belongs, when it is another than that of the secrets; `root` for none. */
  readonly namespace?: string;
};

/** `certificate`: what the connection shows. Throws HKA_CONFIG_INVALID when the method needs one and there is none. */
export function createLoginMethod(config: AuthConfig, certificate?: ClientCertificate): LoginMethod {
  switch (config.method) {
    case 'token':
      return new TokenFile(config.tokenFile);
    case 'approle':
      return new AppRole(config);
    case 'kubernetes':
    case 'jwt':
      return new JwtLogin(config);
    case 'cert':
      if (certificate !== undefined) return new CertLogin(config, certificate);
      throw new HkaError(
        'HKA_CONFIG_INVALID',
        'log-in by certificate needs client_cert_file and client_key_file of the connection to Vault',
      );
  }
}
