import { describe, expect, it } from "vitest";
import type { StandbyId } from "@qubix/shared/domain";
import type { ContainerFound, Slot } from "./model.ts";
import { helloOf } from "./reports.ts";
import { shipAtMs } from "./shipping.ts";
import { nextDeadlineMs } from "./step.ts";
import {
  ATTEMPT,
  attemptOf,
  type Bench,
  checkpointOf,
  createBench,
  kinds,
  messages,
  OFFER,
  RUN,
  SESSION,
  shipped,
  treeOf,
} from "./testing.ts";

const ID = "job-1-r0e1";
const STANDBY = "job-1/s1" as StandbyId;
const STANDBY_SLOT = "job-1-s1";
const EXIT_0 = { exitCode: 0, oomKilled: false, diskExceeded: false, ranMs: 5_000 };
const ASSIGN = { kind: "assign", attempt: ATTEMPT, run: RUN, checkpoint: null } as const;

function opened(bench = createBench()): Bench {
  bench.give({ kind: "boot", containers: new Map() });
  bench.give({ kind: "opened", sessionId: SESSION, contactLossS: 60 });
  return bench;
}

function running(): Bench {
  const bench = opened();
  bench.give({ kind: "message", message: ASSIGN });
  bench.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null });
  bench.give({ kind: "started", slotId: ID });
  return bench;
}

function standby(): Bench {
  const bench = opened();
  bench.give({
    kind: "message",
    message: { kind: "prepare", standbyId: STANDBY, jobId: ATTEMPT.jobId, run: RUN, checkpoint: null },
  });
  bench.give({ kind: "prepared", slotId: STANDBY_SLOT, checkpointSeq: 0, entry: null });
  return bench;
}

function found(patch: Partial<ContainerFound>): ContainerFound {
  return { state: "absent", exitCode: null, oomKilled: false, diskExceeded: false, ranMs: 0, newest: null, ...patch };
}

/** The agent dies and comes back with its journal. */
function restarted(before: Bench, container: ContainerFound, slotId = ID): Bench {
  const bench = createBench([...before.journal.values()], before.nowMs);
  bench.give({ kind: "boot", containers: new Map([[slotId, container]]) });
  return bench;
}

function slotOf(bench: Bench, id = ID): Slot | undefined {
  return bench.journal.get(id);
}

