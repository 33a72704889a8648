#!/usr/bin/env bash
# `npm audit` for what is installed with the package, development left out. Exit status 1: there is something to do;
# 3: the registry in use does not answer such questions (mirrors often don't), so nothing is known.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0
answer="$(npm audit --omit=dev 2>&1)" || status=$?
printf '%s\n' "$answer"
if [[ "$status" != 0 ]] && grep -q 'audit endpoint returned an error' <<<"$answer"; then
  echo "audit: nothing is known. The registry that npm uses here does not answer audits; name one that does:" >&2
  echo "  npm audit --omit=dev --registry URL" >&2
  exit 3
fi
exit "$status"
