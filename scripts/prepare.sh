# Sourced by the scripts beside it: goes to the project's root, and has Node 24 and all packages there.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/node_modules/.bin:$PATH"

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Debian packages, where we may install them: 0 if all of them are there afterwards.
install_debian_packages() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  echo "installing $*"
  # With this run level no service is started: we run servers of our own.
  (export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update && apt-get install --yes --no-install-recommends "$@") >/dev/null </dev/null
}

packages_are_current() {
  [ node_modules/.package-lock.json -nt package-lock.json ] &&
    [[ "$(node_modules/.bin/node --version 2>/dev/null)" == v24.* ]]
}

ensure_packages() {
  packages_are_current && return
  command -v npm >/dev/null || install_debian_packages nodejs npm ||
    die "npm is missing: install Node.js (any version that brings npm; Node 24 itself comes as a package of this project)"
  echo "installing npm packages"
  npm ci --no-fund --no-audit --loglevel=error </dev/null
  # npm may have kept an older time stamp from its cache.
  touch node_modules/.package-lock.json
  packages_are_current || die "npm ci did not bring Node 24: are install scripts switched off (npm config get ignore-scripts)?"
}

ensure_packages
