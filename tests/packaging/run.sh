#!/usr/bin/env bash
# The container image's parts, each tried without a container engine: the Dockerfile is linted, the compose
# file is read, the binary is built from the files that the image is built from, and runs as nobody in a
# read-only root that holds nothing but it, its configuration and the CA bundle.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly TARGET=${CARGO_TARGET_DIR:-target}
readonly WORK=$TARGET/packaging
VENV=$(realpath -m "$TARGET/venv/bin")
readonly VENV
readonly PYTHON=$VENV/python
readonly TRIPLE=x86_64-unknown-linux-gnu
readonly BINARY=$WORK/build/$TRIPLE/ci/clerk-gate
readonly NOBODY=65534

as_root=()
if [ "$(id -u)" != 0 ]; then
  sudo -v
  as_root=(sudo -n)
fi
failures=0
gate=

# Runs one check, which ends at the first command that fails; its output is shown only then.
check() {
  local what=$1 output code
  shift
  # Not as a condition: there, bash would go on after a failure.
  set +e
  output=$(set -e; "$@" 2>&1)
  code=$?
  set -e
  if [ "$code" = 0 ]; then
    echo "ok - $what"
  else
    echo "not ok - $what"
    printf '%s\n' "$output" | sed 's/^/    /'
    failures=$((failures + 1))
  fi
}

# Ends the run when nothing of what follows could work.
need() {
  local before=$failures
  check "$@"
  [ "$failures" = "$before" ] || exit 1
}

# ---- the files of the image ----------------------------------------------------------------------------

# Fails unless the command does.
fails() {
  if "$@"; then
    echo "this should have failed: $*"
    return 1
  fi
}

# Fails with a message unless its arguments are equal.
same() {
  [ "$1" = "$2" ] || { printf 'expected: %s\nfound:    %s\n' "$2" "$1" >&2; return 1; }
}

compose() {
  CLERK_PUBLISHABLE_KEY=pk_test_x "$TARGET/venv/bin/docker-compose" --file docker-compose.yml "$@"
}

compose_confines_every_service() {
  compose config --format json | "$PYTHON" -c '
import json, sys
services = json.load(sys.stdin)["services"]
assert {"gate", "app"} <= services.keys(), services.keys()
for name, service in services.items():
    assert service.get("read_only") is True, f"{name}: the root can be written"
    assert service.get("cap_drop") == ["ALL"], f"{name}: capabilities are kept"
    assert "no-new-privileges:true" in service.get("security_opt", []), f"{name}: may gain privileges"
    assert "privileged" not in service, f"{name}: privileged"
assert "ports" not in services["app"], "the application can be reached without the gate"
assert not any("SECRET" in key for key in services["gate"]["environment"]), "a secret in the environment"
'
}

several() {
  (cd examples/compose/several && CLERK_PUBLISHABLE_KEY=pk_test_x "$VENV/docker-compose" "$@")
}

# The whole one: Caddy, two gates and what they share, each on no network that it has no use for.
several_gates_are_confined() {
  several config --format json | "$PYTHON" -c '
import json, sys
services = json.load(sys.stdin)["services"]
assert services.keys() == {"tls", "gate", "valkey", "app"}, services.keys()
for name, service in services.items():
    assert service.get("read_only") is True, f"{name}: the root can be written"
    assert service.get("cap_drop") == ["ALL"], f"{name}: capabilities are kept"
    assert service.get("cap_add", []) in ([], ["NET_BIND_SERVICE"]), f"{name}: has capabilities"
    assert "no-new-privileges:true" in service.get("security_opt", []), f"{name}: may gain privileges"
    assert ("ports" in service) == (name == "tls"), f"{name}: who reaches it"
networks = {name: set(service["networks"]) for name, service in services.items()}
assert networks["app"] == networks["valkey"] == {"inside"}, "the application is reached through the gate alone"
assert not networks["tls"] & {"inside"}, "Caddy reaches the application"
assert services["gate"]["deploy"]["replicas"] == 2
assert not any("SECRET" in key for key in services["gate"]["environment"]), "a secret in the environment"
'
}

caddy_takes_its_file() {
  XDG_DATA_HOME=$WORK XDG_CONFIG_HOME=$WORK "$VENV/caddy" adapt --validate --adapter caddyfile \
    --config examples/compose/several/Caddyfile
}

manifests_are_right() {
  "$PYTHON" tests/packaging/manifests.py "$WORK"
}

# What the Dockerfile copies from the repository, one path a line.
copied() {
  sed -n 's/^COPY \(.*\) [^ ]*$/\1/p' Dockerfile | grep -v -- '^--from' | tr ' ' '\n'
}

