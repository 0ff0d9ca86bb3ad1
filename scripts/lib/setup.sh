# shellcheck shell=bash
# The set-up that scripts/quickstart and scripts/test share: what is missing on a Debian or Ubuntu machine is found, named
# and installed. Source it from bash; it works under `set -euo pipefail`, without a terminal and with stdin closed.
#
#   setup_debian              ends the script with advice on anything but Debian and Ubuntu
#   setup_npm                 a Node.js that can run npm, and npm
#   setup_packages all|run    npm ci, with the test tools or without; then node is Node 24 (PATH is changed)
#   setup_build               npm run build
#   setup_docker "$0" "$@"    a Docker Engine that answers; the arguments are the script's own, should it have to start
#                             itself again in the group `docker`
#   setup_registry            an image registry for tests, as a program: its service is not started
#
# Messages go to stderr. What the tools print goes to .qubix/setup.log, and its end is shown when one of them fails.

setup_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
setup_state_dir=$setup_root/.qubix
setup_log=$setup_state_dir/setup.log

setup_node_major=24
# Below these npm leaves out native parts whose packages ask for a later Node.js, and compiles what need not be compiled;
# then it only fetches the two below, which do the rest.
setup_node_good=20.19
setup_npm_good=10
# What Debian 12 and Ubuntu 24.04 have; earlier ones were never tried.
setup_node_min=18
setup_npm_own=11.6.0
# apt may be at work already, on a machine that has just started above all.
setup_apt_lock_wait_s=120
# A docker client waits for ever on an engine that is stuck.
setup_docker_answer_s=10
# dockerd takes about 2 s; a first start on a slow disk much longer.
setup_dockerd_ready_s=60
setup_log_lines_shown=20
setup_docker_socket=/var/run/docker.sock

setup_debian() {
  local id='' like=''
  if [[ -r /etc/os-release ]]; then
    # shellcheck source=/dev/null
    id=$(. /etc/os-release && printf '%s' "${ID:-}")
    # shellcheck source=/dev/null
    like=$(. /etc/os-release && printf '%s' "${ID_LIKE:-}")
  fi
  if [[ " $id $like " =~ \ (debian|ubuntu)\  ]] && command -v apt-get >/dev/null; then
    return 0
  fi
  setup_fail "this script installs packages on Debian and Ubuntu only, and this is ${id:-another system}." \
    "Use a Debian or Ubuntu machine (a virtual machine will do), or install by hand: Node.js $setup_node_major with npm" \
    "(https://nodejs.org) and Docker Engine (https://docs.docker.com/engine/install). Then: npm ci && npm run build"
}

setup_npm() {
  command -v node >/dev/null || setup_apt_install nodejs
  # Some builds of Node.js bring npm with them and refuse the package of that name.
  command -v npm >/dev/null || setup_apt_install npm
  local version
  version=$(setup_version node)
  setup_is_at_least "$version" "$setup_node_min" ||
    setup_fail "Node.js $setup_node_min or later is needed to run npm, and $(command -v node) is $version." \
      "Install a later one (https://nodejs.org), or use Debian 12, Ubuntu 24.04 or later."
  if ! setup_is_at_least "$version" "$setup_node_good" || ! setup_is_at_least "$(setup_version npm)" "$setup_npm_good"; then
    setup_own_npm
  fi
}

# setup_packages all|run
setup_packages() {
  local wanted=$1 stamp=$setup_root/node_modules/.qubix-setup hash
  hash=$(sha256sum <"$setup_root/package-lock.json")
  hash=${hash%% *}
  if ! grep -qsxE "$hash (all|$wanted)" "$stamp"; then
    local omit=()
    [[ $wanted == all ]] || omit=(--omit=dev)
    setup_say "installing npm packages: npm ci ${omit[*]}"
    # Of the install scripts only that of `node` is needed: the other packages bring what they use ready-made.
    setup_npm_quietly ci --ignore-scripts "${omit[@]}"
    setup_say "putting Node.js $setup_node_major in place: npm rebuild node"
    setup_npm_quietly rebuild --ignore-scripts=false node
    # Under an older Node npm leaves out, without a word, optional packages that need a newer one: test tools have some.
    [[ $wanted != all ]] || setup_newer_npm_quietly install --no-save --ignore-scripts
    printf '%s %s\n' "$hash" "$wanted" >"$stamp"
  fi
  setup_use_node
}

setup_build() {
  setup_say "building: npm run build"
  setup_quietly "npm run build" setup_in_root npm run build
}