describe("an attempt", () => {
  it("is prepared, started, collected, ended and removed", () => {
    const bench = opened();
    expect(kinds(bench.give({ kind: "message", message: ASSIGN }))).toEqual(["prepare"]);
    expect(kinds(bench.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null }))).toEqual(["start"]);
    expect(messages(bench.give({ kind: "started", slotId: ID }))).toEqual([
      { kind: "started", attempt: ATTEMPT, fromSeq: 0 },
    ]);
    const exited = bench.give({ kind: "exited", slotId: ID, ...EXIT_0 });
    expect(kinds(exited)).toEqual(["send exited", "collect"]);
    const [ended] = messages(bench.give({ kind: "outputs", slotId: ID, tree: treeOf(9) }));
    expect(ended).toEqual({
      kind: "ended",
      attempt: ATTEMPT,
      ranMs: 5_000,
      outcome: { kind: "succeeded", outputs: treeOf(9) },
    });
    if (ended === undefined) throw new Error("no end was told");
    expect(kinds(bench.give({ kind: "acknowledged", message: ended }))).toEqual(["remove"]);
    bench.give({ kind: "removed", slotId: ID });
    expect(bench.journal.size).toBe(0);
  });

  it("answers a repeated assign with where it stands, and does nothing twice", () => {
    const bench = opened();
    bench.give({ kind: "message", message: ASSIGN });
    expect(bench.give({ kind: "message", message: ASSIGN })).toEqual([]);
    bench.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null });
    bench.give({ kind: "started", slotId: ID });
    expect(kinds(bench.give({ kind: "message", message: ASSIGN }))).toEqual(["send started"]);
    bench.give({ kind: "failed", slotId: ID, outcome: { kind: "worker_failed", code: "docker_error", message: "x" } });
    expect(kinds(bench.give({ kind: "message", message: ASSIGN }))).toEqual(["send ended"]);
  });

  it("tells its end again at the next session until it is answered", () => {
    const bench = running();
    bench.give({ kind: "closed" });
    bench.give({ kind: "exited", slotId: ID, ...EXIT_0 });
    expect(bench.give({ kind: "outputs", slotId: ID, tree: null })).toEqual([]);
    const greeted = messages(bench.give({ kind: "opened", sessionId: SESSION, contactLossS: 60 }));
    expect(greeted.map((message) => message.kind)).toEqual(["hello", "ended"]);
  });

  it.each([
    [{ ...EXIT_0, exitCode: 3 }, "exit_code"],
    [{ ...EXIT_0, exitCode: 137, oomKilled: true }, "oom"],
    [{ ...EXIT_0, exitCode: 137, diskExceeded: true }, "disk_exceeded"],
  ])("that fails by itself says how: %o", (exit, code) => {
    const bench = running();
    const [ended] = messages(bench.give({ kind: "exited", slotId: ID, ...exit }));
    expect(ended).toMatchObject({ kind: "ended", outcome: { kind: "failed", code } });
  });

  it("that is stopped while it is being prepared ends without a container", () => {
    const bench = opened();
    bench.give({ kind: "message", message: ASSIGN });
    const stop = { kind: "stop", attempt: ATTEMPT, reason: "cancelled" } as const;
    expect(messages(bench.give({ kind: "message", message: stop }))).toMatchObject([{ outcome: { kind: "stopped" } }]);
    expect(bench.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null })).toEqual([]);
  });

  it("that is stopped while it starts is stopped once it runs, and its success does not count", () => {
    const bench = opened();
    bench.give({ kind: "message", message: ASSIGN });
    bench.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null });
    bench.give({ kind: "message", message: { kind: "stop", attempt: ATTEMPT, reason: "deadline" } });
    expect(kinds(bench.give({ kind: "started", slotId: ID }))).toEqual(["send started", "stop"]);
    const [, ended] = messages(bench.give({ kind: "exited", slotId: ID, ...EXIT_0 }));
    expect(ended ?? slotOf(bench)?.end).toMatchObject({ outcome: { kind: "stopped" } });
  });

  it("that is fenced is removed and never told of again", () => {
    const bench = running();
    expect(kinds(bench.give({ kind: "message", message: { kind: "fence", attempt: ATTEMPT } }))).toEqual(["remove"]);
    expect(helloOf(bench.state, 0).attempts).toEqual([]);
    expect(bench.give({ kind: "exited", slotId: ID, ...EXIT_0 })).toEqual([]);
  });

  it("is not touched by the fence of another epoch, nor by an assign of an older one", () => {
    const bench = opened();
    bench.give({ kind: "message", message: { ...ASSIGN, attempt: attemptOf(2) } });
    expect(bench.give({ kind: "message", message: { kind: "fence", attempt: ATTEMPT } })).toEqual([]);
    expect(bench.give({ kind: "message", message: ASSIGN })).toEqual([]);
  });

  it("is told missing when an order names one that is not here", () => {
    const bench = opened();
    const adopt = { kind: "adopt", attempt: attemptOf(3), from: ATTEMPT.epoch } as const;
    expect(messages(bench.give({ kind: "message", message: adopt }))).toMatchObject([
      { kind: "ended", attempt: attemptOf(3), outcome: { code: "lost_container" } },
    ]);
  });

  it("goes on under a later epoch when it is adopted, and its waiting checkpoint with it", () => {
    const bench = running();
    bench.give({ kind: "entry", slotId: ID, entry: "a", ranMs: 1_000, progress: 0.5 });
    bench.give(shipped(ID, "a", 1_000, 0.5));
    const adopt = { kind: "adopt", attempt: attemptOf(3), from: ATTEMPT.epoch } as const;
    const effects = bench.give({ kind: "message", message: adopt });
    expect(kinds(effects)).toEqual(["relabel", "send started", "send checkpoint"]);
    expect(messages(effects)).toMatchObject([{ attempt: attemptOf(3) }, { attempt: attemptOf(3), seq: 1 }]);
    expect(kinds(bench.give({ kind: "message", message: adopt }))).toEqual(["send started", "send checkpoint"]);
  });
});

