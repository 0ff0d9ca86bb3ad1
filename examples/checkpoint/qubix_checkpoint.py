"""Checkpoints of a Qubix job: whole or not there, whenever the machine dies. One file, standard library only: copy it beside your program.

    import qubix_checkpoint as qubix

    qubix.watch_sigterm()
    pace = qubix.Pace()                            # as often as the job asked for (checkpoint.intervalS)
    state = load(qubix.newest()) if qubix.newest() else fresh()
    for step in range(state.step, STEPS):
        train(state)
        qubix.report_progress(step + 1, STEPS)
        if pace.due() or qubix.stop_requested():
            with qubix.saving(f"step-{step:08}") as folder:
                write_everything(state, folder)    # any files and folders
            pace.done()
            if qubix.stop_requested():
                raise SystemExit(143)

With PyTorch: `save_torch` and `load_torch`. With Hugging Face: `Trainer(callbacks=[qubix.QubixCallback()])`, which is there only where transformers is.
Where several processes work on one job, only one of them saves. Needs Python 3.8 or later.
"""

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import sys
import time

_MARK = ".qubix-"  # names that begin with a dot are no checkpoints: the agent does not look at them
_PROGRESS_WIDTH = 60  # always the same length, so that no reader sees the end of an older text
_stop = False


def directory():
    """Where checkpoints go; None where the job runs outside Qubix and nothing is kept."""
    return os.environ.get("QUBIX_CHECKPOINT_DIR") or None


def newest():
    """The path of the newest whole checkpoint, a file or a folder; None for a fresh start."""
    folder = directory()
    found = []
    for name in os.listdir(folder) if folder else ():
        if name.startswith(".") or name.endswith(".tmp"):
            continue
        path = os.path.join(folder, name)
        with contextlib.suppress(FileNotFoundError):
            found.append((os.lstat(path).st_ctime_ns, name, path))
    return max(found)[2] if found else None


