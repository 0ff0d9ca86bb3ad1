"""Counts to STEPS, a step every STEP_S seconds, and goes on from its newest checkpoint: the smallest job that keeps the contract."""

import json
import os
import time

import qubix_checkpoint as qubix


def main():
    steps = int(os.environ.get("STEPS", "60"))
    step_s = float(os.environ.get("STEP_S", "0.5"))
    qubix.watch_sigterm()
    state = load()
    pace = qubix.Pace()
    while state["step"] < steps:
        time.sleep(step_s)
        state["step"] += 1
        state["hash"] = (state["hash"] * 1103515245 + state["step"]) % 2147483648
        print(f"step {state['step']}/{steps} hash {state['hash']}", flush=True)
        qubix.report_progress(state["step"], steps)
        if pace.due() or qubix.stop_requested():
            save(state)
            pace.done()
        if qubix.stop_requested():
            raise SystemExit(143)
    with open(os.path.join(os.environ.get("OUT_DIR", "/out"), "result.txt"), "w") as file:
        file.write(f"steps {steps} hash {state['hash']}\n")


def load():
    path = qubix.newest()
    if path is None:
        return {"step": 0, "hash": 1}
    print(f"resume: from {os.path.basename(path)}", flush=True)
    with open(os.path.join(path, "state.json")) as file:
        return json.load(file)


def save(state):
    if qubix.directory() is None:
        return
    with qubix.saving(f"step-{state['step']:06}") as folder:
        with open(os.path.join(folder, "state.json"), "w") as file:
            json.dump(state, file)


main()
