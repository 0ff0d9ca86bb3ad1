// Any order of events, however late or doubled, keeps these; the named safety properties of the worker's core.
import * as fc from "fast-check";
import { expect, it } from "vitest";
import type { SessionId, StandbyId } from "@qubix/shared/domain";
import { unreachable } from "@qubix/shared/runtime";
import type { WorkerCoreEvent, WorkerMessageBody } from "./model.ts";
import { helloOf } from "./reports.ts";
import { createBench, attemptOf, type Bench, checkpointOf, messages, RUN, treeOf } from "./testing.ts";

const SLOTS = ["job-1-r0e1", "job-1-r0e2", "job-1-s1"];
const STANDBY = "job-1/s1" as StandbyId;

const slotId = fc.constantFrom(...SLOTS);
const attempt = fc.integer({ min: 1, max: 4 }).map(attemptOf);
const seq = fc.integer({ min: 0, max: 3 });
const entry = fc.constantFrom("a", "b", "c");
const checkpoint = fc.option(fc.integer({ min: 1, max: 3 }).map(checkpointOf));

const order = fc.oneof(
  fc.record({ kind: fc.constant("assign" as const), attempt, run: fc.constant(RUN), checkpoint }),
  fc.record({ kind: fc.constant("adopt" as const), attempt, from: attempt.map((ref) => ref.epoch) }),
  fc.record({
    kind: fc.constant("stop" as const),
    attempt,
    reason: fc.constantFrom("cancelled" as const, "deadline" as const, "drain" as const),
  }),
  fc.record({
    kind: fc.constant("save" as const),
    attempt,
    answerMs: fc.constantFrom(1, 1_000, 30_000),
    force: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("fence" as const), attempt }),
  fc.record({
    kind: fc.constant("prepare" as const),
    standbyId: fc.constant(STANDBY),
    jobId: fc.constant(attemptOf(1).jobId),
    run: fc.constant(RUN),
    checkpoint,
  }),
  fc.record({
    kind: fc.constant("standby.checkpoint" as const),
    standbyId: fc.constant(STANDBY),
    checkpoint: fc.integer({ min: 1, max: 3 }).map(checkpointOf),
  }),
  fc.record({ kind: fc.constant("promote" as const), standbyId: fc.constant(STANDBY), attempt, checkpoint }),
  fc.record({ kind: fc.constant("release" as const), standbyId: fc.constant(STANDBY) }),
);

const event: fc.Arbitrary<WorkerCoreEvent> = fc.oneof(
  { weight: 4, arbitrary: order.map((message) => ({ kind: "message" as const, message })) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("prepared" as const), slotId, checkpointSeq: seq, entry }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("started" as const), slotId }) },
  fc.record({
    kind: fc.constant("exited" as const),
    slotId,
    exitCode: fc.constantFrom(0, 1),
    oomKilled: fc.boolean(),
    diskExceeded: fc.constant(false),
    ranMs: fc.nat(50_000),
  }),
  fc.record({
    kind: fc.constant("failed" as const),
    slotId,
    outcome: fc.constant({ kind: "worker_failed" as const, code: "docker_error" as const, message: "x" }),
  }),
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("entry" as const),
      slotId,
      entry,
      ranMs: fc.nat(9),
      progress: fc.constant(null),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("shipped" as const),
      slotId,
      entry,
      tree: fc.nat(9).map(treeOf),
      ranMs: fc.nat(9),
      progress: fc.constant(null),
    }),
  },
  fc.record({ kind: fc.constant("shipFailed" as const), slotId, entry }),
  fc.record({ kind: fc.constant("outputs" as const), slotId, tree: fc.constant(null) }),
  fc.record({
    kind: fc.constant("reclaim" as const),
    slotId,
    outcome: fc.constantFrom("owner_reclaimed" as const, "gpu_lost" as const).map((code) => ({
      kind: "worker_failed" as const,
      code,
      message: "taken back",
    })),
  }),
  fc.record({ kind: fc.constant("leave" as const), slotId, answerMs: fc.constantFrom(1, 30_000) }),
  fc.record({ kind: fc.constant("removed" as const), slotId }),
  fc.constant({ kind: "closed" as const }),
  fc.constant({ kind: "opened" as const, sessionId: "ses-1" as SessionId, contactLossS: 60 }),
  fc.constant({ kind: "timer" as const }),
);

const run = fc.array(fc.record({ event, afterMs: fc.constantFrom(0, 1, 900, 30_000) }), { maxLength: 60 });

function started(): Bench {
  const bench = createBench();
  bench.give({ kind: "boot", containers: new Map() });
  return bench;
}