# setup_docker SCRIPT ARGUMENTS…
setup_docker() {
  if setup_engine_answers; then
    return 0
  fi
  if [[ -n ${DOCKER_HOST:-} ]]; then
    setup_fail "no Docker Engine answers at DOCKER_HOST=$DOCKER_HOST. Start it, or unset DOCKER_HOST to use one on this machine."
  fi
  if [[ -S $setup_docker_socket && ! -w $setup_docker_socket ]]; then
    setup_join_docker_group "$@"
  fi
  if ! setup_find_dockerd >/dev/null; then
    setup_confirm "Docker Engine is not on this machine. Install it from the distribution's packages (docker.io, iptables)?" ||
      setup_fail "Docker Engine is needed: install it (https://docs.docker.com/engine/install) and run this again."
    setup_apt_install docker.io iptables
  fi
  # From Debian 13 on the client is a package of its own.
  command -v docker >/dev/null || setup_apt_install docker-cli
  setup_become_root
  setup_engine_answers as_root || setup_start_engine
  setup_engine_answers || setup_join_docker_group "$@"
}

# Debian starts a service with its package, on a port that may be taken; the tests start a registry of their own.
setup_registry() {
  local package=docker-registry booted=/run/systemd/system
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]] || return 0
  if [[ ! -d $booted ]]; then
    setup_apt_install "$package"
    return 0
  fi
  setup_become_root
  setup_quietly "systemctl mask $package" setup_as_root systemctl mask "$package.service"
  setup_apt_install "$package"
  setup_quietly "systemctl unmask $package" setup_as_root systemctl unmask "$package.service"
  setup_quietly "systemctl disable $package" setup_as_root systemctl disable "$package.service"
}

# --- helpers ---

setup_say() {
  printf 'setup: %s\n' "$*" >&2
}

setup_fail() {
  printf 'setup: error: %s\n' "$*" >&2
  exit 1
}

setup_in_root() (
  cd "$setup_root" && "$@"
)

# setup_quietly WHAT COMMAND…: its output goes to the log; when it fails, the end of the log is shown and the script ends.
setup_quietly() {
  local what=$1
  shift
  setup_logged "$what" "$@" || setup_fail_with_log "$what failed"
}

setup_logged() {
  local what=$1
  shift
  mkdir -p "$setup_state_dir"
  printf '== %s\n' "$what" >>"$setup_log"
  "$@" </dev/null >>"$setup_log" 2>&1
}

setup_fail_with_log() {
  tail -n "$setup_log_lines_shown" "$setup_log" >&2
  setup_fail "$1; the lines above are the end of $setup_log"
}

# npm with the PATH as it was: it must not run on a Node.js that it is about to remove.
setup_npm_quietly() {
  setup_quietly "npm $*" setup_in_root env PATH="${PATH//"$setup_root/node_modules/.bin:"/}" npm "$@"
}

# By the Node.js of this repository.
setup_newer_npm_quietly() {
  setup_quietly "npm $*" setup_in_root env PATH="$setup_root/node_modules/.bin:$PATH" npm "$@"
}

setup_person_present() {
  [[ -t 0 && -t 2 ]]
}

# Yes when nobody is there to be asked.
setup_confirm() {
  setup_person_present || return 0
  local answer
  read -r -p "$1 [Y/n] " answer || return 1
  [[ -z $answer || $answer == [Yy]* ]]
}

setup_as_root() {
  if ((EUID == 0)); then
    "$@"
  elif ! command -v sudo >/dev/null; then
    setup_fail "this needs root, and there is no sudo: run the script as root"
  elif setup_person_present; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

# A person is asked for the password here, where it can be seen: later on the output goes to the log.
setup_become_root() {
  ((EUID == 0)) && return 0
  setup_as_root true || setup_fail "this needs root, and sudo asks for a password that nobody is there to give: run the script as root"
}

setup_apt_install() {
  local package missing=()
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]} > 0)) || return 0
  setup_say "installing packages: apt-get install ${missing[*]}"
  setup_become_root
  # No lists yet, or such as name versions that the mirror no longer has: get them, then (again).
  if ! apt-cache show --no-all-versions "${missing[@]}" >/dev/null 2>&1 || ! setup_apt install "${missing[@]}"; then
    setup_apt update || true # one source that fails may be one that is not needed
    setup_apt install "${missing[@]}" || setup_fail_with_log "apt-get install ${missing[*]} failed"
  fi
}

# setup_apt update|install PACKAGES…
setup_apt() {
  local options=(-y -q -o "DPkg::Lock::Timeout=$setup_apt_lock_wait_s" -o Acquire::Retries=3)
  [[ $1 != install ]] || options+=(--no-install-recommends)
  setup_logged "apt-get $*" setup_as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" "$@"
}

