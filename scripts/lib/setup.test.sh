#!/usr/bin/env bash
# Tests scripts/lib/setup.sh without installing anything: in a copy of the folder, with stand-ins for the tools that would.
# A stand-in writes its name and arguments to `calls`, and does what the test says. Takes about 2 s.
# shellcheck disable=SC2016 # stand-ins are written for another shell
set -euo pipefail

library=$(cd "$(dirname "$0")" && pwd)/setup.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

main() {
  test_other_systems_are_refused
  test_good_npm_is_used_as_it_is
  test_missing_npm_is_installed
  test_old_npm_is_replaced
  test_ancient_node_is_refused
  test_packages_are_installed_once
  test_wrong_node_is_named
  test_failure_shows_the_log
  test_missing_package_lists_are_fetched
  test_running_engine_is_left_alone
  test_engine_is_installed_and_started
  test_dead_engine_is_reported
  test_remote_engine_is_not_replaced
  echo "setup: all passed"
}

test_other_systems_are_refused() {
  fresh
  # The check reads the real /etc/os-release: a copy of the library reads one of ours.
  sed -i "s|/etc/os-release|$scratch/os-release|g" "$scratch/repo/scripts/lib/setup.sh"
  printf 'ID=fedora\n' >"$scratch/os-release"
  setup 'setup_debian' 1
  expect_message "on Debian and Ubuntu only, and this is fedora"
  printf 'ID=linuxmint\nID_LIKE="ubuntu debian"\n' >"$scratch/os-release"
  stand_in apt-get ''
  setup 'setup_debian' 0
}

test_good_npm_is_used_as_it_is() {
  fresh
  stand_in node 'echo v22.1.0'
  stand_in npm 'echo 10.9.0'
  setup 'setup_npm' 0
  expect_calls 'node --version
npm --version'
}

test_missing_npm_is_installed() {
  fresh
  stand_in dpkg-query 'exit 1'
  stand_in apt-cache ''
  stand_in apt-get "printf '#!/bin/sh\necho v20.19.2\n' >$scratch/bin/node; printf '#!/bin/sh\necho 10.0.0\n' >$scratch/bin/npm; chmod +x $scratch/bin/n*"
  setup 'setup_npm' 0
  expect_message "installing packages: apt-get install nodejs"
  expect_called 'apt-get -y -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 --no-install-recommends install nodejs'
}

test_old_npm_is_replaced() {
  fresh
  stand_in node 'echo v18.20.4'
  # Asked for its version it tells its own; asked to install it puts a newer npm in place.
  stand_in npm '[ "$1" = --version ] && echo 9.2.0 && exit
    bin=$3/node_modules/.bin; mkdir -p $bin; printf "#!/bin/sh\necho 11.6.0\n" >$bin/npm; chmod +x $bin/npm'
  setup 'setup_npm; npm --version' 0
  expect_called "npm install --prefix $scratch/repo/.qubix/npm --no-save --ignore-scripts=false npm@11.6.0 node@24"
  expect_message "the npm of this machine is too old"
  expect_stdout "11.6.0"
  : >"$scratch/calls"
  setup 'setup_npm' 0
  expect_not_called "npm install"
}

test_ancient_node_is_refused() {
  fresh
  stand_in node 'echo v12.22.9'
  stand_in npm 'echo 8.5.1'
  setup 'setup_npm' 1
  expect_message "is 12.22.9. Install a later one"
}

test_packages_are_installed_once() {
  fresh
  stand_in npm "$(npm_that_installs v24.9.0)"
  setup 'setup_packages run; command -v node' 0
  expect_called 'npm ci --ignore-scripts --omit=dev'
  expect_called 'npm rebuild --ignore-scripts=false node'
  expect_stdout "$scratch/repo/node_modules/.bin/node"
  : >"$scratch/calls"
  setup 'setup_packages run' 0
  expect_calls ''
  setup 'setup_packages all' 0
  expect_called 'npm ci --ignore-scripts'
  expect_called 'npm install --no-save --ignore-scripts'
  : >"$scratch/calls"
  setup 'setup_packages run; setup_packages all' 0
  expect_calls ''
  echo changed >>"$scratch/repo/package-lock.json"
  setup 'setup_packages run' 0
  expect_called 'npm ci --ignore-scripts --omit=dev'
}

test_wrong_node_is_named() {
  fresh
  stand_in npm "$(npm_that_installs v20.1.0)"
  setup 'setup_packages all' 1
  expect_message "Node.js 24 is needed, and $scratch/repo/node_modules/.bin/node is 20.1.0"
  expect_message "npm rebuild --ignore-scripts=false node"
  stand_in npm "$(npm_that_installs v24.9.0)"
  setup 'setup_packages all' 0 # the failure is not taken for an installation
}

test_failure_shows_the_log() {
  fresh
  stand_in npm 'echo "npm says: no space left"; exit 1'
  setup 'setup_build' 1
  expect_message "npm says: no space left"
  expect_message "npm run build failed; the lines above are the end of $scratch/repo/.qubix/setup.log"
}

