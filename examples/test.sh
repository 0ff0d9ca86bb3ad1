#!/usr/bin/env bash
# Tests the example jobs inside their images, under the restrictions that a worker imposes: their results must not depend
# on interruptions, and an interruption must not leave a checkpoint that looks whole and is not.
#
#   examples/test.sh        needs the images (examples/images/build.sh); about 15 s
set -euo pipefail

hardened=(--network none --read-only --tmpfs /tmp --tmpfs /work --cap-drop ALL --security-opt no-new-privileges
  --user 65534:65534 --cpus 1 --memory 512m --memory-swap 512m --pids-limit 64)
root=$(cd "$(dirname "$0")" && pwd)
helper_python=(/usr/bin/python3 -B)
python=(/usr/bin/python3 -I -S /opt/train/train.py)
steps=20
checkpoint_every=4

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

main() {
  test_train_result_is_reproducible
  test_train_survives_kill
  test_train_killed_while_saving
  test_train_stops_on_sigterm
  test_train_refuses_bad_input
  test_counter_survives_kill
  test_counter_fails_when_asked
  test_python_helper
  test_python_helper_killed_while_saving
  test_python_helper_with_torch
  test_shell_helper
  test_shell_helper_killed_while_saving
  test_checkpoint_example_resumes
  echo "examples: all passed"
}

test_train_result_is_reproducible() {
  train plain >"$scratch/plain.log"
  expect "every step is printed" "$(grep -c "^step [0-9]*/$steps loss [0-9.]*$" "$scratch/plain.log")" "$steps"
  expect "progress is told" "$(cat "$scratch/plain/progress")" "$steps/$steps"
  expect "checkpoints are made" "$(ls "$scratch/plain/checkpoints")" "$(printf 'step-%06d.ckpt\n' 4 8 12 16)"
  expect "checkpoints are 64 MiB" "$(($(stat -c %s "$scratch/plain/checkpoints/step-000004.ckpt") >> 20))" 63
  # What another CPU would do: none of numpy's faster paths, and none of those of the C library.
  local features
  features=$(run plain qubix/train:local /usr/bin/python3 -c \
    'from numpy.core import _multiarray_umath as m; print(*(f for f in m.__cpu_dispatch__ if m.__cpu_features__[f]))')
  train other -e QUBIX_CHECKPOINT_DIR= -e "NPY_DISABLE_CPU_FEATURES=$features" \
    -e GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-FMA,-FMA_Usable >/dev/null
  expect "the model does not depend on the CPU" "$(model other)" "$(model plain)"
}

test_train_survives_kill() {
  # shellcheck disable=SC2016 # for the shell in the container
  train_by_shell killed '"$@" & until [ -e /checkpoints/step-000008.ckpt ]; do sleep 0.02; done; sleep 0.08; kill -9 $!; wait $! || true'
  expect "a killed job has no result" "$(ls "$scratch/killed/out")" ""
  resume killed resumed
  expect "it resumes from the newest checkpoint" "$(head -n 1 "$scratch/resumed.log")" "resume: from step-000008.ckpt, step 8/$steps, epoch 2"
  expect "the resumed model is the undisturbed one" "$(model resumed)" "$(model plain)"
  expect "so is the text that it writes" "$(sha256sum <"$scratch/resumed/out/sample.txt")" "$(sha256sum <"$scratch/plain/out/sample.txt")"
}

test_train_killed_while_saving() {
  # shellcheck disable=SC2016 # for the shell in the container
  train_by_shell torn '"$@" & until [ -e /checkpoints/.step-000012.ckpt.tmp ]; do :; done; kill -9 $!; wait $! || true'
  expect "a torn checkpoint has a name that is ignored" "$(ls -A "$scratch/torn/checkpoints")" \
    "$(printf '%s\n' .step-000012.ckpt.tmp step-000004.ckpt step-000008.ckpt)"
  # In the same folder again, as after a restart of the container.
  train torn >"$scratch/torn.log"
  expect "the one before it is used" "$(head -n 1 "$scratch/torn.log")" "resume: from step-000008.ckpt, step 8/$steps"
  expect "the torn one is gone" "$(find "$scratch/torn/checkpoints" -name '.*.tmp')" ""
  expect "the model is the undisturbed one" "$(model torn)" "$(model plain)"
}