# Fetches npm and a Node.js for it into .qubix/npm with the npm that is there, and puts them first on the PATH.
setup_own_npm() {
  local folder=$setup_state_dir/npm
  local bin=$folder/node_modules/.bin
  if [[ $(PATH="$bin:$PATH" setup_version npm) != "$setup_npm_own" ]]; then
    setup_say "installing npm $setup_npm_own with Node.js $setup_node_major into $folder: the npm of this machine is too old"
    rm -rf "$folder"
    mkdir -p "$folder"
    setup_quietly "npm install npm" npm install --prefix "$folder" --no-save --ignore-scripts=false \
      "npm@$setup_npm_own" "node@$setup_node_major"
  fi
  export PATH="$bin:$PATH"
}

# setup_version PROGRAM: such as 24.1.0, and 0 when it is missing or broken.
setup_version() {
  local version
  version=$("$1" --version 2>/dev/null </dev/null) || version=0
  printf '%s' "${version#v}"
}

# setup_is_at_least VERSION MINIMUM
setup_is_at_least() {
  printf '%s\n%s\n' "$2" "$1" | sort -V -C
}

# Puts node_modules/.bin first on the PATH, after a look at the Node.js in it.
setup_use_node() {
  local bin=$setup_root/node_modules/.bin version
  version=$(setup_version "$bin/node")
  if [[ ${version%%.*} != "$setup_node_major" ]]; then
    rm -f "$setup_root/node_modules/.qubix-setup"
    setup_fail "Node.js $setup_node_major is needed, and $bin/node is ${version/#0/missing or broken}." \
      "It is put there by the install script of the npm package \`node\`. To run that: npm rebuild --ignore-scripts=false node"
  fi
  case ":$PATH:" in
    ":$bin:"*) ;;
    *) export PATH="$bin:$PATH" ;;
  esac
}

# setup_engine_answers [as_root]
setup_engine_answers() {
  local as=()
  [[ ${1:-} != as_root ]] || as=(setup_as_root)
  command -v docker >/dev/null &&
    "${as[@]}" timeout "$setup_docker_answer_s" docker version --format '{{.Server.Version}}' </dev/null >/dev/null 2>&1
}

setup_find_dockerd() {
  PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v dockerd
}

# Starts the engine: as a service where an init system runs, else in the background, with a log and its process id kept.
setup_start_engine() {
  local log=$setup_state_dir/dockerd.log pid_file=$setup_state_dir/dockerd.pid
  if [[ -d /run/systemd/system ]]; then
    setup_say "starting Docker Engine: systemctl start docker"
    setup_quietly "systemctl start docker" setup_as_root systemctl start docker
    setup_wait_for_engine "" || setup_fail "Docker Engine did not start within $setup_dockerd_ready_s s: see journalctl -u docker"
    return 0
  fi
  mkdir -p "$setup_state_dir"
  rm -f "$pid_file"
  setup_as_root setsid "$(setup_find_dockerd)" --pidfile "$pid_file" </dev/null >"$log" 2>&1 &
  setup_say "starting Docker Engine in the background: its log is $log"
  if ! setup_wait_for_engine $!; then
    tail -n "$setup_log_lines_shown" "$log" >&2
    setup_fail "Docker Engine did not start within $setup_dockerd_ready_s s; the lines above are the end of $log"
  fi
  setup_say "Docker Engine runs as process $(cat "$pid_file"); to stop it: kill $(cat "$pid_file")"
}

# setup_wait_for_engine PID: false when the time is over, or when that process has ended ("" when there is none).
setup_wait_for_engine() {
  local deadline=$((SECONDS + setup_dockerd_ready_s))
  until setup_engine_answers as_root; do
    ((SECONDS < deadline)) || return 1
    [[ -z $1 ]] || [[ -e /proc/$1 ]] || return 1
    sleep 0.3
  done
}

# The engine answers root only. Starts the script again in the group `docker`, which the user joins if need be.
setup_join_docker_group() {
  local user advice
  user=$(id -un)
  advice="sudo usermod -aG docker $user, log out and in, and run this again"
  if ((EUID == 0)) || ! command -v sg >/dev/null || [[ -n ${QUBIX_SETUP_IN_GROUP:-} ]]; then
    setup_fail "Docker Engine runs, but does not answer $user. Do: $advice"
  fi
  if [[ " $(id -nG "$user") " != *" docker "* ]]; then
    setup_person_present || setup_fail "Docker Engine runs, but $user is not in the group docker. Do: $advice"
    setup_confirm "Add $user to the group docker? (Its members can do on this machine what root can.)" ||
      setup_fail "Docker Engine does not answer $user. Do: $advice"
    setup_as_root usermod -aG docker "$user"
  fi
  setup_say "starting again in the group docker"
  QUBIX_SETUP_IN_GROUP=1 exec sg docker -c "exec$(printf ' %q' "$@")"
}
