#!/usr/bin/env bash
# Installs what the tests and lints need and this machine lacks.
#
#   tests/deps.sh            everything
#   tests/deps.sh node …     what these need: lint, rust, redis, node, browser, clients, app, doors,
#                            legacy, packaging
#
# Debian packages come from apt (with sudo, unless run by root), Node packages go to
# tests/e2e/node_modules and Python ones to target/venv, at the versions pinned in tests/e2e.
# What is there already is left alone, so a second run takes no time.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VENV=${CARGO_TARGET_DIR:-target}/venv
readonly NODE_WANTED=20.9

missing=()

# Notes the Debian package of a command that is not there.
command_from() {
  command -v "$1" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || missing+=("$2")
}

debian_packages() {
  local what
  for what; do
    case $what in
      lint) command_from shellcheck shellcheck; need_node ;;
      rust)
        command_from cc gcc
        ;;
      redis) command_from cc gcc; command_from redis-server redis-server ;;
      node) need_node; command_from openssl openssl ;;
      browser) need_node; command_from chromium chromium ;;
      clients)
        need_node
        command_from chromium chromium
        command_from openssl openssl
        command_from curl curl
        command_from wget wget
        command_from git git
        ;;
      app) need_node; need_python; command_from openssl openssl ;;
      doors)
        need_node
        need_python
        command_from nginx nginx
        command_from haproxy haproxy
        ;;
      legacy)
        need_node
        need_python
        command_from nginx nginx
        command_from php php-cli
        compgen -G '/usr/sbin/php-fpm*' >/dev/null || missing+=(php-fpm)
        php_extension_from mysqli php-mysql
        php_extension_from xml php-xml
        command_from mariadbd mariadb-server
        command_from mariadb mariadb-client
        [ -e /usr/share/wordpress/wp-load.php ] || missing+=(wordpress)
        command_from puma puma
        ruby -e 'require "action_controller/railtie"' 2>/dev/null || missing+=(ruby-railties)
        ;;
      packaging)
        need_python
        command_from cc gcc
        command_from file file
        command_from curl curl
        command_from setpriv util-linux
        [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
        ;;
      *) echo "deps: there is no group \`$what\`" >&2; exit 2 ;;
    esac
  done
  [ ${#missing[@]} -gt 0 ] || return 0

  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "deps: install these as root: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
  fi
  echo "deps: installing ${missing[*]}"
  # RUNLEVEL=1 keeps packages from starting their services.
  local apt=("${as_root[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
  local log
  log=$(mktemp)
  if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
  fi
  rm -f "$log"
}

# Notes the Debian package of an extension that PHP lacks.
php_extension_from() {
  php -m 2>/dev/null | grep -ix "$1" >/dev/null || missing+=("$2")
}

need_node() {
  command_from node nodejs
  command_from npm npm
}

need_python() {
  command_from python3 python3
  # Debian's Python makes no environment without this package.
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3-venv)
  fi
}

node_packages() {
  local found
  found=$(node -p process.versions.node)
  if [ "$(printf '%s\n' "$NODE_WANTED" "$found" | sort -V | head -n 1)" != "$NODE_WANTED" ]; then
    echo "deps: node $NODE_WANTED or newer is needed; this is $found" >&2
    exit 1
  fi
  local stamp=tests/e2e/node_modules/.installed
  up_to_date "$stamp" tests/e2e/package.json tests/e2e/package-lock.json tests/e2e/.npmrc && return
  echo "deps: installing the Node packages"
  npm --prefix tests/e2e ci --silent --no-progress
  mark "$stamp" tests/e2e/package.json tests/e2e/package-lock.json tests/e2e/.npmrc
}

python_packages() {
  local stamp=$VENV/.installed
  up_to_date "$stamp" tests/e2e/requirements.txt && return
  echo "deps: installing the Python packages"
  python3 -m venv --clear "$VENV"
  "$VENV/bin/pip" install --quiet --no-input --disable-pip-version-check --no-deps -r tests/e2e/requirements.txt
  "$VENV/bin/pip" check >/dev/null
  mark "$stamp" tests/e2e/requirements.txt
}

# Whether a stamp was made from these files as they are now.
up_to_date() {
  [ -e "$1" ] && [ "$(cat "$1")" = "$(sha256sum "${@:2}")" ]
}

mark() {
  sha256sum "${@:2}" >"$1"
}

# Whether one of the groups asked for is among the others.
asked() {
  local wanted group
  for wanted; do
    for group in "${groups[@]}"; do
      [ "$group" != "$wanted" ] || return 0
    done
  done
  return 1
}

groups=("$@")
[ $# -gt 0 ] || groups=(lint rust redis node browser clients app doors legacy packaging)
debian_packages "${groups[@]}"
if asked node browser clients app legacy; then node_packages; fi
if asked app doors legacy packaging; then python_packages; fi
