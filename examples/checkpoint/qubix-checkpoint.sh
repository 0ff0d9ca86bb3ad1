# Checkpoints of a Qubix job in a POSIX shell: whole or not there, whenever the machine dies. Source it: . ./qubix-checkpoint.sh
#
#   newest=$(qubix_newest)                        # empty for a fresh start
#   folder=$(qubix_begin "step-$step")            # an empty folder that nobody looks at yet
#   cp state.bin "$folder/"                       # anything
#   qubix_commit "$folder"                        # from here on it is the newest checkpoint
#   echo "$step" | qubix_save_file "step-$step"   # the same for a checkpoint that is one file
#   qubix_progress "$step" "$steps"
#   if qubix_stop_requested; then …save…; exit 143; fi   # the job moves to another machine
#
# Where several processes work on one job, only one of them saves. Needs a `sync` that takes names (coreutils, busybox); another one syncs all disks.

# Prints the path of the newest whole checkpoint; nothing where there is none.
qubix_newest() {
  [ -n "${QUBIX_CHECKPOINT_DIR:-}" ] || return 0
  # ls leaves out names with a dot in front. -c: by the time of the rename, as the agent does it; busybox knows it to the second, which is enough:
  # at a job's start there is one.
  # shellcheck disable=SC2012 # names are the job's own, and qubix_begin takes no odd ones
  _qubix_name=$(ls -1tc "$QUBIX_CHECKPOINT_DIR" | grep -v '\.tmp$' | head -n 1)
  [ -z "$_qubix_name" ] || printf '%s\n' "$QUBIX_CHECKPOINT_DIR/$_qubix_name"
}

# qubix_begin NAME: prints the path of an empty folder to write one checkpoint into.
qubix_begin() {
  _qubix_check "$1" || return 1
  rm -rf "$QUBIX_CHECKPOINT_DIR"/.qubix-*.tmp # what an earlier process had begun when it died
  mkdir "$QUBIX_CHECKPOINT_DIR/.qubix-$1.tmp" || return 1
  printf '%s\n' "$QUBIX_CHECKPOINT_DIR/.qubix-$1.tmp"
}

# qubix_commit FOLDER: makes what qubix_begin gave visible, durably. A name that is taken gets a number.
qubix_commit() {
  _qubix_name=${1##*/.qubix-}
  _qubix_name=${_qubix_name%.tmp}
  _qubix_free=$_qubix_name
  _qubix_number=1
  while [ -e "$QUBIX_CHECKPOINT_DIR/$_qubix_free" ]; do
    _qubix_number=$((_qubix_number + 1))
    _qubix_free=$_qubix_name-$_qubix_number
  done
  _qubix_sync_tree "$1" && _qubix_rename_in "$1" "$_qubix_free"
}

# qubix_save_file NAME <CONTENT: a checkpoint that is one file. It takes the place of a file of that name at once.
qubix_save_file() {
  _qubix_check "$1" || return 1
  rm -rf "$QUBIX_CHECKPOINT_DIR"/.qubix-*.tmp
  _qubix_new=$QUBIX_CHECKPOINT_DIR/.qubix-$1.tmp
  cat >"$_qubix_new" && _qubix_sync "$_qubix_new" && _qubix_rename_in "$_qubix_new" "$1"
}

# qubix_progress DONE TOTAL [DEADLINE]: for progress bars, and as a sign that the job has not stalled. DEADLINE: a promise to tell again within so many
# seconds. A job that breaks it is taken for stalled, and one that keeps it never is.
qubix_progress() {
  [ -z "${QUBIX_PROGRESS_FILE:-}" ] || printf '%-59s\n' "$1/$2${3:+ deadline=$3}" 1<>"$QUBIX_PROGRESS_FILE"
}

# True while the job is asked to save and go, because it moves to another machine. SIGTERM is another such request: trap it, where there is time for it.
qubix_stop_requested() {
  [ -n "${QUBIX_REQUEST_FILE:-}" ] && [ -e "$QUBIX_REQUEST_FILE" ]
}

_qubix_check() {
  if [ -z "${QUBIX_CHECKPOINT_DIR:-}" ]; then
    echo "QUBIX_CHECKPOINT_DIR is not set: outside Qubix there is nowhere to save" >&2
    return 1
  fi
  case $1 in
    '' | .* | *.tmp | *[!A-Za-z0-9._-]*)
      echo "$1 cannot name a checkpoint: letters, digits, . _ -; no dot in front, no .tmp at the end" >&2
      return 1
      ;;
  esac
}

_qubix_sync() { sync "$@" 2>/dev/null || sync; }

_qubix_sync_tree() {
  find "$1" -type f -exec sync {} + 2>/dev/null && find "$1" -depth -type d -exec sync {} + 2>/dev/null || sync
}

_qubix_rename_in() {
  mv "$1" "$QUBIX_CHECKPOINT_DIR/$2" && _qubix_sync "$QUBIX_CHECKPOINT_DIR"
}
