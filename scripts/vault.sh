#!/usr/bin/env bash
# Finds a Vault server for tests and demo, or builds one from the Go proxy, once, into the user's cache.
#
#   scripts/vault.sh                 find or build; exit 1 and say what to install when neither Vault nor Go is there
#   scripts/vault.sh --find          find only; exit 1 when there is none
#   scripts/vault.sh --if-possible   find or build; exit 0 in any case, and say why when there is none
#
# The last line on stdout is the path of the binary; everything else goes to stderr. Looked for in this order: VAULT_BIN,
# PATH, the cache. Vault's licence (BUSL-1.1) allows test use; the binary is never committed or shipped.
set -euo pipefail

readonly VERSION=1.21.1
readonly CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/hashed-key-auth/vault-$VERSION"
readonly BINARY="$CACHE/vault"

say() { printf '%s\n' "$*" >&2; }

works() { [[ -f "$1" && -x "$1" ]] && "$1" version >/dev/null 2>&1; }

# Prints the path of a Vault that runs. A VAULT_BIN that does not is a mistake to be told, not to be passed over.
find_vault() {
  if [[ -n "${VAULT_BIN:-}" ]]; then
    works "$VAULT_BIN" && { printf '%s\n' "$VAULT_BIN"; return 0; }
    say "VAULT_BIN is set to $VAULT_BIN, which is not a Vault that runs"
    return 1
  fi
  local on_path
  if on_path="$(type -P vault)" && works "$on_path"; then printf '%s\n' "$on_path"; return 0; fi
  if works "$BINARY"; then printf '%s\n' "$BINARY"; return 0; fi
  return 1
}

# Why no Vault can be built here; empty when it can.
why_not_buildable() {
  if [[ -n "${VAULT_BIN:-}" ]]; then
    echo "VAULT_BIN names no Vault that runs: correct it, or unset it"
  elif ! type -P go >/dev/null; then
    echo "there is neither Vault nor Go: install Go 1.21 or later (https://go.dev/dl/), or Vault and put it on PATH or into VAULT_BIN"
  fi
}

# Vault can't be had with `go install` (its go.mod has replace directives). A module of ours that names it as a tool, with
# the same two replacements and Vault's own build tag `minimal`, builds.
write_module() {
  cat >"$1/go.mod" <<MODULE
module hashed-key-auth.test/vault

go 1.25.3

tool github.com/hashicorp/vault

require github.com/hashicorp/vault v$VERSION

replace github.com/99designs/keyring => github.com/Jeffail/keyring v1.2.3

replace github.com/ma314smith/signedxml v1.1.1 => github.com/moov-io/signedxml v1.1.1
MODULE
}

build_vault() {
  mkdir -p "$CACHE"
  # One build at a time. The lock is held by this shell's open file, so it ends with the process, however it ends.
  exec 9>"$CACHE/.lock"
  if type -P flock >/dev/null && ! flock --nonblock 9; then
    say "another run is building Vault; waiting for it"
    flock 9
  fi
  works "$BINARY" && return 0

  local work started build status=0
  work="$(mktemp -d "$CACHE/build.XXXXXX")"
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  write_module "$work"
  say "building Vault $VERSION with $(go env GOVERSION): 4 to 5 minutes and half a gigabyte of downloads the first time"
  started=$SECONDS
  (
    cd "$work"
    CGO_ENABLED=0 GOFLAGS=-mod=mod GOWORK=off exec go build -tags minimal -trimpath -ldflags '-s -w' \
      -o vault github.com/hashicorp/vault
  ) >"$work/log" 2>&1 9>&- &
  build=$!
  # shellcheck disable=SC2064
  trap "kill $build 2>/dev/null || true; rm -rf '$work'" EXIT
  local ticks=0
  while kill -0 "$build" 2>/dev/null; do
    sleep 0.5
    ticks=$((ticks + 1))
    ((ticks % 20 == 0)) && say "  … $((SECONDS - started)) s$(progress "$work/log")"
  done
  wait "$build" || status=$?
  if ((status != 0)); then
    say "building Vault failed after $((SECONDS - started)) s:"
    tail -n 20 "$work/log" >&2
    return 1
  fi
  mv "$work/vault" "$BINARY"
  say "built Vault $VERSION in $((SECONDS - started)) s"
}

# What Go downloaded last, for somebody who waits.
progress() {
  local last
  last="$(grep -oE '^go: downloading [^ ]+' "$1" | tail -n 1 | cut -d ' ' -f 3 || true)"
  [[ -n "$last" ]] && printf ', last downloaded: %s' "$last"
  return 0
}

main() {
  local mode="${1:-}" why
  case "$mode" in
    '' | --if-possible) ;;
    --find) find_vault; return ;;
    *) say "usage: scripts/vault.sh [--find | --if-possible]"; return 2 ;;
  esac
  find_vault && return 0
  why="$(why_not_buildable)"
  if [[ -z "$why" ]]; then
    if build_vault; then printf '%s\n' "$BINARY"; return 0; fi
    why="building it failed"
  fi
  if [[ "$mode" == --if-possible ]]; then
    say "no Vault: $why. Tests that need one are skipped by name."
    return 0
  fi
  say "no Vault: $why."
  return 1
}

main "$@"
