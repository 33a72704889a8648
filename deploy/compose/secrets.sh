#!/usr/bin/env bash
# `make secrets [FOLDER]`: everything secret that docker-compose.yml needs, made at random into deploy/local: a CA, server
# certificates, passwords, the pepper, an admin token. What is there already stays; run it again whenever you like.
# Folders 0700, files 0600. Where it runs as root, each file belongs to the user of the container that reads it.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 077
folder="${1:-deploy/local}"
hka() { node bin/hashed-key-auth.js "$@"; }

# One folder for each container: none sees what another one needs.
mkdir -p "$folder"/{ca,postgres,vault,vault-setup,policies,store,kong,admin} "$folder"/vault-login/{gateway,admin}
chmod 700 "$folder"

# make FILE COMMAND…: the command's output, unless the file is there. Never half a file.
make() {
  local file="$folder/$1"
  shift
  [ ! -e "$file" ] || return 0
  "$@" >"$file.new"
  mv "$file.new" "$file"
}
password() { openssl rand -hex 24 | tr -d '\n'; }

certificate_authority() {
  [ ! -e "$folder/ca/ca.pem" ] || return 0
  openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 -subj '/CN=hashed-key-auth compose CA' \
    -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
    -keyout "$folder/ca/ca.key" -out "$folder/ca/ca.pem" 2>/dev/null
}

# server PATH NAME…: a certificate for these names or addresses, two years. It ends: docs/deployment.md.
server() {
  local path="$folder/$1" name names=''
  shift
  [ ! -e "$path.pem" ] || return 0
  for name in "$@"; do
    if [[ "$name" =~ ^[0-9.]+$ ]]; then names+=",IP:$name"; else names+=",DNS:$name"; fi
  done
  openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 730 -subj "/CN=$1" \
    -CA "$folder/ca/ca.pem" -CAkey "$folder/ca/ca.key" \
    -addext "subjectAltName=${names#,}" -addext 'basicConstraints=critical,CA:FALSE' \
    -addext 'keyUsage=critical,digitalSignature' -addext 'extendedKeyUsage=serverAuth' \
    -keyout "$path.key" -out "$path.pem" 2>/dev/null
}

# PostgreSQL is told what a password is verified with (RFC 5803), not the password.
roles() {
  local role
  echo "-- Written by deploy/compose/secrets.sh. Runs once, when the database is made: one role for each program (R7, R12)."
  for role in hashed_key_auth_owner:store/owner-password hashed_key_auth_gateway:store/gateway-password \
    hashed_key_auth_admin:store/admin-password kong:kong/pg-password; do
    echo "create role ${role%%:*} login password '$(node deploy/compose/scram.mjs <"$folder/${role#*:}")';"
  done
  cat <<'SQL'
create database hashed_key_auth owner hashed_key_auth_owner;
create database kong owner kong;
revoke all on database hashed_key_auth, kong from public;
grant connect on database hashed_key_auth to hashed_key_auth_gateway, hashed_key_auth_admin;
SQL
}

passwords_file() {
  printf 'postgres:5432:hashed_key_auth:hashed_key_auth_owner:%s\n' "$(cat "$folder/store/owner-password")"
}

# Both planes of a hybrid Kong show the same certificate, and trust it alone.
cluster_certificate() {
  [ ! -e "$folder/kong/cluster.pem" ] || return 0
  openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -noenc -days 1095 -subj '/CN=kong_clustering' \
    -keyout "$folder/kong/cluster.key" -out "$folder/kong/cluster.pem" 2>/dev/null
}

# The first pepper and an admin token that is hashed with it, by a configuration that only this needs. Once: when the pepper
# lies in Vault, its file may be moved away, and a second one would make every key useless.
pepper_and_token() {
  [ ! -e "$folder/admin/tokens" ] || return 0
  local work
  work="$(mktemp -d)"
  hka init "$work/init" >/dev/null
  hka admin-token create --name operator --role admin --json --config "$work/init/hashed-key-auth.yaml" \
    >"$work/token" 2>/dev/null
  node -e 'process.stdout.write(JSON.parse(require("fs").readFileSync(0)).token + "\n")' <"$work/token" >"$folder/admin-token"
  mv "$work/init/pepper" "$folder/vault-setup/pepper"
  # Last: with it the rest is there.
  node -e 'process.stdout.write(JSON.stringify(JSON.parse(require("fs").readFileSync(0)).entry) + "\n")' \
    <"$work/token" >"$work/entry"
  mv "$work/entry" "$folder/admin/tokens"
  rm -r "$work"
}

certificate_authority
server postgres/server postgres
server vault/server vault 127.0.0.1
server admin/server admin 172.30.65.3
cluster_certificate
make postgres/superuser-password password
make store/owner-password password
make store/gateway-password password
make store/admin-password password
make kong/pg-password password
make postgres/10-roles.sql roles
make store/pgpass passwords_file
pepper_and_token

# Not secret, and made anew each time, from the configurations and kong.yml.
{ cat deploy/compose/config/admin.yaml && echo "  tokens: [$(paste -sd, "$folder/admin/tokens")]"; } >"$folder/admin/admin.yaml"
hka vault policy --service gateway --config deploy/compose/config/gateway.yaml --kong kong.yml >"$folder/policies/gateway.hcl"
hka vault policy --service admin --config "$folder/admin/admin.yaml" >"$folder/policies/admin.hcl"
hka db roles --config deploy/compose/config/owner.yaml >"$folder/store/grants.sql"

chmod 644 "$folder/ca/ca.pem" "$folder"/{postgres,vault,admin,kong}/*.pem
if [ "$(id -u)" = 0 ]; then
  chown -R 65532:65000 "$folder"/{vault-setup,vault-login,policies,store,admin}
  chown -R 999:999 "$folder/postgres"
  chown -R 100:1000 "$folder/vault"
  chown -R 1000:1000 "$folder/kong"
else
  echo "now run 'sudo make secrets': each file must belong to the user of the container that reads it" >&2
fi
echo "secrets are in $folder; back up ca/ and vault-setup/ elsewhere, and keep all of it out of Git"