dockerignore_lets_through_what_is_copied() {
  same "$(sed -n 's/^!//p' .dockerignore | sort)" "$(copied | sort)"
}

# The builder's working directory, at a place that stays the same so that cargo finds what it built before.
build_as_the_image_does() {
  rm -rf "$WORK/context"
  mkdir -p "$WORK/context"
  copied | xargs -I{} cp -a --parents {} "$WORK/context/"
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile ci --no-default-features \
    --manifest-path "$WORK/context/Cargo.toml" --target-dir "$WORK/build" --target "$TRIPLE"
}

file_says_static() {
  file -b "$BINARY" | grep -E 'static-pie linked|statically linked'
}

ldd_says_static() {
  { ldd "$BINARY" 2>&1 || true; } | grep -E 'statically linked|not a dynamic executable'
}

has_no_dev_command() {
  local help
  help=$("$BINARY" --help)
  grep -qw run <<<"$help"
  fails grep -w dev <<<"$help"
  fails timeout 10 "$BINARY" dev --json
}

# ---- the empty root ------------------------------------------------------------------------------------

free_port() {
  "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

make_root() {
  root=$(realpath -m "$WORK/root")
  "${as_root[@]}" rm -rf "$root"
  install -D -m 0555 "$BINARY" "$root/clerk-gate"
  install -D -m 0444 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  mkdir -p "$root/etc/clerk-gate" "$root/run/secrets"
  echo sk_test_nobodyknows >"$root/run/secrets/clerk-secret-key"
  port=$(free_port)
  admin=$(free_port)
  sed "s/PORT/$port/; s/ADMIN/$admin/" tests/packaging/clerk-gate.toml >"$root/etc/clerk-gate/clerk-gate.toml"
  sed 's/^listen/lisen/' "$root/etc/clerk-gate/clerk-gate.toml" >"$root/etc/clerk-gate/broken.toml"
  cp examples/compose/clerk-gate.toml "$root/etc/clerk-gate/compose.toml"
  make_live_root "$root"
  chmod -R a+rX,a-w "$root"
}

# What the configurations name that are for live keys.
make_live_root() {
  local key
  key=$("$PYTHON" -c 'import base64; print(base64.b64encode(bytes(range(32))).decode())')
  mkdir -p "$1/run/secrets/clerk-gate"
  echo sk_live_nobodyknows >"$1/run/secrets/clerk-gate/clerk"
  echo "$key" >"$1/run/secrets/clerk-gate/seal"
  echo "$key" >"$1/run/secrets/seal-key"
  echo redis://:password@valkey:6379 >"$1/run/secrets/redis-url"
  cp "$WORK/kubernetes.toml" "$1/etc/clerk-gate/kubernetes.toml"
  cp examples/compose/several/clerk-gate.toml "$1/etc/clerk-gate/several.toml"
}

# Becomes the binary in the empty root: as nobody, without privileges to gain, with an empty environment.
become() {
  # shellcheck disable=SC2016
  local enter='exec setpriv --no-new-privs chroot --userspec='$NOBODY:$NOBODY' --groups= "$0" /clerk-gate "$@"'
  if [ "$mounts" = permitted ]; then
    # shellcheck disable=SC2016
    exec "${as_root[@]}" env -i PATH="$PATH" unshare --mount --propagation private sh -euc \
      'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; '"$enter" "$root" "$@"
  else
    exec "${as_root[@]}" env -i PATH="$PATH" sh -euc "$enter" "$root" "$@"
  fi
}

inside() {
  (become "$@")
}

find_out_about_mounts() {
  # shellcheck disable=SC2016
  if "${as_root[@]}" unshare --mount --propagation private sh -euc \
    'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; ! touch "$0/x" 2>/dev/null' "$root" 2>/dev/null; then
    mounts=permitted
    echo "# the root is a read-only mount"
  else
    mounts=refused
    echo "# mounts are not permitted here: the root is read-only by owner and mode"
    "${as_root[@]}" chown -R 0:0 "$root"
  fi
}

# The arguments that the Dockerfile gives the binary.
command_of_the_image() {
  sed -n 's/^CMD //p' Dockerfile | "$PYTHON" -c 'import json, sys; print("\n".join(json.load(sys.stdin)))'
}

start() {
  local arguments
  mapfile -t arguments < <(command_of_the_image)
  (become "${arguments[@]}") >"$WORK/log" 2>&1 &
  gate=$!
}

healthy() {
  local try
  for try in {1..100}; do
    if inside health "http://127.0.0.1:$admin/$1"; then return; fi
    [ -e "/proc/$gate" ] || break
    sleep 0.1
  done
  echo "not healthy after $try tries:"
  cat "$WORK/log"
  return 1
}

unhealthy_where_nobody_listens() {
  fails inside health "http://127.0.0.1:$(free_port)/livez"
}

broken_file_is_refused() {
  local found
  fails inside check -c /etc/clerk-gate/broken.toml >"$WORK/report" 2>&1
  grep lisen "$WORK/report"
}

stranger_is_refused() {
  same "$(curl -sS -o /dev/null -w '%{http_code}' "http://localhost:$port/members")" 401
}

# The process that lives in the root: sudo, if there is one, stays outside.
inhabitant() {
  local found
  # shellcheck disable=SC2016
  found=$("${as_root[@]}" sh -c 'for process in /proc/[0-9]*; do
    [ "$(readlink "$process/root")" != "$0" ] || basename "$process"
  done' "$root")
  [[ $found =~ ^[0-9]+$ ]] || { echo "in the root: ${found:-nobody}" >&2; return 1; }
  echo "$found"
}

# The value of a line of its /proc/PID/status.
status() {
  "${as_root[@]}" sed -n "s/^$1:[[:space:]]*//p" "/proc/$(inhabitant)/status"
}

runs_as_nobody() {
  same "$(status Uid | tr '\t' ' ')" "$NOBODY $NOBODY $NOBODY $NOBODY"
  same "$(status Gid | tr '\t' ' ')" "$NOBODY $NOBODY $NOBODY $NOBODY"
  same "$(status Groups | tr -d ' ')" ""
  same "$(status CapEff)" 0000000000000000
  same "$(status NoNewPrivs)" 1
}

root_is_read_only() {
  if [ "$mounts" = permitted ]; then
    "${as_root[@]}" grep -E '^([^ ]+ ){4}/ ro,' "/proc/$(inhabitant)/mountinfo"
  else
    same "$("${as_root[@]}" find "$root" \( -perm /222 -o ! -user 0 \))" ""
  fi
}

stops_well() {
  local code=0
  "${as_root[@]}" kill -TERM "$(inhabitant)" || return 1
  wait "$gate" || code=$?
  gate=
  [ "$code" = 0 ] || { echo "exit code $code"; cat "$WORK/log"; return 1; }
}

clean_up() {
  [ -z "$gate" ] || "${as_root[@]}" kill -KILL "$gate" 2>/dev/null || true
}
trap clean_up EXIT

# ---- the run -------------------------------------------------------------------------------------------

mkdir -p "$WORK"
check "hadolint has nothing to say about the Dockerfile" "$TARGET/venv/bin/hadolint" Dockerfile
check "the compose file is valid" compose config -q
check "the compose file confines every service" compose_confines_every_service
check "the compose file asks for the publishable key" \
  fails env -u CLERK_PUBLISHABLE_KEY "$TARGET/venv/bin/docker-compose" --file docker-compose.yml config -q
check "the compose file of several gates is valid" several config -q
check "the compose file of several gates confines every service" several_gates_are_confined
check "Caddy takes the file that stands beside it" caddy_takes_its_file
need "the manifests fit the schemas of Kubernetes, and each other" manifests_are_right
check "what the image copies is what .dockerignore lets through" dockerignore_lets_through_what_is_copied

echo "# building the static binary from the image's files"
build_as_the_image_does
need "the binary is static, says file" file_says_static
need "the binary is static, says ldd" ldd_says_static
check "the image has no dev command" has_no_dev_command

make_root
find_out_about_mounts
check "check accepts the configuration" inside check -c /etc/clerk-gate/clerk-gate.toml
check "check accepts the configuration of the compose file" \
  inside check -c /etc/clerk-gate/compose.toml --publishable-key pk_test_Z2F0ZS5jbGVyay5hY2NvdW50cy5kZXYk
check "check accepts the configuration of the compose file of several gates" \
  inside check -c /etc/clerk-gate/several.toml --publishable-key pk_test_Z2F0ZS5jbGVyay5hY2NvdW50cy5kZXYk
check "check accepts the configuration in the ConfigMap" inside check -c /etc/clerk-gate/kubernetes.toml
check "check refuses a broken one" broken_file_is_refused
check "health fails where nobody listens" unhealthy_where_nobody_listens
start
need "health finds /livez" healthy livez
check "health finds /readyz" healthy readyz
check "it runs as nobody, without privileges" runs_as_nobody
check "it has a read-only root" root_is_read_only
check "it refuses a stranger" stranger_is_refused
# Not in a subshell: only its parent may wait for a process.
if stops_well; then
  echo "ok - told to stop, it ends with code 0"
else
  echo "not ok - told to stop, it ends with code 0"
  failures=$((failures + 1))
fi

[ "$failures" = 0 ]
