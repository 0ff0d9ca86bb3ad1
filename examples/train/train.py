"""Trains a small language model of bytes and keeps the checkpoint contract of a Qubix job.

The model predicts the next byte from the six before it: each of the six n-grams that end there is hashed to a row of an
embedding table, and a network with one hidden layer turns the rows into a distribution (Bengio et al. 2003, with the hashed
n-grams of fastText). Gradients are written out by hand; the optimizer is Adam, applied to the touched rows only.

The result is the same, byte for byte, however often the job is interrupted:
- the state is the parameters, Adam's moments and the step, and a checkpoint is all of it;
- what a step reads from the text, and every initial value, is a function of (seed, step, index), so there is no
  generator whose position could be lost;
- only operations that IEEE 754 rounds exactly are used (`exp` is spelled out below), and BLAS runs on one thread, so
  machines with different CPUs of one architecture agree as well.

A checkpoint is one file: a header of one page, then raw float32. It is mapped, not read, on resume: the first step
touches a few pages only, and does not wait for the rest.

Environment: STEPS, CHECKPOINT_EVERY (steps; else QUBIX_CHECKPOINT_INTERVAL_S; else 75 steps), SEED, TEXT, OUT_DIR, and
QUBIX_CHECKPOINT_DIR, QUBIX_PROGRESS_FILE, QUBIX_EPOCH_FILE, each of which may be absent.
"""

import os
import signal
import sys
import time

stop_requested = False


def request_stop(_signal, _frame):
    global stop_requested
    stop_requested = True


# Before numpy is imported: the first process of a container ignores a SIGTERM that it does not handle.
signal.signal(signal.SIGTERM, request_stop)

sys.path.append("/usr/lib/python3/dist-packages")  # `python3 -S` leaves it out, which saves start-up time
import numpy as np  # noqa: E402

ORDERS = 6  # n-grams of 1 to 6 bytes
ROW_COUNT = 136_600  # sized so that parameters and both moments take 64 MiB
ROW_WIDTH = 40
HIDDEN = 256
BYTES = 256
INPUT = ORDERS * ROW_WIDTH
BATCH = 256

TABLE_SIZE = ROW_COUNT * ROW_WIDTH
DENSE_SIZE = INPUT * HIDDEN + HIDDEN + HIDDEN * BYTES + BYTES
VALUE_COUNT = TABLE_SIZE + DENSE_SIZE

LEARNING_RATE = 0.004
WARM_UP_STEPS = 20  # stands in for Adam's bias correction
BETA_1, BETA_2, EPSILON = np.float32(0.9), np.float32(0.99), np.float32(1e-7)

MAGIC = b"QUBIXLM1"
HEADER_BYTES = 4096  # a page, so that the values behind it can be mapped
EXIT_STOPPED = 143  # 128 + SIGTERM


def main():
    steps_total = read_count("STEPS", 600)
    seed = read_count("SEED", 7)
    text = np.fromfile(os.environ.get("TEXT", "/opt/train/corpus.txt"), np.uint8)
    checkpoints = Checkpoints(os.environ.get("QUBIX_CHECKPOINT_DIR") or None, seed)
    progress = Progress(os.environ.get("QUBIX_PROGRESS_FILE") or None, steps_total)

    name, step, values = checkpoints.load_newest()
    if values is None:
        say(f"start: {VALUE_COUNT:,} parameters, {text.size:,} bytes of text, {steps_total} steps{epoch_note()}")
        values = initial_values(seed)
    else:
        say(f"resume: from {name}, step {step}/{steps_total}{epoch_note()}")
    model = Model(values)

    while step < steps_total:
        if stop_requested:
            checkpoints.save(step, values)
            say(f"stopped: step {step}/{steps_total}")
            return EXIT_STOPPED
        loss = model.train_step(*batch_of_step(text, seed, step), learning_rate(step, steps_total))
        step += 1
        say(f"step {step}/{steps_total} loss {loss:.3f}")
        progress.report(step)
        if step < steps_total and checkpoints.is_due(step):
            say(f"checkpoint: {checkpoints.save(step, values)}")

    write_result(os.environ.get("OUT_DIR", "/out"), model, seed)
    return 0


