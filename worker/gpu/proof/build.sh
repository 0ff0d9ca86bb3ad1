#!/usr/bin/env bash
# Builds the programs of the proof of GPU into worker/gpu/proof/build:
#   qubix-gpu-proof            with nvcc, for GPUs
#   qubix-gpu-proof-emulated   with g++, the same kernels on a host, for tests
#
#   worker/gpu/proof/build.sh [gpu|emulated]…    both by default; the first is left out, with a word, where there is no nvcc
#
# QUBIX_NVCC and CXX name other compilers. What is current is left alone.
set -euo pipefail
cd "$(dirname "$0")"

# Real code for these, as far as this nvcc knows them; portable code (PTX) of the oldest serves every other, newer ones included.
# Pascal (60, 61) and Volta (70) need CUDA 12 or older.
wanted_architectures=(60 61 70 75 80 86 89 90 100 103 120)
nvcc=${QUBIX_NVCC:-nvcc}
cxx=${CXX:-g++}

say() {
  printf 'gpu proof: %s\n' "$*" >&2
}

# is_current PROGRAM: newer than all that it is made of.
is_current() {
  [[ -x build/$1 && -z $(find src build.sh -newer "build/$1" -print -quit) ]]
}

find_nvcc() {
  command -v "$nvcc" && return 0
  [[ -x /usr/local/cuda/bin/nvcc ]] && printf '/usr/local/cuda/bin/nvcc\n'
}

build_gpu() {
  local program=qubix-gpu-proof compiler architecture known flags=() names=()
  if ! compiler=$(find_nvcc); then
    say "no nvcc on this machine, so $program is not built. Install NVIDIA's CUDA toolkit, or set QUBIX_NVCC"
    return 0
  fi
  is_current "$program" && return 0
  known=$("$compiler" --list-gpu-code)
  for architecture in "${wanted_architectures[@]}"; do
    grep -qx "sm_$architecture" <<<"$known" || continue
    # Portable code of the oldest of them.
    ((${#flags[@]} > 0)) || flags+=(-gencode "arch=compute_$architecture,code=compute_$architecture")
    flags+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
    names+=("$architecture")
  done
  say "building $program with $compiler for ${names[*]}"
  # Nothing but the C library and the driver is needed where it runs.
  "$compiler" -std=c++17 -O3 -cudart static -Xcompiler -static-libstdc++,-static-libgcc,-Wall -Xfatbin -compress-all \
    "${flags[@]}" -o "build/$program.new" src/gpu.cu
  mv "build/$program.new" "build/$program"
}

build_emulated() {
  local program=qubix-gpu-proof-emulated
  is_current "$program" && return 0
  say "building $program with $cxx"
  "$cxx" -std=c++17 -O2 -Wall -Wextra -Wno-unused-function -o "build/$program.new" src/emulated.cpp
  mv "build/$program.new" "build/$program"
}

mkdir -p build
(($# > 0)) || set -- gpu emulated
for what in "$@"; do
  case $what in
    gpu) build_gpu ;;
    emulated) build_emulated ;;
    *)
      say "unknown: $what; known are gpu and emulated"
      exit 2
      ;;
  esac
done
