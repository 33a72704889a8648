#!/usr/bin/env bash
# Finds or installs a version of Node beside the one in use, from the npm package that holds its binary for this platform.
# It goes into the cache ($XDG_CACHE_HOME or ~/.cache)/hashed-key-auth/node-VERSION, outside the checkout.
#
#   scripts/node.sh 22          prints the path of a Node 22, whichever is the newest; once installed it is kept
#   scripts/node.sh 22.12.0     prints the path of exactly that one
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

main() {
  local version="${1:-}" platform cache folder
  if [[ ! "$version" =~ ^[0-9]+(\.[0-9]+\.[0-9]+)?$ ]]; then
    say "usage: scripts/node.sh MAJOR | MAJOR.MINOR.PATCH"
    return 2
  fi
  case "$(uname -s) $(uname -m)" in
    'Linux x86_64') platform=linux-x64 ;;
    'Linux aarch64') platform=linux-arm64 ;;
    'Darwin arm64') platform=darwin-arm64 ;;
    'Darwin x86_64') platform=darwin-x64 ;;
    *) say "no npm package has Node for $(uname -s) on $(uname -m)"; return 1 ;;
  esac
  cache="${XDG_CACHE_HOME:-$HOME/.cache}/hashed-key-auth"
  folder="$cache/node-$version"
  if [[ ! -x "$folder/bin/node" ]]; then
    mkdir -p "$cache"
    # Under its final name only when it is whole and runs.
    local making
    making="$(mktemp -d "$cache/.node-$version.XXXXXX")"
    trap "rm -rf '$making'" EXIT
    say "installing node-$platform@$version into $folder"
    npm pack "node-$platform@$version" --silent --pack-destination "$making" >/dev/null
    tar -xzf "$making"/*.tgz -C "$making" package/bin package/LICENSE
    "$making/package/bin/node" --version >&2
    [[ -x "$folder/bin/node" ]] || mv "$making/package" "$folder"
  fi
  printf '%s\n' "$folder/bin/node"
}

main "$@"