test_train_stops_on_sigterm() {
  local container waiting before_ms
  prepare stopped
  container=$(run stopped -d -e CHECKPOINT_EVERY=1000 -e STEPS="$steps" qubix/train:local)
  until docker logs "$container" | grep -q '^step 3/'; do sleep 0.02; done
  docker wait "$container" >"$scratch/stopped/status" &
  waiting=$!
  before_ms=$(date +%s%3N)
  docker kill -s TERM "$container" >/dev/null
  wait "$waiting"
  expect "it stops within 2 s" "$(($(date +%s%3N) - before_ms < 2000))" 1
  expect "its exit code tells of SIGTERM" "$(cat "$scratch/stopped/status")" 143
  expect "it saves before it stops" "$(find "$scratch/stopped/checkpoints" -name 'step-??????.ckpt' | wc -l)" 1
  resume stopped continued
  expect "the model is the undisturbed one" "$(model continued)" "$(model plain)"
}

test_train_refuses_bad_input() {
  local status=0
  train bad -e STEPS=many >"$scratch/bad.log" 2>&1 || status=$?
  expect "a bad STEPS is named" "$status $(cat "$scratch/bad.log")" "1 error: STEPS=many is not a whole number between 1 and 999999"
  prepare short
  head -c 1000000 "$scratch/plain/checkpoints/step-000004.ckpt" >"$scratch/short/checkpoints/step-000004.ckpt"
  status=0
  train short >"$scratch/short.log" 2>&1 || status=$?
  expect "a short checkpoint is refused" "$status $(cat "$scratch/short.log")" \
    "1 error: /checkpoints/step-000004.ckpt is not a checkpoint of this model with SEED=7"
}

test_counter_survives_kill() {
  prepare counted
  run counted -e TICKS=6 -e TICK_S=0 qubix/tiny:local /opt/counter/counter.sh >/dev/null
  expect "progress is told" "$(cat "$scratch/counted/progress")" "6/6"
  prepare recounted
  cp "$scratch/counted/checkpoints/tick-000004" "$scratch/recounted/checkpoints/"
  : >"$scratch/recounted/checkpoints/.tick-000005.tmp"
  run recounted -e TICKS=6 -e TICK_S=0 qubix/tiny:local /opt/counter/counter.sh >"$scratch/recounted.log"
  expect "it resumes" "$(head -n 2 "$scratch/recounted.log" | cut -d ' ' -f 1-3)" "$(printf 'resume: from tick-000004\ntick 5/6 hash')"
  expect "its result is the undisturbed one" "$(cat "$scratch/recounted/out/result.txt")" "$(cat "$scratch/counted/out/result.txt")"
}

test_counter_fails_when_asked() {
  local status=0
  prepare failing
  run failing -e TICKS=2 -e TICK_S=0 -e EXIT_CODE=7 qubix/tiny:local /opt/counter/counter.sh >/dev/null 2>&1 || status=$?
  expect "EXIT_CODE is obeyed" "$status" 7
  expect "a failed job has no result" "$(ls "$scratch/failing/out")" ""
}

test_python_helper() {
  local status=0
  prepare python
  helper python qubix/train:local "${helper_python[@]}" -m unittest -q test_qubix_checkpoint >"$scratch/python.log" 2>&1 || status=$?
  expect "the Python helper keeps its word" "$status $([[ $status == 0 ]] || cat "$scratch/python.log")" "0 "
}

# Killed at twenty moments: what is seen is whole, and what the next process begins from.
test_python_helper_killed_while_saving() {
  prepare python-killed
  # shellcheck disable=SC2016 # for the shell in the container
  helper python-killed qubix/train:local sh -c '
    for round in 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20; do
      /usr/bin/python3 -B save_forever.py & sleep "0.$((20 + ${round#0} * 2))"; kill -9 $!; wait $! 2>/dev/null
      /usr/bin/python3 -B save_forever.py --check || exit 1
    done' >"$scratch/python-killed.log" 2>&1 || true
  expect "checkpoints that a kill cut short are not seen" "$(grep -c '^whole: [1-9]' "$scratch/python-killed.log")" 20
  expect "some kills did cut one short" "$(grep -q 'cut short' "$scratch/python-killed.log" && echo yes)" yes
}

test_python_helper_with_torch() {
  local python=${QUBIX_TEST_TORCH_PYTHON:-python3}
  if ! "$python" -c 'import torch, transformers, accelerate' 2>/dev/null; then
    echo "skip: PyTorch and Hugging Face helpers: $python has no torch, transformers and accelerate (QUBIX_TEST_TORCH_PYTHON names one that has)"
    return 0
  fi
  local status=0
  mkdir -p "$scratch/torch"
  "$python" -B "$root/checkpoint/test_torch.py" "$scratch/torch" >"$scratch/torch.log" 2>&1 || status=$?
  expect "torch and transformers go on where they were" "$status $([[ $status == 0 ]] || cat "$scratch/torch.log")" "0 "
}

test_shell_helper() {
  local status=0
  prepare shell
  helper shell qubix/tiny:local sh -eu test-qubix-checkpoint.sh >"$scratch/shell.log" 2>&1 || status=$?
  expect "the shell helper keeps its word" "$status $([[ $status == 0 ]] || cat "$scratch/shell.log")" "0 "
  expect "progress is told" "$(cat "$scratch/shell/progress")" "$(printf '%-59s' 7/10)"
}