class Model:
    """The parameters and both moments as named views of one array of shape (3, VALUE_COUNT)."""

    def __init__(self, values):
        self.table = values[:, :TABLE_SIZE].reshape(3, ROW_COUNT, ROW_WIDTH)
        self.dense = values[:, TABLE_SIZE:]
        cut = np.cumsum([INPUT * HIDDEN, HIDDEN, HIDDEN * BYTES])
        weights_1, self.bias_1, weights_2, self.bias_2 = np.split(self.dense[0], cut)
        self.weights_1 = weights_1.reshape(INPUT, HIDDEN)
        self.weights_2 = weights_2.reshape(HIDDEN, BYTES)

    def forward(self, context):
        """Rows, inputs, hidden values and probabilities for contexts of shape (n, ORDERS), the nearest byte first."""
        rows = rows_of_context(context)
        inputs = self.table[0][rows].reshape(-1, INPUT)
        hidden = np.maximum(inputs @ self.weights_1 + self.bias_1, np.float32(0))
        scores = hidden @ self.weights_2 + self.bias_2
        weights = exp_exact(scores - scores.max(axis=1, keepdims=True))
        return rows, inputs, hidden, weights / weights.sum(axis=1, keepdims=True)

    def train_step(self, context, target, rate):
        """One step of Adam; returns the mean loss of the batch in nats per byte."""
        rows, inputs, hidden, probability = self.forward(context)
        each = np.arange(target.size)
        loss = -float(np.log(probability[each, target].astype(np.float64) + 1e-12).mean())

        d_scores = probability
        d_scores[each, target] -= np.float32(1)
        d_scores /= np.float32(target.size)
        d_hidden = d_scores @ np.ascontiguousarray(self.weights_2.T)
        d_hidden[hidden <= 0] = 0
        d_inputs = d_hidden @ np.ascontiguousarray(self.weights_1.T)
        d_dense = np.concatenate(
            [
                (inputs.T @ d_hidden).ravel(),
                d_hidden.sum(axis=0),
                (hidden.T @ d_scores).ravel(),
                d_scores.sum(axis=0),
            ]
        )
        rows, d_rows = sum_by_row(rows.ravel(), d_inputs.reshape(-1, ROW_WIDTH))

        adam(self.dense, d_dense, rate)
        touched = self.table[:, rows]
        adam(touched, d_rows, rate)
        self.table[:, rows] = touched
        return loss


def adam(values, gradient, rate):
    """Updates (parameters, first moment, second moment) in place."""
    parameter, first, second = values
    first += (gradient - first) * (np.float32(1) - BETA_1)
    second += (gradient * gradient - second) * (np.float32(1) - BETA_2)
    parameter -= np.float32(rate) * first / (np.sqrt(second) + EPSILON)


def learning_rate(step, steps_total):
    """Rises linearly over the warm-up, then falls linearly towards a tenth at the end."""
    return LEARNING_RATE * min(1, (step + 1) / WARM_UP_STEPS) * (1 - 0.9 * step / steps_total)


def sum_by_row(rows, gradients):
    """Adds up the gradients of equal rows, always in the same order."""
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    starts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
    return rows[starts], np.add.reduceat(gradients[order], starts, axis=0)


def exp_exact(x):
    """exp for x <= 0, by exactly rounded operations: exp(x) = 2^k exp(r), |r| <= ln(2)/2, and a Taylor polynomial.

    The library's own exp takes other paths on other CPUs, and those differ in the last bit.
    """
    x = np.maximum(x, np.float32(-80))
    k = np.rint(x * np.float32(1.4426950408889634))
    r = x - k * np.float32(0.693359375) - k * np.float32(-2.12194440e-4)  # ln(2) in two parts
    y = np.full_like(r, 1 / 720)
    for divisor in (120, 24, 6, 2, 1, 1):
        y = y * r + np.float32(1 / divisor)
    return y * ((k.astype(np.int32) + 127) << 23).view(np.float32)