describe("checkpoints", () => {
  it("are shipped newest first, one at a time, spaced by the interval", () => {
    const bench = running();
    expect(kinds(bench.give({ kind: "entry", slotId: ID, entry: "a", ranMs: 1, progress: null }))).toEqual(["ship"]);
    bench.nowMs = 10_000;
    expect(bench.give({ kind: "entry", slotId: ID, entry: "b", ranMs: 2, progress: null })).toEqual([]);
    expect(bench.give({ kind: "entry", slotId: ID, entry: "c", ranMs: 3, progress: null })).toEqual([]);
    const saved = shipped(ID, "a", 1);
    const [checkpoint] = messages(bench.give(saved));
    expect(checkpoint).toMatchObject({ kind: "checkpoint", seq: 1, parentSeq: 0 });
    if (checkpoint === undefined) throw new Error("no checkpoint was told");
    expect(kinds(bench.give({ kind: "acknowledged", message: checkpoint }))).toEqual(["committed"]);
    bench.nowMs = 30_000;
    const due = bench.give({ kind: "timer" }).filter((effect) => effect.kind === "ship");
    expect(due).toMatchObject([{ entry: "c" }]);
  });

  it("are shipped at once when the container is over, before its end is told", () => {
    const bench = running();
    bench.give({ kind: "entry", slotId: ID, entry: "a", ranMs: 1, progress: null });
    bench.give({ kind: "shipFailed", slotId: ID, entry: "a" });
    bench.nowMs = 2_000;
    bench.give({ kind: "message", message: { kind: "stop", attempt: ATTEMPT, reason: "drain" } });
    const effects = bench.give({ kind: "exited", slotId: ID, ...EXIT_0 });
    expect(kinds(effects)).toEqual(["ship"]);
    const saved = shipped(ID, "a", 1);
    const [checkpoint] = messages(bench.give(saved));
    if (checkpoint === undefined) throw new Error("no checkpoint was told");
    expect(kinds(bench.give({ kind: "acknowledged", message: checkpoint }))).toEqual(["committed", "send ended"]);
  });

  it("that a store keeps refusing do not hold an end up for ever", () => {
    const bench = running();
    bench.give({ kind: "entry", slotId: ID, entry: "a", ranMs: 1, progress: null });
    bench.give({ kind: "exited", slotId: ID, ...EXIT_0, exitCode: 1 });
    for (let tries = 0; tries < 3; tries += 1) {
      expect(slotOf(bench)?.phase).toBe("collecting");
      bench.give({ kind: "shipFailed", slotId: ID, entry: "a" });
      bench.nowMs += 1_000;
      bench.give({ kind: "timer" });
    }
    expect(slotOf(bench)?.phase).toBe("ended");
  });

  it("that are refused under an older epoch do not touch the adopted one's", () => {
    const bench = running();
    bench.give({ kind: "entry", slotId: ID, entry: "a", ranMs: 1, progress: null });
    const saved = shipped(ID, "a", 1);
    const [old] = messages(bench.give(saved));
    if (old === undefined) throw new Error("no checkpoint was told");
    bench.give({ kind: "message", message: { kind: "adopt", attempt: attemptOf(3), from: ATTEMPT.epoch } });
    bench.give({ kind: "refused", message: old, code: "stale_epoch", reason: "" });
    expect(slotOf(bench)?.pending?.seq).toBe(1);
    expect(kinds(bench.give({ kind: "acknowledged", message: old }))).toEqual(["committed"]);
  });
});