test_shell_helper_killed_while_saving() {
  prepare shell-killed
  # shellcheck disable=SC2016 # for the shell in the container
  helper shell-killed qubix/tiny:local sh -c '
    . ./qubix-checkpoint.sh
    echo first | qubix_save_file first
    sh -c ". ./qubix-checkpoint.sh; folder=\$(qubix_begin second); echo half >\$folder/a; echo ready; sleep 60" >/tmp/said &
    until [ -s /tmp/said ]; do sleep 0.02; done
    kill -9 $!
    echo "seen: $(ls "$QUBIX_CHECKPOINT_DIR") newest: $(basename "$(qubix_newest)")"
    sleep 1.1 # busybox tells checkpoints of one second apart by nothing
    folder=$(qubix_begin third); echo whole >"$folder/a"; qubix_commit "$folder"
    echo "all: $(ls -A "$QUBIX_CHECKPOINT_DIR" | tr "\n" " ")newest: $(basename "$(qubix_newest)")"' >"$scratch/shell-killed.log"
  expect "a folder that a kill cut short is not seen, and goes with the next one" "$(cat "$scratch/shell-killed.log")" \
    "$(printf 'seen: first newest: first\nall: first third newest: third')"
}

test_checkpoint_example_resumes() {
  local options=(-e STEPS=8 -e STEP_S=0.05 -e QUBIX_CHECKPOINT_INTERVAL_S=0.15)
  prepare example
  helper example "${options[@]}" qubix/train:local "${helper_python[@]}" count.py >/dev/null
  prepare example-killed
  # shellcheck disable=SC2016 # for the shell in the container
  helper example-killed "${options[@]}" qubix/train:local sh -c \
    '/usr/bin/python3 -B count.py & until [ -e /checkpoints/step-* ]; do sleep 0.01; done; kill -9 $!' >/dev/null 2>&1
  helper example-killed "${options[@]}" qubix/train:local "${helper_python[@]}" count.py >"$scratch/example.log"
  expect "the example resumes" "$(head -n 1 "$scratch/example.log" | cut -d - -f 1)" "resume: from step"
  expect "its result is the undisturbed one" "$(cat "$scratch/example-killed/out/result.txt")" "$(cat "$scratch/example/out/result.txt")"
}

# --- helpers: each run has a folder of its own under $scratch, with out/, checkpoints/ and progress ---

prepare() { # RUN
  mkdir -p "$scratch/$1"/{out,checkpoints}
  chmod 777 "$scratch/$1"/{out,checkpoints}
  : >"$scratch/$1/progress"
  echo 2 >"$scratch/$1/epoch"
  chmod 666 "$scratch/$1/progress"
}

run() { # RUN DOCKER-ARGUMENTS…
  local folder=$scratch/$1
  docker run --rm "${hardened[@]}" -v "$folder/out:/out" -v "$folder/checkpoints:/checkpoints" \
    -v "$folder/progress:/progress" -v "$folder/epoch:/epoch:ro" -e QUBIX_CHECKPOINT_DIR=/checkpoints \
    -e QUBIX_PROGRESS_FILE=/progress -e "CHECKPOINT_EVERY=$checkpoint_every" "${@:2}"
}

helper() { # RUN DOCKER-ARGUMENTS…: with the helpers for jobs in the working folder
  run "$1" -v "$root/checkpoint:/helpers:ro" -w /helpers "${@:2}"
}

train() { # RUN DOCKER-OPTIONS…
  prepare "$1"
  run "$1" -e STEPS="$steps" "${@:2}" qubix/train:local
}

train_by_shell() { # RUN SHELL-COMMANDS: with the job's command as its arguments
  prepare "$1"
  run "$1" -e STEPS="$steps" qubix/train:local sh -c "$2" sh "${python[@]}" >"$scratch/$1.log"
}

resume() { # FROM TO: only the newest checkpoint of one run is there when the other starts, as on another machine
  prepare "$2"
  local committed=("$scratch/$1"/checkpoints/step-*)
  cp "${committed[-1]}" "$scratch/$2/checkpoints/"
  train "$2" -e QUBIX_EPOCH_FILE=/epoch >"$scratch/$2.log"
}

model() { # RUN
  sha256sum <"$scratch/$1/out/model.npz"
}

expect() { # WHAT ACTUAL WANTED
  if [[ $2 != "$3" ]]; then
    printf 'FAILED: %s\n  wanted: %s\n  got:    %s\n' "$1" "$3" "$2" >&2
    exit 1
  fi
  printf 'ok: %s\n' "$1"
}

main
