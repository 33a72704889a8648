/** A real Vault with a secret for the upstream, an AppRole that may read only it, and the configuration that names both. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { VaultServer } from './vault-server.ts';

export const SECRET_PATH = 'secret/data/orders/backend';
export const SECRET_REFERENCE = 'vault://secret/orders/backend#token';

export interface VaultFixture {
  readonly roleId: string;
  readonly secretId: string;
  /** Lines for hashed-key-auth.yaml. */
  readonly configuration: readonly string[];
}

/** `address` is where the plugin server shall look: Vault itself or a proxy before it. */
export async function prepareVault(
  vault: VaultServer,
  address: string,
  folder: string,
  options: { token: string; staleIfErrorSeconds?: number },
): Promise<VaultFixture> {
  await vault.root('POST', SECRET_PATH, {
    data: { token: options.token, number: 5, lines: 'a\r\nX-Injected: 1' },
  });
  await vault.root('PUT', 'sys/policies/acl/gateway', {
    policy: [
      `path "${SECRET_PATH}" { capabilities = ["read"] }`,
      'path "sys/internal/ui/mounts/*" { capabilities = ["read"] }',
    ].join('\n'),
  });
  await vault.root('POST', 'sys/auth/approle', { type: 'approle' });
  await vault.root('POST', 'auth/approle/role/gateway', { token_policies: 'gateway', token_ttl: '1h' });
  const role = (await vault.root('GET', 'auth/approle/role/gateway/role-id')) as {
    data: { role_id: string };
  };
  const secret = (await vault.root('POST', 'auth/approle/role/gateway/secret-id')) as {
    data: { secret_id: string };
  };
  writeFileSync(join(folder, 'secret-id'), secret.data.secret_id, { mode: 0o600 });
  return {
    roleId: role.data.role_id,
    secretId: secret.data.secret_id,
    configuration: [
      'vault:',
      `  address: ${address}`,
      '  timeout_ms: 1000',
      '  auth:',
      '    method: approle',
      `    role_id: ${role.data.role_id}`,
      '    secret_id_file: secret-id',
      '  secrets:',
      '    fresh_seconds: 1',
      '    revalidate_seconds: 0',
      `    stale_if_error_seconds: ${options.staleIfErrorSeconds ?? 3600}`,
    ],
  };
}