describe("checkpoints on a line that does not keep up", () => {
  /** The job saves, and again while that is shipped, which takes this long; returns what was told, and goes on when the next may be shipped. */
  function save(bench: Bench, entry: string, tookMs: number) {
    const { nowMs } = bench;
    bench.give({ kind: "entry", slotId: ID, entry, ranMs: nowMs, progress: null });
    bench.give({ kind: "timer" });
    bench.nowMs = nowMs + tookMs;
    bench.give({ kind: "entry", slotId: ID, entry: `${entry}+`, ranMs: bench.nowMs, progress: null });
    const effects = bench.give({ kind: "shipped", slotId: ID, entry, tree: treeOf(1), ranMs: nowMs, progress: null });
    const [told] = messages(effects);
    if (told?.kind !== "checkpoint") throw new Error("no checkpoint was told");
    bench.give({ kind: "acknowledged", message: told });
    const notes = effects.flatMap((effect) => (effect.kind === "note" ? [effect.text] : []));
    return { shipMs: told.shipMs, intervalS: told.intervalS, notes };
  }

  it("lie further apart until shipping fits in between, and as asked again when it is quick; the job and the orchestrator are told", () => {
    const bench = running();
    const slow = save(bench, "a", 70_000);
    expect(slow).toMatchObject({ shipMs: 70_000, intervalS: 120 });
    expect(slow.notes).toEqual([
      "qubix: shipping the last checkpoint took 70.0 s, longer than the time between two of them: one is taken every 120 s from now on (30 s were asked for), always the newest.\n",
    ]);
    // The one that waits is not shipped before its time.
    expect(nextShipMs(bench)).toBe(120_000);
    bench.nowMs = 120_000;
    expect(save(bench, "b", 65_000)).toMatchObject({ intervalS: 120, notes: [] });
    bench.nowMs = 240_000;
    const quick = save(bench, "c", 2_000);
    expect(quick).toMatchObject({ shipMs: 2_000, intervalS: undefined });
    expect(quick.notes).toEqual([
      "qubix: checkpoints are shipped quickly again (2.0 s): one is taken every 30 s from now on, as asked for.\n",
    ]);
    expect(nextShipMs(bench)).toBe(270_000);
  });

  it("lie no more than eight intervals apart, and as asked where the job saves no oftener than the line takes them", () => {
    const bench = running();
    expect(save(bench, "a", 3_600_000)).toMatchObject({ intervalS: 240 });
    const seldom = running();
    seldom.give({ kind: "entry", slotId: ID, entry: "a", ranMs: 0, progress: null });
    seldom.nowMs = 70_000;
    const [told] = messages(seldom.give(shipped(ID, "a", 0)));
    expect(told).toMatchObject({ kind: "checkpoint", shipMs: 70_000 });
    expect(told).not.toHaveProperty("intervalS");
  });

  it("are not judged by one whose shipping a cut line interrupted", () => {
    const bench = running();
    bench.give({ kind: "entry", slotId: ID, entry: "a", ranMs: 0, progress: null });
    bench.give({ kind: "closed" });
    bench.nowMs = 300_000;
    bench.give({ kind: "opened", sessionId: SESSION, contactLossS: 60 });
    bench.give({ kind: "entry", slotId: ID, entry: "b", ranMs: 300_000, progress: null });
    const [told] = messages(bench.give(shipped(ID, "a", 0)));
    expect(told).not.toHaveProperty("intervalS");
  });

  /** When the next checkpoint is due, whatever heartbeats are before it. */
  function nextShipMs(bench: Bench): number | null {
    const slot = bench.state.slots.get(ID);
    return slot === undefined ? null : shipAtMs(bench.state, slot);
  }
});

describe("what an image's tag stood for", () => {
  const [one, two] = ["sha256:1", "sha256:2"];
  const prepare = (imageDigest: string) =>
    ({
      kind: "message",
      message: {
        kind: "prepare",
        standbyId: STANDBY,
        jobId: ATTEMPT.jobId,
        run: { ...RUN, imageDigest },
        checkpoint: null,
      },
    }) as const;

  it("is told with the start, also after a restart of the agent", () => {
    const bench = opened();
    bench.give({ kind: "message", message: ASSIGN });
    bench.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null, imageDigest: one });
    const told = { kind: "started", attempt: ATTEMPT, fromSeq: 0, imageDigest: one };
    expect(messages(bench.give({ kind: "started", slotId: ID }))).toEqual([told]);
    const again = restarted(bench, found({ state: "running" }));
    const greeting = again.give({ kind: "opened", sessionId: SESSION, contactLossS: 60 });
    expect(messages(greeting)).toContainEqual(told);
  });

  it("keeps a standby that has the same, and gives up one that has another", () => {
    const same = standby();
    same.give({ kind: "prepared", slotId: STANDBY_SLOT, checkpointSeq: 0, entry: null, imageDigest: one });
    expect(kinds(same.give(prepare(one)))).toEqual(["send standby.ready"]);
    expect(kinds(same.give(prepare(two)))).toEqual(["send standby.ready"]);
    const other = standby();
    other.give({ kind: "prepared", slotId: STANDBY_SLOT, checkpointSeq: 0, entry: null, imageDigest: one });
    expect(kinds(other.give(prepare(two)))).toEqual(["send standby.failed", "remove"]);
    const late = opened();
    late.give({
      kind: "message",
      message: { kind: "prepare", standbyId: STANDBY, jobId: ATTEMPT.jobId, run: RUN, checkpoint: null },
    });
    expect(kinds(late.give(prepare(two)))).toEqual([]);
    const answer = { kind: "prepared", slotId: STANDBY_SLOT, checkpointSeq: 0, entry: null, imageDigest: one } as const;
    expect(kinds(late.give(answer))).toEqual(["send standby.failed", "remove"]);
  });
});

