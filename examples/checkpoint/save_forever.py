"""Saves without a pause, for a test that kills it at any moment. `--check` says how many whole checkpoints there are; 1 when one is not whole."""

import hashlib
import itertools
import os
import shutil
import sys

import qubix_checkpoint as qubix

FILES = 5
FILE_BYTES = 200_000


def save_forever():
    for step in itertools.count():
        with qubix.saving(f"step-{os.getpid():06}-{step:06}") as folder:
            digest = hashlib.sha256()
            for n in range(FILES):
                data = os.urandom(FILE_BYTES)
                digest.update(data)
                with open(os.path.join(folder, str(n)), "wb") as file:
                    file.write(data)
            with open(os.path.join(folder, "sha256"), "w") as file:
                file.write(digest.hexdigest())


def check():
    root = qubix.directory()
    names = os.listdir(root)
    seen = [name for name in names if not name.startswith(".")]
    for name in seen:
        digest = hashlib.sha256()
        for n in range(FILES):
            with open(os.path.join(root, name, str(n)), "rb") as file:
                digest.update(file.read())
        with open(os.path.join(root, name, "sha256")) as file:
            assert file.read() == digest.hexdigest(), f"{name} is not whole"
    assert os.path.basename(qubix.newest()) in seen
    print(f"whole: {len(seen)}{', one cut short' if len(names) > len(seen) else ''}", flush=True)
    # As the agent does it with older ones.
    for name in seen:
        shutil.rmtree(os.path.join(root, name))


if "--check" in sys.argv:
    check()
else:
    save_forever()
