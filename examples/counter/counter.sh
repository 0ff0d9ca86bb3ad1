#!/bin/sh
# Counts to TICKS, one tick every TICK_S seconds, and keeps the checkpoint contract with a file of one line.
#
# Each tick changes a hash by a rule that depends on the ticks before it, so that a tick done twice or left out shows in
# the result. EXIT_CODE other than 0 makes the job fail after its last tick. CHECKPOINT_EVERY is in ticks.
set -eu

ticks=${TICKS:-10}
tick_s=${TICK_S:-1}
exit_code=${EXIT_CODE:-0}
checkpoint_every=${CHECKPOINT_EVERY:-1}
checkpoint_dir=${QUBIX_CHECKPOINT_DIR:-}
progress_file=${QUBIX_PROGRESS_FILE:-}
out_dir=${OUT_DIR:-/out}

# Writes a line to a file durably, under a temporary name until it is whole.
write_durably() { # DIRECTORY NAME LINE
  echo "$3" >"$1/.$2.tmp"
  sync "$1/.$2.tmp"
  mv "$1/.$2.tmp" "$1/$2"
}

# The first process of a container ignores a SIGTERM that it does not handle. Every tick is saved as it is made.
trap 'echo "stopped: tick $tick/$ticks"; exit 143' TERM

tick=0
hash=1
if [ -n "$checkpoint_dir" ]; then
  newest=
  for entry in "$checkpoint_dir"/tick-??????; do newest=$entry; done # sorted by name
  if [ -e "$newest" ]; then
    read -r tick hash <"$newest"
    echo "resume: from ${newest##*/}"
  fi
fi

while [ "$tick" -lt "$ticks" ]; do
  sleep "$tick_s" &
  wait $! # a trap waits for a foreground command to end
  tick=$((tick + 1))
  hash=$(((hash * 1103515245 + tick) % 2147483648))
  echo "tick $tick/$ticks hash $hash"
  if [ -n "$progress_file" ]; then echo "$tick/$ticks" >"$progress_file"; fi
  if [ -n "$checkpoint_dir" ] && [ $((tick % checkpoint_every)) -eq 0 ]; then
    write_durably "$checkpoint_dir" "$(printf 'tick-%06d' "$tick")" "$tick $hash"
  fi
done

if [ "$exit_code" -ne 0 ]; then
  echo "failing, as EXIT_CODE=$exit_code asks" >&2
  exit "$exit_code"
fi
write_durably "$out_dir" result.txt "ticks $ticks hash $hash"
echo "done: $out_dir/result.txt"