test_missing_package_lists_are_fetched() {
  fresh
  stand_in dpkg-query '[ "$4" = there ] && printf installed'
  stand_in apt-cache "grep -q update $scratch/calls"
  stand_in apt-get ''
  setup 'setup_apt_install there absent' 0
  expect_called 'apt-get -y -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 update'
  expect_called 'apt-get -y -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 --no-install-recommends install absent'
  : >"$scratch/calls"
  setup 'setup_apt_install there' 0
  expect_not_called 'apt-get'
}

test_running_engine_is_left_alone() {
  fresh
  stand_in docker 'echo 20.10'
  setup 'setup_docker script' 0
  expect_calls 'docker version --format {{.Server.Version}}'
}

test_engine_is_installed_and_started() {
  ((EUID == 0)) || return 0 # with a terminal sudo would ask
  fresh
  stand_in dpkg-query 'exit 1'
  stand_in apt-cache ''
  stand_in apt-get "touch $scratch/installed"
  stand_in docker "test -e $scratch/repo/.qubix/dockerd.pid"
  stand_in dockerd 'echo $$ >$2; exec sleep 20'
  sed -i "s|PATH=.*command -v dockerd|test -e $scratch/installed \&\& echo $scratch/bin/dockerd|; s|/run/systemd/system|/nonexistent|; s|^setup_docker_socket=.*|setup_docker_socket=/nonexistent|" \
    "$scratch/repo/scripts/lib/setup.sh"
  setup 'setup_docker script' 0
  expect_called 'apt-get -y -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 --no-install-recommends install docker.io iptables'
  expect_called "dockerd --pidfile $scratch/repo/.qubix/dockerd.pid"
  expect_message "to stop it: kill $(cat "$scratch/repo/.qubix/dockerd.pid")"
  kill "$(cat "$scratch/repo/.qubix/dockerd.pid")" # it has outlived the script that started it
}

test_dead_engine_is_reported() {
  ((EUID == 0)) || return 0
  fresh
  stand_in docker 'exit 1'
  stand_in dockerd 'echo "dockerd says: no iptables"; exit 1'
  sed -i "s|/run/systemd/system|/nonexistent|; s|^setup_docker_socket=.*|setup_docker_socket=/nonexistent|" "$scratch/repo/scripts/lib/setup.sh"
  setup 'setup_docker script' 1
  expect_message "dockerd says: no iptables"
  expect_message "Docker Engine did not start"
}

test_remote_engine_is_not_replaced() {
  fresh
  stand_in docker 'exit 1'
  setup 'export DOCKER_HOST=tcp://elsewhere; setup_docker script' 1
  expect_message "no Docker Engine answers at DOCKER_HOST=tcp://elsewhere"
}

# --- helpers ---

# A copy of the repository's outside, and no stand-ins.
fresh() {
  rm -rf "${scratch:?}"/*
  mkdir -p "$scratch/repo/scripts/lib" "$scratch/bin"
  cp "$library" "$scratch/repo/scripts/lib/"
  echo '{}' >"$scratch/repo/package-lock.json"
  : >"$scratch/calls"
  local tool
  for tool in bash sh env cat cut dirname grep id mkdir rm sed setsid sha256sum sleep sort tail test timeout chmod touch; do
    ln -s "$(type -P "$tool")" "$scratch/bin/$tool"
  done
}

stand_in() { # NAME SHELL-COMMANDS
  rm -f "$scratch/bin/$1"
  printf '#!/bin/sh\necho "%s $*" >>%s/calls\n%s\n' "$1" "$scratch" "$2" >"$scratch/bin/$1"
  chmod +x "$scratch/bin/$1"
}

npm_that_installs() { # VERSION-OF-NODE
  printf '%s' "mkdir -p node_modules/.bin; printf '#!/bin/sh\necho $1\n' >node_modules/.bin/node; chmod +x node_modules/.bin/node"
}

# Runs commands with the library loaded, the stand-ins alone on the PATH, stdin closed and no terminal.
setup() { # COMMANDS STATUS
  local status=0
  env -i PATH="$scratch/bin" HOME="$scratch" bash -euo pipefail -c ". $scratch/repo/scripts/lib/setup.sh; $1" \
    <&- >"$scratch/stdout" 2>"$scratch/stderr" || status=$?
  [[ $status == "$2" ]] || failed "exit status $2" "$status"
}

expect_message() {
  grep -qF -e "$1" "$scratch/stderr" || failed "the message: $1" "$(cat "$scratch/stderr")"
}

expect_stdout() {
  [[ $(cat "$scratch/stdout") == "$1" ]] || failed "$1" "$(cat "$scratch/stdout")"
}

expect_calls() {
  [[ $(cat "$scratch/calls") == "$1" ]] || failed "the calls: $1" "$(cat "$scratch/calls")"
}

expect_called() {
  grep -qxF -e "$1" "$scratch/calls" || failed "the call: $1" "$(cat "$scratch/calls")"
}

expect_not_called() {
  ! grep -qF -e "$1" "$scratch/calls" || failed "no call: $1" "$(cat "$scratch/calls")"
}

failed() {
  printf 'FAILED: %s\n  wanted: %s\n  got:    %s\n' "${FUNCNAME[2]}" "$1" "$2" >&2
  cat "$scratch/stderr" >&2
  exit 1
}

main