describe("a standby", () => {
  it("follows the newest checkpoint and starts at once when promoted", () => {
    const bench = standby();
    const newer = { kind: "standby.checkpoint", standbyId: STANDBY, checkpoint: checkpointOf(1) } as const;
    expect(kinds(bench.give({ kind: "message", message: newer }))).toEqual(["restore"]);
    expect(messages(bench.give({ kind: "prepared", slotId: STANDBY_SLOT, checkpointSeq: 1, entry: "e" }))).toEqual([
      { kind: "standby.ready", standbyId: STANDBY, checkpointSeq: 1 },
    ]);
    const promote = {
      kind: "promote",
      standbyId: STANDBY,
      attempt: attemptOf(2),
      checkpoint: checkpointOf(1),
    } as const;
    expect(kinds(bench.give({ kind: "message", message: promote }))).toEqual(["start"]);
    expect(messages(bench.give({ kind: "started", slotId: STANDBY_SLOT }))).toMatchObject([{ fromSeq: 1 }]);
    expect(helloOf(bench.state, 0)).toMatchObject({ standbys: [], attempts: [{ attempt: attemptOf(2) }] });
  });

  it("promoted with a newer checkpoint than it has unpacks that first", () => {
    const bench = standby();
    const promote = {
      kind: "promote",
      standbyId: STANDBY,
      attempt: attemptOf(2),
      checkpoint: checkpointOf(2),
    } as const;
    expect(kinds(bench.give({ kind: "message", message: promote }))).toEqual(["restore"]);
    const prepared = { kind: "prepared", slotId: STANDBY_SLOT, checkpointSeq: 2, entry: "e" } as const;
    expect(kinds(bench.give(prepared))).toEqual(["start"]);
  });

  it("that can no longer fetch a checkpoint goes on with the newest one that it was told of meanwhile", () => {
    const outcome = { kind: "worker_failed", code: "restore_failed", message: "not kept" } as const;
    const told = (seq: number) =>
      ({
        kind: "message",
        message: { kind: "standby.checkpoint", standbyId: STANDBY, checkpoint: checkpointOf(seq) },
      }) as const;
    const bench = standby();
    bench.give(told(1));
    expect(bench.give(told(2))).toEqual([]);
    expect(bench.give(told(3))).toEqual([]);
    const [again] = bench.give({ kind: "failed", slotId: STANDBY_SLOT, outcome });
    expect(again).toMatchObject({ kind: "restore", checkpoint: { seq: 3 } });
    expect(kinds(bench.give({ kind: "failed", slotId: STANDBY_SLOT, outcome }))).toEqual([
      "send standby.failed",
      "remove",
    ]);
    const promoted = standby();
    promoted.give(told(1));
    promoted.give({
      kind: "message",
      message: { kind: "promote", standbyId: STANDBY, attempt: attemptOf(2), checkpoint: checkpointOf(2) },
    });
    const [prepare] = promoted.give({ kind: "failed", slotId: STANDBY_SLOT, outcome });
    expect(prepare).toMatchObject({ kind: "prepare", checkpoint: { seq: 2 } });
    const prepared = { kind: "prepared", slotId: STANDBY_SLOT, checkpointSeq: 2, entry: "e" } as const;
    expect(kinds(promoted.give(prepared))).toEqual(["start"]);
  });

  it("that cannot be prepared says so and is removed", () => {
    const bench = standby();
    const outcome = { kind: "worker_failed", code: "restore_failed", message: "bad chunk" } as const;
    const effects = bench.give({ kind: "failed", slotId: STANDBY_SLOT, outcome });
    expect(kinds(effects)).toEqual(["send standby.failed", "remove"]);
  });

  it("is removed by a release, unless it was promoted", () => {
    const bench = standby();
    const promote = { kind: "promote", standbyId: STANDBY, attempt: attemptOf(2), checkpoint: null } as const;
    bench.give({ kind: "message", message: promote });
    expect(bench.give({ kind: "message", message: { kind: "release", standbyId: STANDBY } })).toEqual([]);
    const other = standby();
    expect(kinds(other.give({ kind: "message", message: { kind: "release", standbyId: STANDBY } }))).toEqual([
      "remove",
    ]);
  });
});