@contextlib.contextmanager
def saving(name):
    """Gives an empty folder to write one checkpoint into, and makes it visible, durably, when the block ends well.

    When it does not, nothing is seen of it. A name that is taken gets a number: a folder cannot take another one's place at once.
    """
    folder = _needed_directory()
    _remove_leftovers(folder)
    temporary = os.path.join(folder, f"{_MARK}{_checked(name)}.tmp")
    os.mkdir(temporary)
    try:
        yield temporary
        _sync_tree(temporary)
        _rename_in(temporary, _free_name(folder, name), folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def saving_file(name):
    """The same for a checkpoint that is one file: gives it open for writing bytes. It takes the place of a file of that name at once."""
    folder = _needed_directory()
    _remove_leftovers(folder)
    temporary = os.path.join(folder, f"{_MARK}{_checked(name)}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _rename_in(temporary, name, folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


class Pace:
    """Says when the next checkpoint is due: `every_s` seconds after the last one, by default as the job asked for."""

    def __init__(self, every_s=None):
        self.every_s = float(os.environ.get("QUBIX_CHECKPOINT_INTERVAL_S") or 30) if every_s is None else every_s
        self.done()

    def due(self):
        return directory() is not None and time.monotonic() - self._done_at >= self.every_s

    def done(self):
        self._done_at = time.monotonic()


def report_progress(done, total, deadline_s=None):
    """Tells how far the job is: for progress bars, and as a sign that it has not stalled.

    `deadline_s`: a promise to tell again within so many seconds. A job that breaks it is taken for stalled, and one that keeps it never is.
    """
    path = os.environ.get("QUBIX_PROGRESS_FILE")
    if not path:
        return
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        deadline = "" if deadline_s is None else f" deadline={deadline_s}"
        os.pwrite(file, f"{done}/{total}{deadline}".ljust(_PROGRESS_WIDTH - 1).encode() + b"\n", 0)
    finally:
        os.close(file)


def epoch():
    """Rises each time the job is started again elsewhere: a fencing token for what the job does outside. 0 outside Qubix."""
    path = os.environ.get("QUBIX_EPOCH_FILE")
    if not path:
        return 0
    with open(path) as file:
        return int(file.read())


def watch_sigterm():
    """From here on SIGTERM only makes `stop_requested()` true: there is time for a last checkpoint (stopGraceS, 10 s by default)."""

    def note(_signal, _frame):
        global _stop
        _stop = True

    signal.signal(signal.SIGTERM, note)


def stop_requested():
    """True after SIGTERM (see `watch_sigterm`), and while the job is asked to save and go because it moves to another machine."""
    path = os.environ.get("QUBIX_REQUEST_FILE")
    return _stop or bool(path and os.path.exists(path))


# ── PyTorch, where it is ──


def save_torch(name, state):
    """Saves anything that `torch.save` takes, e.g. {"model": model.state_dict(), "optimizer": …, "step": step, "rng": rng_state()}."""
    import torch

    with saving_file(name) as file:
        torch.save(state, file)


def load_torch(map_location="cpu", **more):
    """What the newest checkpoint of `save_torch` holds; None for a fresh start. Further arguments are `torch.load`'s."""
    import torch

    path = newest()
    return None if path is None else torch.load(path, map_location=map_location, **more)


def rng_state():
    """The state of the random generators of Python, torch and (where the program uses it) numpy: a run that goes on with it draws the same numbers."""
    import torch

    state = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if "numpy" in sys.modules:
        kind, keys, *rest = sys.modules["numpy"].random.get_state()
        state["numpy"] = [kind, keys.tolist(), *rest]  # plain values: torch.load takes nothing else by default
    return state


def restore_rng(state):
    """The other way of `rng_state`."""
    import torch

    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
    if "numpy" in state and "numpy" in sys.modules:
        numpy = sys.modules["numpy"]
        kind, keys, *rest = state["numpy"]
        numpy.random.set_state((kind, numpy.array(keys, numpy.uint32), *rest))


# ── Hugging Face, where it is ──


def _make_callback():
    from transformers import TrainerCallback

    class QubixCallback(TrainerCallback):
        """Has the Trainer save as often as the job asked for, and keeps each save, whole, as a checkpoint of the job.

        Trainer(…, callbacks=[QubixCallback()]).train(resume_from_checkpoint=newest())
        """

        def __init__(self, every_s=None):
            self._pace = Pace(every_s)
            watch_sigterm()

        def on_train_begin(self, args, state, control, **_):
            self._pace.done()

        def on_step_end(self, args, state, control, **_):
            if state.is_world_process_zero:
                report_progress(state.global_step, max(state.max_steps, 1))
            due, stop = _agreed(self._pace.due(), stop_requested())
            if due or stop:
                control.should_save = True
            if stop:
                control.should_training_stop = True

        def on_save(self, args, state, control, **_):
            self._pace.done()
            if directory() is None or not state.is_world_process_zero:
                return
            name = f"checkpoint-{state.global_step}"
            with saving(name) as folder:
                shutil.copytree(os.path.join(args.output_dir, name), folder, dirs_exist_ok=True)

    return QubixCallback


def _agreed(due, stop):
    """What the first process thinks: all of them have to save at the same step, and their clocks differ."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return due, stop
    agreed = [due, stop]
    distributed.broadcast_object_list(agreed, src=0)
    return agreed


def __getattr__(name):
    # Made when it is asked for: importing transformers takes seconds that other jobs need not wait.
    if name == "QubixCallback" and importlib.util.find_spec("transformers") is not None:
        globals()[name] = _make_callback()
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# ── How ──


def _needed_directory():
    folder = directory()
    if folder is None:
        raise RuntimeError("QUBIX_CHECKPOINT_DIR is not set: outside Qubix there is nowhere to save (ask Pace.due() or directory() first)")
    return folder


def _checked(name):
    if not name or "/" in name or name.startswith(".") or name.endswith(".tmp"):
        raise ValueError(f"{name!r} cannot name a checkpoint: no slash, no dot in front, no .tmp at the end")
    return name


def _remove_leftovers(folder):
    """What an earlier process had begun when it died."""
    for name in os.listdir(folder):
        if not name.startswith(_MARK):
            continue
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _free_name(folder, name):
    free, number = name, 1
    while os.path.lexists(os.path.join(folder, free)):
        number += 1
        free = f"{name}-{number}"
    return free


def _sync_tree(root):
    for path, _folders, files in os.walk(root):
        for name in files:
            _sync(os.path.join(path, name))
        _sync(path)


def _sync(path):
    if os.path.islink(path):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename_in(temporary, name, folder):
    os.rename(temporary, os.path.join(folder, name))
    _sync(folder)