it("the journal is the state: replaying its rows gives the same slots", () => {
  fc.assert(
    fc.property(run, (steps) => {
      const bench = started();
      for (const { event: next, afterMs } of steps) {
        bench.nowMs += afterMs;
        bench.give(next);
        expect(bench.journal).toEqual(bench.state.slots);
      }
    }),
  );
});

it("one shipping at a time, and never while a commit is unanswered", () => {
  fc.assert(
    fc.property(run, (steps) => {
      const bench = started();
      const shipping = new Map<string, string>();
      for (const { event: next, afterMs } of steps) {
        bench.nowMs += afterMs;
        if (next.kind === "shipped" || next.kind === "shipFailed") {
          if (shipping.get(next.slotId) === next.entry) shipping.delete(next.slotId);
        }
        for (const effect of bench.give(next)) {
          if (effect.kind === "remove") shipping.delete(effect.slotId);
          if (effect.kind !== "ship") continue;
          expect(shipping.has(effect.slotId)).toBe(false);
          expect(bench.journal.get(effect.slotId)?.pending).toBeNull();
          shipping.set(effect.slotId, effect.entry);
        }
      }
    }),
  );
});

it("hello names every slot that is not being removed, once, and no attempt twice", () => {
  fc.assert(
    fc.property(run, (steps) => {
      const bench = started();
      for (const { event: next } of steps) bench.give(next);
      const { attempts, standbys } = helloOf(bench.state, bench.nowMs);
      const alive = [...bench.journal.values()].filter((slot) => slot.phase !== "removing");
      expect(attempts.length + standbys.length).toBe(alive.length);
      const names = attempts.map(({ attempt: ref }) => `${ref.jobId}/${ref.epoch}`);
      expect(new Set(names).size).toBe(names.length);
    }),
  );
});

it("whatever happened: after a restart with no containers and a willing orchestrator, nothing stays", () => {
  fc.assert(
    fc.property(run, (steps) => {
      const before = started();
      for (const { event: next, afterMs } of steps) {
        before.nowMs += afterMs;
        before.give(next);
      }
      const bench = createBench([...before.journal.values()], before.nowMs);
      let waiting = [...bench.give({ kind: "boot", containers: new Map() })];
      waiting.push(...bench.give({ kind: "opened", sessionId: "ses-2" as SessionId, contactLossS: 60 }));
      for (const slot of bench.journal.values()) {
        if (slot.standbyId !== null && slot.attempt === null) {
          waiting.push(...bench.give({ kind: "message", message: { kind: "release", standbyId: slot.standbyId } }));
        }
      }
      for (let rounds = 0; waiting.length > 0 && rounds < 100; rounds += 1) {
        bench.nowMs += 1_000;
        waiting = [...waiting.flatMap((effect) => answer(bench, effect)), ...bench.give({ kind: "timer" })].filter(
          (effect) => effect.kind !== "send" || effect.message.kind !== "heartbeat",
        );
      }
      expect([...bench.journal.values()]).toEqual([]);
    }),
  );
});

/** A runner whose containers end with success at once, and an orchestrator that accepts everything. */
function answer(bench: Bench, effect: ReturnType<Bench["give"]>[number]): ReturnType<Bench["give"]> {
  switch (effect.kind) {
    case "send":
      return accept(bench, effect.message);
    case "prepare":
    case "restore": {
      const checkpointSeq = effect.checkpoint?.seq ?? 0;
      return bench.give({ kind: "prepared", slotId: effect.slotId, checkpointSeq, entry: null });
    }
    case "start": {
      const begun = bench.give({ kind: "started", slotId: effect.slotId });
      const exit = { exitCode: 0, oomKilled: false, diskExceeded: false, ranMs: 1 };
      return [...begun, ...bench.give({ kind: "exited", slotId: effect.slotId, ...exit })];
    }
    case "ship":
      return bench.give({ ...effect, kind: "shipped", tree: treeOf(1) });
    case "collect":
      return bench.give({ kind: "outputs", slotId: effect.slotId, tree: null });
    case "remove":
      return bench.give({ kind: "removed", slotId: effect.slotId });
    case "relabel":
    case "follow":
    case "stop":
    case "request":
    case "committed":
    case "note":
      return [];
    default:
      return unreachable(effect);
  }
}

function accept(bench: Bench, message: WorkerMessageBody): ReturnType<Bench["give"]> {
  expect(messages([{ kind: "send", message }]).length).toBeLessThanOrEqual(1);
  return bench.give({ kind: "acknowledged", message });
}
