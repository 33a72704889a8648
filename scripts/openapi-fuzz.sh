#!/usr/bin/env bash
# Runs schemathesis (from PyPI, in a cached environment of its own) against a running admin service: no request that its
# OpenAPI description allows may be answered with a server error, or with anything off that description.
#
#   scripts/openapi-fuzz.sh [examples for each operation, default 100]
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VERSION=4.32.5
readonly CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/hashed-key-auth/schemathesis-$VERSION"
readonly CLI=(node bin/hashed-key-auth.js)

if [[ ! -x "$CACHE/bin/schemathesis" ]]; then
  python3 -m venv "$CACHE"
  "$CACHE/bin/pip" install --quiet "schemathesis==$VERSION"
fi

work="$(mktemp -d)"
pid=''
trap '[[ -n "$pid" ]] && kill "$pid" 2>/dev/null; rm -rf "$work"' EXIT
port=$((20000 + RANDOM % 20000))
config="$work/hashed-key-auth.yaml"
"${CLI[@]}" init "$work" >/dev/null
"${CLI[@]}" admin-token create --name fuzz --role admin --json --config "$config" >"$work/token.json"
chmod 600 "$work/token.json"
node -e '
  const fs = require("node:fs");
  const [work, port] = process.argv.slice(1);
  const { token, entry } = JSON.parse(fs.readFileSync(`${work}/token.json`, "utf8"));
  const admin = { listen: `127.0.0.1:${port}`, rate_limit_per_second: 100000, tokens: [entry] };
  fs.appendFileSync(`${work}/hashed-key-auth.yaml`, `admin: ${JSON.stringify(admin)}\n`);
  fs.writeFileSync(`${work}/schemathesis.toml`, `[headers]\nAuthorization = "Bearer ${token}"\n`, { mode: 0o600 });
' "$work" "$port"
"${CLI[@]}" admin --config "$config" 2>"$work/admin.log" &
pid=$!
until grep -q '"listening"' "$work/admin.log"; do
  kill -0 "$pid" || { cat "$work/admin.log" >&2; exit 1; }
  sleep 0.1
done
# The token is in the configuration file, not in an argument that others could see.
"$CACHE/bin/schemathesis" --config-file "$work/schemathesis.toml" run "http://127.0.0.1:$port/openapi.json" \
  --max-examples "${1:-100}" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance
