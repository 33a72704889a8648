#!/bin/sh
# Initialises Vault once, unseals it at each start, and sets it up once: KV, pepper, policies, a log-in for each service.
# Then the root token is revoked. The key shares stay in /vault-setup (deploy/local/vault-setup, 0600): good for a trial,
# wrong for production, where a KMS unseals or several people hold a share each (docs/deployment.md).
# No secret is an argument of a command: all of them come on standard input or from files.
set -eu
umask 077
keys=/vault-setup
login=/vault-login

say() { echo "vault-setup: $*"; }
fail() { say "$*" >&2; exit 1; }

# 0: unsealed, 2: sealed, 1: no answer.
state() { vault status >/dev/null 2>&1 && echo 0 || echo $?; }

tries=0
while [ "$(state)" = 1 ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 60 ] || fail "Vault does not answer at $VAULT_ADDR"
  sleep 1
done

initialised=0
vault operator init -status >/dev/null 2>&1 || initialised=$?
if [ "$initialised" = 2 ]; then
  # An earlier one belongs to a Vault whose storage is gone.
  [ ! -e "$keys/init" ] || fail "$keys/init is there, but Vault is new: move it away"
  vault operator init -key-shares=5 -key-threshold=3 >"$keys/init.new"
  mv "$keys/init.new" "$keys/init"
  say "initialised; the key shares are in deploy/local/vault-setup/init. Give them to five people, and remove the file"
fi

if [ "$(state)" = 2 ]; then
  [ -r "$keys/init" ] || fail "Vault is sealed and there are no key shares here: unseal it with 'vault operator unseal'"
  for share in 1 2 3; do
    sed -n "s/^Unseal Key $share: //p" "$keys/init" | tr -d '\n' | vault write sys/unseal key=- >/dev/null
  done
  say "unsealed"
fi

root="$(sed -n 's/^Initial Root Token: //p' "$keys/init" 2>/dev/null || true)"
if [ -z "$root" ]; then
  say "set up already"
  exit 0
fi
VAULT_TOKEN="$root"
export VAULT_TOKEN

# A node that was unsealed just now has still to become the active one.
tries=0
until vault token lookup >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 60 ] || fail "Vault does not become active"
  sleep 1
done

enabled() { vault "$1" list 2>/dev/null | grep -q "^$2/"; }
enabled audit stdout || vault audit enable -path=stdout file file_path=stdout >/dev/null
enabled secrets secret || vault secrets enable -path=secret -version=2 kv >/dev/null
enabled auth approle || vault auth enable approle >/dev/null

# Written only where there is nothing: -cas=0. A pepper that is replaced makes every key useless.
tries=0
until vault kv metadata get -mount=secret hashed-key-auth/pepper >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 30 ] || fail "the pepper can't be written to Vault"
  [ -r "$keys/pepper" ] || fail "there is no pepper, neither in Vault nor in deploy/local/vault-setup"
  # The engine has still to become ready, at first.
  tr -d '\n' <"$keys/pepper" | vault kv put -mount=secret -cas=0 hashed-key-auth/pepper current=1 1=- >/dev/null 2>&1 || sleep 1
done

random() { head -c 24 /dev/urandom | base64 | tr -d '\n'; }
random | vault kv put -mount=secret demo/orders token=- >/dev/null
random | vault kv put -mount=secret demo/partners/alice token=- >/dev/null
random | vault kv put -mount=secret demo/billing username=orders password=- >/dev/null

for service in gateway admin; do
  vault policy write "hashed-key-auth-$service" "/policies/$service.hcl" >/dev/null
  role="auth/approle/role/hashed-key-auth-$service"
  vault write "$role" token_policies="hashed-key-auth-$service" token_ttl=1h token_max_ttl=24h >/dev/null
  # Fixed, so that the configuration can name it; it is no secret.
  vault write "$role/role-id" role_id="hashed-key-auth-$service" >/dev/null
  vault write -f -field=secret_id "$role/secret-id" >"$login/$service/secret-id.new"
  mv "$login/$service/secret-id.new" "$login/$service/secret-id"
done

vault token revoke -self >/dev/null
sed '/^Initial Root Token: /d' "$keys/init" >"$keys/init.new"
mv "$keys/init.new" "$keys/init"
say "set up; the root token is revoked"
