# Tests of qubix-checkpoint.sh; run by examples/test.sh in a container that is as a job's.
. ./qubix-checkpoint.sh

fail() {
  echo "FAILED: $1" >&2
  exit 1
}

same() { # WHAT ACTUAL WANTED
  [ "$2" = "$3" ] || fail "$1: $2, not $3"
}

same "nothing at first" "$(qubix_newest)" ""

folder=$(qubix_begin step-1)
mkdir "$folder/deep"
echo one >"$folder/deep/a"
same "not seen yet" "$(ls "$QUBIX_CHECKPOINT_DIR")" ""
qubix_commit "$folder"
same "seen" "$(cat "$(qubix_newest)/deep/a")" one

sleep 1.1 # busybox tells checkpoints of one second apart by nothing
folder=$(qubix_begin step-1)
echo two >"$folder/a"
qubix_commit "$folder"
same "a name that is taken gets a number" "$(basename "$(qubix_newest)")" step-1-2

sleep 1.1
echo one | qubix_save_file state
echo two | qubix_save_file state
same "a file takes a file's place" "$(cat "$(qubix_newest)")" two

mkdir "$QUBIX_CHECKPOINT_DIR/.half" "$QUBIX_CHECKPOINT_DIR/half.tmp"
same "what is being written is not the newest" "$(basename "$(qubix_newest)")" state

for name in "" .hidden a/b a.tmp "a b"; do
  if qubix_begin "$name" 2>/dev/null; then fail "the name '$name' was taken"; fi
done

QUBIX_REQUEST_FILE=$QUBIX_CHECKPOINT_DIR/.request
if qubix_stop_requested; then fail "a stop is requested before anybody asks"; fi
echo 1 >"$QUBIX_REQUEST_FILE"
qubix_stop_requested || fail "a request to stop is not seen"
rm "$QUBIX_REQUEST_FILE"

qubix_progress 10 10 600
same "a deadline is told" "$(cat "$QUBIX_PROGRESS_FILE")" "$(printf '%-59s' '10/10 deadline=600')"
qubix_progress 7 10

(unset QUBIX_CHECKPOINT_DIR && same "outside Qubix" "$(qubix_newest)" "" && ! qubix_begin step 2>/dev/null) || fail "outside Qubix"