def noise(seed, stream, index):
    """A uint64 for each index: the finalizer of SplitMix64 over (seed, stream, index)."""
    z = index.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + stream * 0xD1342543DE82EF95) % 2**64)
    z = z * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(seed, stream, index):
    """A float32 in [-1, 1) for each index."""
    return (noise(seed, stream, index) >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


def initial_values(seed):
    values = np.zeros((3, VALUE_COUNT), np.float32)
    scale = np.full(VALUE_COUNT, 0.05, np.float32)
    scale[TABLE_SIZE : TABLE_SIZE + INPUT * HIDDEN] = (6 / INPUT) ** 0.5  # He et al. 2015
    values[0] = uniform(seed, 0, np.arange(VALUE_COUNT)) * scale
    return values


def batch_of_step(text, seed, step):
    """The contexts and targets of a step: positions drawn by (seed, step) alone."""
    draws = noise(seed, step + 1, np.arange(BATCH))
    positions = (draws % np.uint64(text.size - ORDERS)).astype(np.int64) + ORDERS
    return text[positions[:, None] - np.arange(1, ORDERS + 1)], text[positions]


def rows_of_context(context):
    """The table row of each n-gram: column n holds the hash of the n + 1 nearest bytes."""
    rows = np.empty(context.shape, np.int64)
    hashed = np.full(context.shape[0], 0x9E3779B97F4A7C15, np.uint64)
    for n in range(ORDERS):
        hashed = (hashed ^ context[:, n]) * np.uint64(0xD6E8FEB86659FD93)
        hashed = hashed ^ (hashed >> np.uint64(32))
        rows[:, n] = hashed % np.uint64(ROW_COUNT)
    return rows


class Checkpoints:
    """One file each, `step-NNNNNN.ckpt`; while it is written its name begins with a dot and ends in `.tmp`."""

    def __init__(self, directory, seed):
        self.directory = directory
        self.seed = seed
        self.saved_step = 0
        self.saved_at = time.monotonic()
        interval = os.environ.get("QUBIX_CHECKPOINT_INTERVAL_S")
        self.interval_s = float(interval) if interval and "CHECKPOINT_EVERY" not in os.environ else None
        self.every_steps = read_count("CHECKPOINT_EVERY", 75)

    def load_newest(self):
        """Name, step and values of the newest checkpoint; (None, 0, None) when there is none."""
        if self.directory is None:
            return None, 0, None
        names = []
        for name in os.listdir(self.directory):
            if name.startswith(".step-"):
                os.unlink(f"{self.directory}/{name}")  # an earlier process died while writing it
            elif name.startswith("step-") and not name.endswith(".tmp"):
                names.append(name)
        if not names:
            return None, 0, None
        name = max(names)
        path = f"{self.directory}/{name}"
        with open(path, "rb") as file:
            header = np.frombuffer(file.read(32), "<i8")
        if header.tobytes() != self.header(header[1]) or os.path.getsize(path) != HEADER_BYTES + 12 * VALUE_COUNT:
            raise SystemExit(f"error: {path} is not a checkpoint of this model with SEED={self.seed}")
        self.saved_step = int(header[1])
        # Copy on write: the file itself is never changed, and may be deleted meanwhile.
        return name, self.saved_step, np.memmap(path, "<f4", "c", HEADER_BYTES, (3, VALUE_COUNT)).view(np.ndarray)

    def is_due(self, step):
        if self.directory is None:
            return False
        if self.interval_s is None:
            return step % self.every_steps == 0
        return time.monotonic() - self.saved_at >= self.interval_s

    def save(self, step, values):
        """Writes the checkpoint of a step unless it is there already; returns its name."""
        name = f"step-{step:06}.ckpt"
        if self.directory is None or step == self.saved_step:
            return name
        write_durably(self.directory, name, [self.header(step).ljust(HEADER_BYTES, b"\0"), values])
        self.saved_step = step
        self.saved_at = time.monotonic()
        return name

    def header(self, step):
        return MAGIC + np.array([step, self.seed, VALUE_COUNT], "<i8").tobytes()


class Progress:
    """Writes `120/600` in place: the text only ever grows, so that no reader sees it empty or half written."""

    def __init__(self, path, steps_total):
        self.file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self.steps_total = steps_total

    def report(self, step):
        if self.file is not None:
            os.pwrite(self.file, f"{step}/{self.steps_total}\n".encode(), 0)


def write_result(directory, model, seed):
    """model.npz (zip entries bear a fixed date) and sample.txt, some text that the model wrote."""
    import io

    file = io.BytesIO()
    np.savez(
        file,
        table=model.table[0],
        weights_1=model.weights_1,
        bias_1=model.bias_1,
        weights_2=model.weights_2,
        bias_2=model.bias_2,
    )
    sample = write_sample(model, seed, b"This License ", 300)
    write_durably(directory, "sample.txt", [sample])
    write_durably(directory, "model.npz", [file.getbuffer()])
    say(f"done: {directory}/model.npz, {file.tell():,} bytes; it writes like this:")
    say(sample.decode(errors="replace"))


def write_sample(model, seed, prompt, length):
    written = np.frombuffer(prompt, np.uint8)
    draws = (uniform(seed, 2**32, np.arange(length)) + np.float32(1)) / np.float32(2)
    for draw in draws:
        probability = model.forward(written[: -ORDERS - 1 : -1][None])[3][0]
        probability = probability * np.sqrt(probability)  # leans towards the likely bytes
        chosen = np.searchsorted(np.cumsum(probability), draw * probability.sum())
        written = np.append(written, np.uint8(min(chosen, BYTES - 1)))
    return written.tobytes()


def write_durably(directory, name, parts):
    """Writes a file under a temporary name, makes it durable and renames it in."""
    temporary = f"{directory}/.{name}.tmp"
    with open(temporary, "wb", buffering=0) as file:
        for part in parts:
            rest = memoryview(part).cast("B")
            while rest:
                rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    os.rename(temporary, f"{directory}/{name}")
    folder = os.open(directory, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def read_count(name, default):
    text = os.environ.get(name, str(default))
    if not (text.isdecimal() and 0 < int(text) < 1_000_000):
        raise SystemExit(f"error: {name}={text} is not a whole number between 1 and 999999")
    return int(text)


def epoch_note():
    try:
        with open(os.environ["QUBIX_EPOCH_FILE"]) as file:
            return f", epoch {file.read().strip()}"
    except (KeyError, OSError):
        return ""


def say(line):
    os.write(1, f"{line}\n".encode())


sys.exit(main())
