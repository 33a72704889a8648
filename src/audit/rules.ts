/** Every rule, in the order of the requirements. A test holds that no file of rules/ is missing here. */
import { rule as r1KeyAuthPlain } from './rules/R1-key-auth-plain.ts';
import { rule as r1KeyAuthPlugin } from './rules/R1-key-auth-plugin.ts';
import { rule as r1BasicAuthPlain } from './rules/R1-basic-auth-plain.ts';
import { rule as r1HmacSecretPlain } from './rules/R1-hmac-secret-plain.ts';
import { rule as r1JwtSecretPlain } from './rules/R1-jwt-secret-plain.ts';
import { rule as r1OwnRehashOff } from './rules/R1-own-rehash-off.ts';
import { rule as r2KeyAuthEnc } from './rules/R2-key-auth-enc.ts';
import { rule as r3PluginSecretPlain } from './rules/R3-plugin-secret-plain.ts';
import { rule as r3PrivateKeyPlain } from './rules/R3-private-key-plain.ts';
import { rule as r3EnvVault } from './rules/R3-env-vault.ts';
import { rule as r3EnvironmentSecretPlain } from './rules/R3-environment-secret-plain.ts';
import { rule as r3ConfSecretPlain } from './rules/R3-conf-secret-plain.ts';
import { rule as r3KubernetesSecretInFile } from './rules/R3-kubernetes-secret-in-file.ts';
import { rule as r3OwnPlainHttp } from './rules/R3-own-plain-http.ts';
import { rule as r4FieldNotReferenceable } from './rules/R4-field-not-referenceable.ts';
import { rule as r4FieldNotEncrypted } from './rules/R4-field-not-encrypted.ts';
import { rule as r5AdminListenPublic } from './rules/R5-admin-listen-public.ts';
import { rule as r5AdminGuiListenPublic } from './rules/R5-admin-gui-listen-public.ts';
import { rule as r5StatusListenPublic } from './rules/R5-status-listen-public.ts';
import { rule as r5AdminPortPublished } from './rules/R5-admin-port-published.ts';
import { rule as r5HostNetwork } from './rules/R5-host-network.ts';
import { rule as r5OwnAdminPublic } from './rules/R5-own-admin-public.ts';
import { rule as r5OwnSocketOpen } from './rules/R5-own-socket-open.ts';
import { rule as r6AdminRouteOpen } from './rules/R6-admin-route-open.ts';
import { rule as r6AdminRouteNoAcl } from './rules/R6-admin-route-no-acl.ts';
import { rule as r6AdminApiOpen } from './rules/R6-admin-api-open.ts';
import { rule as r6RbacOff } from './rules/R6-rbac-off.ts';
import { rule as r7WeakPassword } from './rules/R7-weak-password.ts';
import { rule as r7PostgresTrust } from './rules/R7-postgres-trust.ts';
import { rule as r7PgSslOff } from './rules/R7-pg-ssl-off.ts';
import { rule as r7PgSslVerifyOff } from './rules/R7-pg-ssl-verify-off.ts';
import { rule as r7PgSuperuser } from './rules/R7-pg-superuser.ts';
import { rule as r7PostgresPortPublished } from './rules/R7-postgres-port-published.ts';
import { rule as r7OwnStoreNoTls } from './rules/R7-own-store-no-tls.ts';
import { rule as r8TrustedIpsAll } from './rules/R8-trusted-ips-all.ts';
import { rule as r8IpRestrictionAll } from './rules/R8-ip-restriction-all.ts';
import { rule as r8AdminRouteNoAllowList } from './rules/R8-admin-route-no-allow-list.ts';
import { rule as r9HideCredentialsOff } from './rules/R9-hide-credentials-off.ts';
import { rule as r9Anonymous } from './rules/R9-anonymous.ts';
import { rule as r9OwnThrottleOff } from './rules/R9-own-throttle-off.ts';
import { rule as r10ServerlessPlugin } from './rules/R10-serverless-plugin.ts';
import { rule as r10UntrustedLuaOn } from './rules/R10-untrusted-lua-on.ts';
import { rule as r10SandboxWidened } from './rules/R10-sandbox-widened.ts';
import { rule as r10KongUnsupported } from './rules/R10-kong-unsupported.ts';
import { rule as r10KongUnpinned } from './rules/R10-kong-unpinned.ts';
import { rule as r10PluginServerFailsOpen } from './rules/R10-plugin-server-fails-open.ts';
import { rule as r11Oauth2TokensPlain } from './rules/R11-oauth2-tokens-plain.ts';
import { rule as r11Oauth2SecretUnhashed } from './rules/R11-oauth2-secret-unhashed.ts';
import { rule as r11RedirectHttp } from './rules/R11-redirect-http.ts';
import { rule as r11Oauth2WeakGrants } from './rules/R11-oauth2-weak-grants.ts';
import { rule as r12OneVaultToken } from './rules/R12-one-vault-token.ts';
import { rule as r12VaultDevMode } from './rules/R12-vault-dev-mode.ts';
import { rule as r12PepperBesideStore } from './rules/R12-pepper-beside-store.ts';
import { rule as r12AdminInGateway } from './rules/R12-admin-in-gateway.ts';
import { rule as r13HybridPluginMissing } from './rules/R13-hybrid-plugin-missing.ts';
import { rule as r13DataPlaneAdmin } from './rules/R13-data-plane-admin.ts';
import type { Rule } from './rule.ts';

export const RULES: readonly Rule[] = [
  r1KeyAuthPlain,
  r1KeyAuthPlugin,
  r1BasicAuthPlain,
  r1HmacSecretPlain,
  r1JwtSecretPlain,
  r1OwnRehashOff,
  r2KeyAuthEnc,
  r3PluginSecretPlain,
  r3PrivateKeyPlain,
  r3EnvVault,
  r3EnvironmentSecretPlain,
  r3ConfSecretPlain,
  r3KubernetesSecretInFile,
  r3OwnPlainHttp,
  r4FieldNotReferenceable,
  r4FieldNotEncrypted,
  r5AdminListenPublic,
  r5AdminGuiListenPublic,
  r5StatusListenPublic,
  r5AdminPortPublished,
  r5HostNetwork,
  r5OwnAdminPublic,
  r5OwnSocketOpen,
  r6AdminRouteOpen,
  r6AdminRouteNoAcl,
  r6AdminApiOpen,
  r6RbacOff,
  r7WeakPassword,
  r7PostgresTrust,
  r7PgSslOff,
  r7PgSslVerifyOff,
  r7PgSuperuser,
  r7PostgresPortPublished,
  r7OwnStoreNoTls,
  r8TrustedIpsAll,
  r8IpRestrictionAll,
  r8AdminRouteNoAllowList,
  r9HideCredentialsOff,
  r9Anonymous,
  r9OwnThrottleOff,
  r10ServerlessPlugin,
  r10UntrustedLuaOn,
  r10SandboxWidened,
  r10KongUnsupported,
  r10KongUnpinned,
  r10PluginServerFailsOpen,
  r11Oauth2TokensPlain,
  r11Oauth2SecretUnhashed,
  r11RedirectHttp,
  r11Oauth2WeakGrants,
  r12OneVaultToken,
  r12VaultDevMode,
  r12PepperBesideStore,
  r12AdminInGateway,
  r13HybridPluginMissing,
  r13DataPlaneAdmin,
];
