import { describe, expect, it } from "vitest";
import type { StandbyId } from "@qubix/shared/domain";
import type { WorkerFailure } from "./model.ts";
import { nextDeadlineMs } from "./step.ts";
import {
  ATTEMPT,
  type Bench,
  checkpointOf,
  createBench,
  kinds,
  messages,
  RUN,
  SESSION,
  shipped,
  treeOf,
} from "./testing.ts";

const ID = "job-1-r0e1";
const OWNER: WorkerFailure = { kind: "worker_failed", code: "owner_reclaimed", message: "Its owner uses the GPU." };
const LOST: WorkerFailure = { kind: "worker_failed", code: "gpu_lost", message: "The GPU is lost." };
const KILLED = { exitCode: 137, oomKilled: false, diskExceeded: false, ranMs: 9_000 };

function prepared(run = RUN): Bench {
  const bench = createBench();
  bench.give({ kind: "boot", containers: new Map() });
  bench.give({ kind: "opened", sessionId: SESSION, contactLossS: 60 });
  bench.give({ kind: "message", message: { kind: "assign", attempt: ATTEMPT, run, checkpoint: null } });
  return bench;
}

function running(run = RUN): Bench {
  const bench = prepared(run);
  bench.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null });
  bench.give({ kind: "started", slotId: ID });
  return bench;
}

describe("what a worker takes back", () => {
  it("is stopped in good order, its newest checkpoint shipped, and only then told", () => {
    const bench = running();
    expect(bench.give({ kind: "reclaim", slotId: ID, outcome: OWNER })).toEqual([
      { kind: "request", slotId: ID, number: 1 },
    ]);
    // The card is looked at again and again.
    expect(bench.give({ kind: "reclaim", slotId: ID, outcome: OWNER })).toEqual([]);
    expect(kinds(bench.give({ kind: "entry", slotId: ID, entry: "a", ranMs: 8_000, progress: null }))).toEqual([
      "ship",
      "stop",
    ]);
    bench.give({ kind: "exited", slotId: ID, ...KILLED });
    const told = bench.give(shipped(ID, "a", 8_000));
    const [checkpoint] = messages(told);
    if (checkpoint === undefined) throw new Error("no checkpoint was told");
    const [ended] = messages(bench.give({ kind: "acknowledged", message: checkpoint })).slice(-1);
    expect(ended).toEqual({ kind: "ended", attempt: ATTEMPT, ranMs: 9_000, outcome: { ...OWNER, saved: true } });
  });

  it("says why also when the job ended with success on its SIGTERM, and after a restart of the agent", () => {
    const before = running();
    before.give({ kind: "reclaim", slotId: ID, outcome: OWNER });
    const bench = createBench([...before.journal.values()], before.nowMs);
    const stillRuns = { state: "running" as const, ...KILLED, exitCode: null, newest: null };
    expect(kinds(bench.give({ kind: "boot", containers: new Map([[ID, stillRuns]]) }))).toEqual(["follow", "request"]);
    bench.nowMs += bench.state.config.ownerWaitsMs;
    expect(kinds(bench.give({ kind: "timer" }))).toEqual(["stop"]);
    bench.give({ kind: "opened", sessionId: SESSION, contactLossS: 60 });
    const exited = bench.give({ kind: "exited", slotId: ID, ...KILLED, exitCode: 0 });
    expect(messages(exited)).toMatchObject([{ kind: "ended", outcome: OWNER }]);
  });

  it("may not have started yet", () => {
    const bench = prepared();
    expect(messages(bench.give({ kind: "reclaim", slotId: ID, outcome: LOST }))).toMatchObject([
      { kind: "ended", outcome: LOST },
    ]);
    const starting = prepared();
    starting.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null });
    expect(starting.give({ kind: "reclaim", slotId: ID, outcome: LOST })).toEqual([]);
    expect(kinds(starting.give({ kind: "started", slotId: ID }))).toEqual(["send started", "stop"]);
  });

  it("may be a standby", () => {
    const bench = prepared();
    const standbyId = "job-2/s1" as StandbyId;
    const { jobId } = ATTEMPT;
    bench.give({ kind: "message", message: { kind: "prepare", standbyId, jobId, run: RUN, checkpoint: null } });
    const effects = bench.give({ kind: "reclaim", slotId: "job-2-s1", outcome: OWNER });
    expect(messages(effects)).toMatchObject([{ kind: "standby.failed", standbyId, code: "owner_reclaimed" }]);
    expect(kinds(effects)).toContain("remove");
  });

  it("leaves alone what is over, or is being stopped for another reason", () => {
    const collecting = running();
    collecting.give({ kind: "exited", slotId: ID, ...KILLED, exitCode: 0 });
    expect(collecting.give({ kind: "reclaim", slotId: ID, outcome: OWNER })).toEqual([]);
    const done = collecting.give({ kind: "outputs", slotId: ID, tree: treeOf(1) });
    expect(messages(done)).toMatchObject([{ kind: "ended", outcome: { kind: "succeeded" } }]);
    expect(collecting.give({ kind: "reclaim", slotId: ID, outcome: OWNER })).toEqual([]);

    const cancelled = running();
    cancelled.give({ kind: "message", message: { kind: "stop", attempt: ATTEMPT, reason: "cancelled" } });
    expect(cancelled.give({ kind: "reclaim", slotId: ID, outcome: OWNER })).toEqual([]);
    expect(messages(cancelled.give({ kind: "exited", slotId: ID, ...KILLED }))).toMatchObject([
      { kind: "ended", outcome: { kind: "stopped" } },
    ]);
  });

  it("is not waited for when the driver holds it for ever, unless it reaches the network", () => {
    const bench = running();
    bench.give({ kind: "reclaim", slotId: ID, outcome: LOST });
    const giveUpMs = RUN.stopGraceS * 1000 + bench.state.config.unkillableMs;
    // Heartbeats go on meanwhile.
    while (bench.nowMs < giveUpMs) {
      bench.nowMs = Math.min(giveUpMs, nextDeadlineMs(bench.state) ?? giveUpMs);
      const told = messages(bench.give({ kind: "timer" }));
      expect(told).toMatchObject(bench.nowMs < giveUpMs ? [] : [{ kind: "ended", outcome: LOST }]);
    }
    expect(bench.give({ kind: "exited", slotId: ID, ...KILLED })).toEqual([]);

    const networked = running({ ...RUN, network: "egress" });
    networked.give({ kind: "reclaim", slotId: ID, outcome: LOST });
    networked.nowMs = 10 * giveUpMs;
    expect(messages(networked.give({ kind: "timer" }))).toEqual([]);
  });

  it("keeps what is committed for the next worker", () => {
    const bench = prepared();
    bench.give({ kind: "prepared", slotId: ID, checkpointSeq: checkpointOf(3).seq, entry: "c" });
    bench.give({ kind: "started", slotId: ID });
    bench.give({ kind: "reclaim", slotId: ID, outcome: OWNER });
    const exited = bench.give({ kind: "exited", slotId: ID, ...KILLED });
    expect(messages(exited)).toMatchObject([{ kind: "ended", outcome: OWNER }]);
  });
});
