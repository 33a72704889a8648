#!/bin/sh
# Runs in Vault's image, once: the demo secrets, a policy that reads only them, and an AppRole for the plugin server.
set -eu
umask 077
VAULT_TOKEN="$(cat /run/secrets/vault_root_token)"
export VAULT_TOKEN

random() { head -c 24 /dev/urandom | base64; }
vault kv put -mount=secret demo/orders token="$(random)" >/dev/null
vault kv put -mount=secret demo/partners/alice token="$(random)" >/dev/null
vault kv put -mount=secret demo/billing username=orders password="$(random)" >/dev/null
vault policy write hashed-key-auth - <<'POLICY' >/dev/null
path "secret/data/demo/orders" { capabilities = ["read"] }
path "secret/data/demo/partners/*" { capabilities = ["read"] }
path "secret/data/demo/billing" { capabilities = ["read"] }
path "sys/internal/ui/mounts/*" { capabilities = ["read"] }
POLICY
vault auth enable approle >/dev/null 2>&1 || true
vault write auth/approle/role/hashed-key-auth token_policies=hashed-key-auth token_ttl=1h token_max_ttl=24h >/dev/null
# The role id is fixed, so that the configuration can name it; it is no secret.
vault write auth/approle/role/hashed-key-auth/role-id role_id=hashed-key-auth >/dev/null
vault write -f -field=secret_id auth/approle/role/hashed-key-auth/secret-id >/vault-login/secret-id
echo "Vault is set up"
