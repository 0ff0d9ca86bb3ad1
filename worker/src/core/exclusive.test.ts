// Exclusive slots in the core: no start without a lease, leases only from answered heartbeats, and a word when the container is over.
import { EXCLUSIVE_LEASE_MS } from "@qubix/shared/protocol";
import type { SessionId, StandbyId } from "@qubix/shared/domain";
import { describe, expect, it } from "vitest";
import type { WorkerEffect } from "./model.ts";
import { ATTEMPT, attemptOf, type Bench, createBench, kinds, messages, RUN, SESSION } from "./testing.ts";

const ID = "job-1-r0e1";
const EXCLUSIVE = { ...RUN, failover: "exclusive" } as const;
const ASSIGN = { kind: "assign", attempt: ATTEMPT, run: EXCLUSIVE, checkpoint: null } as const;
const EXIT = { exitCode: 1, oomKilled: false, diskExceeded: false, ranMs: 5_000 };
const STANDBY = "job-1/s1" as StandbyId;

function opened(bench = createBench([], 100_000)): Bench {
  bench.give({ kind: "boot", containers: new Map() });
  bench.give({ kind: "opened", sessionId: SESSION, contactLossS: 60 });
  return bench;
}

/** Everything is in place but the lease. */
function prepared(): { readonly bench: Bench; readonly effects: readonly WorkerEffect[] } {
  const bench = opened();
  bench.give({ kind: "message", message: ASSIGN });
  const effects = bench.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null });
  return { bench, effects };
}

function running(): Bench {
  const { bench } = prepared();
  answer(bench);
  bench.give({ kind: "started", slotId: ID });
  return bench;
}

const answer = (bench: Bench, epoch = 1, sentAtMs = bench.nowMs) =>
  bench.give({ kind: "answered", attempts: [attemptOf(epoch)], sentAtMs });

const leases = (effects: readonly WorkerEffect[]) =>
  effects.flatMap((effect) => (effect.kind === "lease" ? [effect.untilMs] : []));

describe("a start", () => {
  it("waits for the answer to a heartbeat that lists the attempt, which is sent at once", () => {
    const { bench, effects } = prepared();
    expect(kinds(effects)).toEqual(["send heartbeat"]);
    expect(effects[0]).toMatchObject({ message: { attempts: [{ attempt: ATTEMPT }] } });
    expect(kinds(answer(bench))).toEqual(["lease", "start"]);
  });

  it("does not come of an answer to what was sent long ago", () => {
    const { bench } = prepared();
    expect(kinds(answer(bench, 1, bench.nowMs - EXCLUSIVE_LEASE_MS + 1_000))).toEqual(["lease", "send heartbeat"]);
    expect(kinds(answer(bench))).toContain("start");
  });

  it("of a standby waits, too: its promotion may have lain in a buffer", () => {
    const bench = opened();
    const prepare = {
      kind: "prepare",
      standbyId: STANDBY,
      jobId: ATTEMPT.jobId,
      run: EXCLUSIVE,
      checkpoint: null,
    } as const;
    bench.give({ kind: "message", message: prepare });
    bench.give({ kind: "prepared", slotId: "job-1-s1", checkpointSeq: 0, entry: null });
    const promote = { kind: "promote", standbyId: STANDBY, attempt: attemptOf(2), checkpoint: null } as const;
    expect(kinds(bench.give({ kind: "message", message: promote }))).toEqual(["send heartbeat"]);
    expect(kinds(answer(bench, 2))).toEqual(["lease", "start"]);
  });

  it("of what was fenced meanwhile does not come", () => {
    const { bench } = prepared();
    bench.give({ kind: "message", message: { kind: "fence", attempt: ATTEMPT } });
    expect(answer(bench)).toEqual([]);
  });

  it("of any other job waits for nothing", () => {
    const bench = opened();
    bench.give({ kind: "message", message: { ...ASSIGN, run: RUN } });
    expect(kinds(bench.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null }))).toEqual(["start"]);
    expect(answer(bench)).toEqual([]);
  });
});

