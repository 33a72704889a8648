#!/usr/bin/env bash
# Finds a Vault server for tests and demo, or builds one from the Go proxy, once, into the user's cache.
#
#   scripts/vault.sh                 find or build; exit 1 and say what to install when neither Vault nor Go is there
#   scripts/vault.sh --find          find only; exit 1 when there is none
#   scripts/vault.sh --plugins       find or build the two plugins that tests load into it, and print their folder
#   scripts/vault.sh --find-plugins  find them only; exit 1 when they are not there
#   scripts/vault.sh --if-possible   find or build all of that; exit 0 in any case, and say why when there is none
#
# The last line on stdout is the path of what was asked for; everything else goes to stderr. A Vault is looked for in this
# order: VAULT_BIN (which may name OpenBao's bao), PATH, the cache; plugins in the cache only. Vault's licence (BUSL-1.1) allows
# test use; the binaries are never committed or shipped.
set -euo pipefail

readonly VERSION=1.21.1
readonly CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/hashed-key-auth/vault-$VERSION"
readonly BINARY="$CACHE/vault"
# A folder of nothing else: Vault's -dev-plugin-dir takes every file in it for a plugin.
readonly PLUGINS="$CACHE/plugins"
readonly PLUGIN_PACKAGES=(
  # Kubernetes log-in and PostgreSQL users: not in a Vault built with the tag `minimal`.
  github.com/hashicorp/vault-plugin-auth-kubernetes/cmd/vault-plugin-auth-kubernetes
  github.com/hashicorp/vault/plugins/database/postgresql/postgresql-database-plugin
)

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

# Prints the folder of the plugins when all are there. They reach it by rename, so none is half written.
find_plugins() {
  local package
  for package in "${PLUGIN_PACKAGES[@]}"; do
    [[ -f "$PLUGINS/${package##*/}" && -x "$PLUGINS/${package##*/}" ]] || return 1
  done
  printf '%s\n' "$PLUGINS"
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

tool (
	github.com/hashicorp/vault
$(printf '\t%s\n' "${PLUGIN_PACKAGES[@]}")
)

require github.com/hashicorp/vault v$VERSION

replace github.com/99designs/keyring => github.com/Jeffail/keyring v1.2.3

replace github.com/ma314smith/signedxml v1.1.1 => github.com/moov-io/signedxml v1.1.1
MODULE
}

# One build at a time. The lock is held by this shell's open file, so it ends with the process, however it ends.
lock_cache() {
  mkdir -p "$CACHE"
  exec 9>"$CACHE/.lock"
  if type -P flock >/dev/null && ! flock --nonblock 9; then
    say "another run is building Vault; waiting for it"
    flock 9
  fi
}

# build FOLDER WHAT PACKAGE...: builds packages of our module; each binary is moved into FOLDER when all are built.
build() {
  local folder="$1" what="$2" work started build status=0
  shift 2
  work="$(mktemp -d "$CACHE/build.XXXXXX")"
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  write_module "$work"
  mkdir "$work/out"
  started=$SECONDS
  (
    cd "$work"
    # The same flags for everything, so that what is compiled for Vault is not compiled again for its plugins.
    CGO_ENABLED=0 GOFLAGS=-mod=mod GOWORK=off exec go build -tags minimal -trimpath -ldflags '-s -w' -o out/ "$@"
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
    say "building $what failed after $((SECONDS - started)) s:"
    tail -n 20 "$work/log" >&2
    return 1
  fi
  mkdir -p "$folder"
  mv "$work"/out/* "$folder/"
  rm -rf "$work"
  say "built $what in $((SECONDS - started)) s"
}

build_vault() {
  lock_cache
  works "$BINARY" && return 0
  say "building Vault $VERSION with $(go env GOVERSION): 4 to 5 minutes and half a gigabyte of downloads the first time"
  build "$CACHE" "Vault $VERSION" github.com/hashicorp/vault
}

build_plugins() {
  lock_cache
  find_plugins >/dev/null && return 0
  say "building Vault's plugins for Kubernetes log-in and PostgreSQL with $(go env GOVERSION)"
  build "$PLUGINS" "Vault's plugins" "${PLUGIN_PACKAGES[@]}"
}

# What Go downloaded last, for somebody who waits.
progress() {
  local last
  last="$(grep -oE '^go: downloading [^ ]+' "$1" | tail -n 1 | cut -d ' ' -f 3 || true)"
  [[ -n "$last" ]] && printf ', last downloaded: %s' "$last"
  return 0
}

find_or_build_vault() {
  find_vault && return 0
  local why
  why="$(why_not_buildable)"
  if [[ -z "$why" ]]; then
    if build_vault; then printf '%s\n' "$BINARY"; return 0; fi
    why="building it failed"
  fi
  say "no Vault: $why."
  return 1
}

find_or_build_plugins() {
  find_plugins && return 0
  if ! type -P go >/dev/null; then
    say "no plugins for Vault: there is no Go to build them with (https://go.dev/dl/)."
    return 1
  fi
  if build_plugins; then printf '%s\n' "$PLUGINS"; return 0; fi
  say "no plugins for Vault: building them failed."
  return 1
}

main() {
  case "${1:-}" in
    '') find_or_build_vault ;;
    --find) find_vault ;;
    --plugins) find_or_build_plugins ;;
    --find-plugins) find_plugins ;;
    --if-possible)
      { find_or_build_vault && find_or_build_plugins; } || say "Tests that need what is missing are skipped by name."
      ;;
    *) say "usage: scripts/vault.sh [--find | --plugins | --find-plugins | --if-possible]"; return 2 ;;
  esac
}

main "$@"
