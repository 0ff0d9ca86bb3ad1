#!/usr/bin/env bash
# Makes the images of the examples: qubix/tiny:local (a static busybox) and qubix/train:local (Python with numpy).
#
#   examples/images/build.sh [tiny] [train]     both when none is named
#
# tiny comes from the distribution's package busybox-static. train is built on a public Debian image where a registry
# answers, and from the distribution's packages where none does; the same numpy and BLAS are in it either way. An image whose
# inputs have not changed is left as it is. Needs root (sudo is used) and a Docker Engine on this machine.
set -euo pipefail

examples=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib/setup.sh
. "$examples/../scripts/lib/setup.sh"

public_base=debian:bookworm-slim
# A registry that has not answered by then would be too slow to pull from.
registry_answer_s=5
# The base image and the packages are about 80 MB.
registry_build_s=300
label=network.qubix.inputs
nobody=65534:65534

# Dockerfile instructions that both ways of building share.
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
tiny_config=("ENV PATH=$path" "USER $nobody" "WORKDIR /work" 'CMD ["/opt/hello/hello.sh"]')
train_config=("ENV PATH=$path" "ENV OPENBLAS_NUM_THREADS=1" "USER $nobody" "WORKDIR /work"
  'CMD ["/usr/bin/python3", "-I", "-S", "/opt/train/train.py"]')

scratch=

main() {
  local name images=("$@")
  ((${#images[@]} > 0)) || images=(tiny train)
  setup_debian
  setup_engine_answers || setup_fail "no Docker Engine answers. Start it, or let scripts/quickstart install one."
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  for name in "${images[@]}"; do
    case $name in
      tiny) build_unless_there tiny "$examples"/hello/hello.sh "$examples"/counter/counter.sh ;;
      train) build_unless_there train "$examples"/train/train.py "$examples"/images/prepare-train.sh "$examples"/images/train.Dockerfile ;;
      *) setup_fail "there is no image $name: the images are tiny and train" ;;
    esac
  done
}

# build_unless_there NAME INPUT…
build_unless_there() {
  local image=qubix/$1:local inputs
  inputs=$(cat "${@:2}" "$examples/images/build.sh" | sha256sum | cut -c1-16)
  if [[ $(docker image inspect -f "{{index .Config.Labels \"$label\"}}" "$image" 2>/dev/null) == "$inputs" ]]; then
    setup_say "image $image is there already"
    return 0
  fi
  "build_$1" "$image" "LABEL $label=$inputs"
  setup_say "image $image: $(docker image inspect -f '{{.Size}}' "$image" | awk '{ printf "%.0f MB", $1 / 1e6 }')"
}

# build_tiny IMAGE LABEL
build_tiny() {
  local root=$scratch/tiny applet
  setup_say "making image $1 from the Debian package busybox-static"
  mkdir -p "$root"/{bin,etc,tmp,work,out,opt/hello,opt/counter}
  chmod 1777 "$root/tmp"
  unpack_package busybox-static "$scratch/busybox-static"
  install -m 755 "$(find "$scratch/busybox-static" -path '*/bin/busybox' -type f)" "$root/bin/busybox"
  for applet in $("$root/bin/busybox" --list); do
    [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
  done
  printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
  install -m 755 "$examples/hello/hello.sh" "$root/opt/hello/"
  install -m 755 "$examples/counter/counter.sh" "$root/opt/counter/"
  tar --owner=0 --group=0 --exclude=./work --exclude=./out -C "$root" -cf "$scratch/tiny.tar" .
  # A new volume that is mounted there takes its owner from here.
  tar --owner=65534 --group=65534 -C "$root" -rf "$scratch/tiny.tar" ./work ./out
  import_image "$scratch/tiny.tar" "$1" "${tiny_config[@]}" "$2"
}

# build_train IMAGE LABEL
build_train() {
  if registry_answers && build_train_on_public_base "$@"; then
    return 0
  fi
  build_train_from_packages "$@"
}

registry_answers() {
  if timeout "$registry_answer_s" docker manifest inspect "$public_base" </dev/null >/dev/null 2>&1; then
    return 0
  fi
  setup_say "no image registry answers with $public_base"
  return 1
}

build_train_on_public_base() {
  setup_say "making image $1 on the public image $public_base"
  cp "$examples/images/train.Dockerfile" "$scratch/Dockerfile"
  printf '%s\n' "${train_config[@]}" "$2" >>"$scratch/Dockerfile"
  if setup_logged "docker build" timeout "$registry_build_s" \
    docker build --build-arg "BASE=$public_base" -t "$1" -f "$scratch/Dockerfile" "$examples"; then
    return 0
  fi
  setup_say "that did not work (see $setup_log)"
  return 1
}

build_train_from_packages() {
  local sources=()
  setup_apt_install mmdebstrap
  setup_say "making image $1 from the packages python3-minimal and python3-numpy (mmdebstrap)"
  mapfile -t sources < <(apt_sources)
  setup_become_root
  # shellcheck disable=SC2016 # $1 is the root file system, which mmdebstrap fills in
  setup_quietly mmdebstrap setup_as_root mmdebstrap --variant=essential --include=python3-minimal,python3-numpy \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='mkdir -p "$1/opt/train"' \
    --customize-hook="copy-in '$examples/train/train.py' '$examples/images/prepare-train.sh' /opt/train" \
    --customize-hook='chroot "$1" sh /opt/train/prepare-train.sh' \
    "$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")" "$scratch/train.tar" "${sources[@]}"
  import_image "$scratch/train.tar" "$1" "${train_config[@]}" "$2"
}

# The sources of this machine's own release, as lines of a sources.list, so that its mirror is used and no vendor's extras.
apt_sources() {
  local codename format key options
  codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
  # shellcheck disable=SC2016 # apt fills these in
  format='$(CREATED_BY) $(ORIGIN) $(RELEASE) $(SITE) $(COMPONENT)'
  apt-get indextargets --format "$format" | sort -u |
    while read -r created_by origin release site component; do
      [[ $created_by == Packages && $origin =~ ^(Debian|Ubuntu)$ && $release =~ ^$codename(-updates|-security)?$ ]] || continue
      key=/usr/share/keyrings/${origin,,}-archive-keyring.gpg
      options=
      [[ ! -e $key ]] || options="[signed-by=$key] "
      printf 'deb %s%s %s %s\n' "$options" "$site" "$release" "$component"
    done
}

# unpack_package PACKAGE FOLDER: without installing it here.
unpack_package() {
  local downloads=$scratch/download-$1
  mkdir -p "$downloads"
  if ! apt-cache show "$1" >/dev/null 2>&1; then
    setup_become_root
    setup_apt update || true
  fi
  setup_quietly "apt-get download $1" env -C "$downloads" apt-get -q -o APT::Sandbox::User=root download "$1"
  dpkg-deb -x "$downloads/$1"_*.deb "$2"
}

# import_image TAR IMAGE INSTRUCTION…
import_image() {
  local instruction changes=()
  for instruction in "${@:3}"; do
    changes+=(--change "$instruction")
  done
  docker import "${changes[@]}" "$1" "$2" >/dev/null
}

main "$@"
