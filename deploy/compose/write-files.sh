#!/usr/bin/env bash
# `make compose-files`: writes deploy/local for docker-compose.yml. Overwrites nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=deploy/local
if [ -e "$folder/hashed-key-auth.yaml" ]; then
  echo "$folder is there already; remove it to start anew" >&2
  exit 1
fi
umask 077
node bin/hashed-key-auth.js init "$folder" >/dev/null
head -c 32 /dev/urandom | base64 | tr -d '\n=+/' >"$folder/vault-root-token"
# In the container the socket lies on the shared volume, and Kong is in its group.
sed -i \
  -e 's#^  socket: .*#  socket: /run/hashed-key-auth/hashed-key-auth.sock#' \
  -e 's#^  socket_mode: .*#  socket_mode: "0660"\n  socket_group: 65000#' \
  "$folder/hashed-key-auth.yaml"
cat >>"$folder/hashed-key-auth.yaml" <<'YAML'

vault:
  address: https://vault:8200
  ca_file: /vault-tls/vault-ca.pem
  auth:
    method: approle
    role_id: hashed-key-auth
    secret_id_file: /vault-login/secret-id
YAML
mkdir "$folder/vault-tls" "$folder/vault-login"
# The containers run as this user and must own what they read; without root this is left to you.
if [ "$(id -u)" = 0 ]; then
  chown -R 65532:65000 "$folder"
else
  echo "now run: sudo chown -R 65532:65000 $folder" >&2
fi
echo "written: $folder"