describe("a lease", () => {
  it("counts from when the heartbeat was sent, and never grows shorter", () => {
    const bench = running();
    bench.nowMs += 3_000;
    expect(leases(answer(bench, 1, bench.nowMs - 400))).toEqual([bench.nowMs - 400 + EXCLUSIVE_LEASE_MS]);
    expect(leases(answer(bench, 1, bench.nowMs - 900))).toEqual([]);
  });

  it("is not renewed by an answer to an older epoch, nor of what is fenced", () => {
    const bench = running();
    bench.nowMs += 3_000;
    const adopted = bench.give({
      kind: "message",
      message: { kind: "adopt", attempt: attemptOf(2), from: 1 as never },
    });
    // The first answer under the new epoch is asked for at once.
    expect(kinds(adopted)).toEqual(["relabel", "send started", "send heartbeat"]);
    expect(leases(answer(bench, 1))).toEqual([]);
    expect(leases(answer(bench, 2))).toHaveLength(1);
    bench.give({ kind: "message", message: { kind: "fence", attempt: attemptOf(2) } });
    bench.nowMs += 1_000;
    expect(leases(answer(bench, 2))).toEqual([]);
  });

  it("that an agent finds after its start is none until an answer comes", () => {
    const before = running();
    const bench = createBench([...before.journal.values()], before.nowMs);
    const container = {
      state: "running",
      exitCode: null,
      oomKilled: false,
      diskExceeded: false,
      ranMs: 5,
      newest: null,
    } as const;
    expect(leases(bench.give({ kind: "boot", containers: new Map([[ID, container]]) }))).toEqual([]);
    bench.give({ kind: "opened", sessionId: "ses-2" as SessionId, contactLossS: 60 });
    expect(leases(answer(bench))).toHaveLength(1);
  });
});

describe("the word that a container is over", () => {
  const stopped = { kind: "stopped", attempt: ATTEMPT };

  it("is said when it has ended, before its end is told, and again at the next session", () => {
    const bench = running();
    const said = messages(bench.give({ kind: "exited", slotId: ID, ...EXIT }));
    expect(said[0]).toEqual(stopped);
    expect(said.at(-1)).toMatchObject({ kind: "ended", outcome: { kind: "failed" } });
    bench.give({ kind: "closed" });
    const again = messages(bench.give({ kind: "opened", sessionId: "ses-2" as SessionId, contactLossS: 60 }));
    expect(again.slice(1)).toEqual([stopped, expect.objectContaining({ kind: "ended" })]);
  });

  it("is said when it was never started", () => {
    const { bench } = prepared();
    const outcome = { kind: "worker_failed", code: "image_pull_failed", message: "" } as const;
    expect(messages(bench.give({ kind: "failed", slotId: ID, outcome }))).toEqual([
      stopped,
      expect.objectContaining({ kind: "ended" }),
    ]);
  });

  it("is not said while it may still run: a fault of its start or of the Engine proves nothing", () => {
    const bench = running();
    const outcome = { kind: "worker_failed", code: "docker_error", message: "" } as const;
    const said = messages(bench.give({ kind: "failed", slotId: ID, outcome }));
    expect(said.map(({ kind }) => kind)).toEqual(["ended"]);
    bench.give({ kind: "acknowledged", message: { kind: "ended", attempt: ATTEMPT, ranMs: 0, outcome } });
    expect(messages(bench.give({ kind: "removed", slotId: ID }))).toEqual([stopped]);
    expect(bench.journal.size).toBe(0);
  });

  it("is said of a fenced container when it is removed, and of no other job", () => {
    const bench = running();
    expect(messages(bench.give({ kind: "message", message: { kind: "fence", attempt: ATTEMPT } }))).toEqual([]);
    expect(messages(bench.give({ kind: "removed", slotId: ID }))).toEqual([stopped]);
    const other = opened();
    other.give({ kind: "message", message: { ...ASSIGN, run: RUN } });
    other.give({ kind: "message", message: { kind: "fence", attempt: ATTEMPT } });
    expect(messages(other.give({ kind: "removed", slotId: ID }))).toEqual([]);
  });

  it("does not come of a container that cannot be killed, on a lost GPU", () => {
    const bench = running();
    const outcome = { kind: "worker_failed", code: "gpu_lost", message: "" } as const;
    bench.give({ kind: "reclaim", slotId: ID, outcome });
    bench.nowMs += 60_000;
    answer(bench);
    const said = messages(bench.give({ kind: "timer" }));
    expect(said).toEqual([]);
  });
});
