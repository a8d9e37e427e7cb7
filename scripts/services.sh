#!/usr/bin/env bash
# Installs the servers that the tests run against, where that can be done; says what to install where it cannot.
set -euo pipefail
missing=()
PATH="$PATH:/usr/sbin:/usr/local/sbin" # where Debian keeps nginx
command -v redis-server >/dev/null || missing+=(redis-server)
command -v nginx >/dev/null || missing+=(nginx)
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
command -v promtool >/dev/null || missing+=(prometheus)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
  missing+=(chromium)
[ ${#missing[@]} -eq 0 ] && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
  echo "Installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # nothing is started
  if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${missing[@]}"; } >/dev/null 2>&1; then
    echo "Could not install ${missing[*]} with apt-get; tests that need it say so."
  fi
else
  echo "Tests need: ${missing[*]}. Install: sudo apt-get install ${missing[*]} (or: brew install redis nginx postgresql prometheus)"
fi
