# Sourced by the scripts in this directory: changes to the project's root, and installs Node 24 and all packages there.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/node_modules/.bin:$PATH"

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Installs Debian packages, if this user may. Succeeds if all packages are installed afterwards.
install_debian_packages() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  echo "installing $*"
  # With this run level, the packages start no services. The scripts start private servers instead.
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
  # npm may have left an older timestamp on this file.
  touch node_modules/.package-lock.json
  packages_are_current || die "npm ci did not bring Node 24: are install scripts switched off (npm config get ignore-scripts)?"
}

ensure_packages