describe("after a crash of the agent", () => {
  it("a container that still runs is followed, with the time it ran", () => {
    const bench = createBench([...running().journal.values()], 50_000);
    const containers = new Map([[ID, found({ state: "running", ranMs: 20_000 })]]);
    expect(kinds(bench.give({ kind: "boot", containers }))).toEqual(["follow"]);
    bench.nowMs = 51_000;
    expect(helloOf(bench.state, bench.nowMs).attempts).toMatchObject([{ phase: "running", ranMs: 21_000 }]);
  });

  it("a container that ended meanwhile is collected", () => {
    const bench = restarted(running(), found({ state: "exited", exitCode: 0, ranMs: 9_000 }));
    expect(slotOf(bench)).toMatchObject({ phase: "collecting", ranMs: 9_000, end: null });
    expect(helloOf(bench.state, 0).attempts).toMatchObject([{ phase: "exited" }]);
  });

  it("a container that failed meanwhile has ended, while its last checkpoint is still to be shipped", () => {
    const newest = { entry: "a", ranMs: 8_000, progress: null };
    const bench = restarted(running(), found({ state: "exited", exitCode: 3, ranMs: 9_000, newest }));
    expect(slotOf(bench)).toMatchObject({ phase: "collecting", end: { outcome: { code: "exit_code" } } });
    expect(helloOf(bench.state, 0).attempts).toMatchObject([{ phase: "ended", ranMs: 9_000 }]);
  });

  it("a container that is gone is the worker's failure", () => {
    const bench = restarted(running(), found({}));
    expect(slotOf(bench)).toMatchObject({ phase: "ended", end: { outcome: { code: "lost_container" } } });
  });

  it("an entry that was committed is not shipped again, a newer one is", () => {
    const before = running();
    before.give({ kind: "entry", slotId: ID, entry: "a", ranMs: 1, progress: null });
    const saved = shipped(ID, "a", 1);
    const [checkpoint] = messages(before.give(saved));
    if (checkpoint === undefined) throw new Error("no checkpoint was told");
    before.give({ kind: "acknowledged", message: checkpoint });
    const open = { kind: "opened", sessionId: SESSION, contactLossS: 60 } as const;
    const newest = { entry: "a", ranMs: 1, progress: null };
    const same = restarted(before, found({ state: "running", ranMs: 2, newest }));
    expect(kinds(same.give(open))).not.toContain("ship");
    const other = restarted(before, found({ state: "running", ranMs: 2, newest: { ...newest, entry: "b" } }));
    expect(kinds(other.give(open))).toContain("ship");
  });

  it("a prepared standby stays ready; one without its container is prepared again", () => {
    const ready = restarted(standby(), found({ state: "created" }), STANDBY_SLOT);
    expect(helloOf(ready.state, 0).standbys).toMatchObject([{ standbyId: STANDBY, phase: "ready" }]);
    const gone = restarted(standby(), found({}), STANDBY_SLOT);
    expect(helloOf(gone.state, 0).standbys).toMatchObject([{ phase: "preparing" }]);
  });
});

describe("contact", () => {
  it("heartbeats come often with work and seldom without", () => {
    const bench = opened();
    expect(nextDeadlineMs(bench.state)).toBe(5_000);
    bench.give({ kind: "message", message: ASSIGN });
    expect(nextDeadlineMs(bench.state)).toBe(1_000);
    bench.nowMs = 1_000;
    expect(bench.give({ kind: "timer" })).toEqual([
      {
        kind: "send",
        message: {
          kind: "heartbeat",
          attempts: [{ attempt: ATTEMPT, ranMs: 0, progress: null, phase: "preparing" }],
        },
      },
    ]);
  });

  it("lost for longer than allowed stops the work and keeps the reason", () => {
    const bench = running();
    bench.give({ kind: "closed" });
    expect(nextDeadlineMs(bench.state)).toBe(60_000);
    bench.nowMs = 60_000;
    expect(kinds(bench.give({ kind: "timer" }))).toEqual(["stop"]);
    bench.give({ kind: "exited", slotId: ID, ...EXIT_0, ranMs: 60_500 });
    expect(slotOf(bench)?.end).toMatchObject({ ranMs: 60_500, outcome: { code: "contact_loss" } });
    expect(nextDeadlineMs(bench.state)).toBeNull();
  });

  it("a changed offer is told, and is in the next hello", () => {
    const bench = opened();
    const offer = { ...OFFER, draining: true };
    expect(messages(bench.give({ kind: "offer", offer }))).toEqual([{ kind: "offer", offer }]);
    expect(helloOf(bench.state, 0).offer.draining).toBe(true);
  });
});
