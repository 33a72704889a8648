#!/usr/bin/env bash
# Finds PostgreSQL's server programs for the tests, or installs Debian's package (as root). No cluster of the system's is made
# or started: the tests start their own, in temporary folders.
#
#   scripts/postgres.sh                 find or install; exit 1 and say what to install when neither works
#   scripts/postgres.sh --find          find only; exit 1 when there is none
#   scripts/postgres.sh --if-possible   find or install; exit 0 in any case, and say why when there is none
#
# The last line on stdout is the folder of the programs; everything else goes to stderr. Looked for in this order:
# POSTGRES_BIN_DIR, PATH, Debian's folders, the newest first. Needed is version 15 or later.
set -euo pipefail

readonly LEAST=15

say() { printf '%s\n' "$*" >&2; }

works() {
  local version
  [[ -x "$1/postgres" && -x "$1/initdb" && -x "$1/pg_ctl" ]] || return 1
  version="$("$1/postgres" --version | grep -oE '[0-9]+' | head -n 1)"
  [[ "$version" -ge "$LEAST" ]]
}

find_postgres() {
  if [[ -n "${POSTGRES_BIN_DIR:-}" ]]; then
    works "$POSTGRES_BIN_DIR" && { printf '%s\n' "$POSTGRES_BIN_DIR"; return 0; }
    say "POSTGRES_BIN_DIR is set to $POSTGRES_BIN_DIR, where there is no PostgreSQL $LEAST or later"
    return 1
  fi
  local on_path folder
  if on_path="$(type -P postgres)"; then
    # Often a link to where all of the programs are.
    folder="$(dirname "$(readlink -f "$on_path")")"
    works "$folder" && { printf '%s\n' "$folder"; return 0; }
  fi
  for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
    works "$folder" && { printf '%s\n' "$folder"; return 0; }
  done
  return 1
}

install_postgres() {
  # One installation at a time; the lock ends with the process, however it ends.
  exec 9>/run/hashed-key-auth-postgres.lock
  if ! flock --nonblock 9; then
    say "another run is installing PostgreSQL; waiting for it"
    flock 9
  fi
  find_postgres >/dev/null 2>&1 && return 0
  say "installing PostgreSQL"
  mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/hashed-key-auth.conf
  (
    export DEBIAN_FRONTEND=noninteractive
    install=(apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 postgresql)
    "${install[@]}" || { apt-get update && "${install[@]}"; }
  ) >&2 9>&-
}

main() {
  local mode="${1:-}" why
  case "$mode" in
    '' | --if-possible) ;;
    --find) find_postgres; return ;;
    *) say "usage: scripts/postgres.sh [--find | --if-possible]"; return 2 ;;
  esac
  find_postgres && return 0
  if [[ -n "${POSTGRES_BIN_DIR:-}" ]]; then
    why="correct POSTGRES_BIN_DIR, or unset it"
  elif [[ "$(id -u)" != 0 ]] || ! type -P apt-get >/dev/null; then
    why="install PostgreSQL $LEAST or later (Debian: apt-get install postgresql), or set POSTGRES_BIN_DIR"
  elif install_postgres && find_postgres; then
    return 0
  else
    why="installing Debian's failed, or gave a version before $LEAST"
  fi
  if [[ "$mode" == --if-possible ]]; then
    say "no PostgreSQL: $why. Tests that need one are skipped by name."
    return 0
  fi
  say "no PostgreSQL: $why."
  return 1
}

main "$@"
