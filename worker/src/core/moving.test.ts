import { describe, expect, it } from "vitest";
import type { StandbyId } from "@qubix/shared/domain";
import { nextDeadlineMs } from "./step.ts";
import { ATTEMPT, type Bench, createBench, kinds, messages, RUN, SESSION, shipped } from "./testing.ts";

const ID = "job-1-r0e1";
const LEFT = { exitCode: 143, oomKilled: false, diskExceeded: false, ranMs: 9_000 };

function prepared(): Bench {
  const bench = createBench();
  bench.give({ kind: "boot", containers: new Map() });
  bench.give({ kind: "opened", sessionId: SESSION, contactLossS: 600 });
  bench.give({ kind: "message", message: { kind: "assign", attempt: ATTEMPT, run: RUN, checkpoint: null } });
  return bench;
}

function running(): Bench {
  const bench = prepared();
  bench.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null });
  bench.give({ kind: "started", slotId: ID });
  return bench;
}

const ask = (bench: Bench, force = false, answerMs = 30_000) =>
  bench.give({ kind: "message", message: { kind: "save", attempt: ATTEMPT, answerMs, force } });
const entry = (bench: Bench, name: string, ranMs = 8_000) =>
  bench.give({ kind: "entry", slotId: ID, entry: name, ranMs, progress: null });

/** Lets what is being shipped arrive and be committed; what is told then. */
function ship(bench: Bench, name: string) {
  const told = bench.give(shipped(ID, name, 8_000));
  const [checkpoint] = messages(told);
  if (checkpoint === undefined) throw new Error("no checkpoint was told");
  return bench.give({ kind: "acknowledged", message: checkpoint });
}

/** Steps the clock from deadline to deadline; the effects but heartbeats. */
function pass(bench: Bench, ms: number): readonly string[] {
  const endMs = bench.nowMs + ms;
  const seen: string[] = [];
  while (bench.nowMs < endMs) {
    bench.nowMs = Math.min(endMs, Math.max(bench.nowMs + 1, nextDeadlineMs(bench.state) ?? endMs));
    seen.push(...kinds(bench.give({ kind: "timer" })).filter((kind) => kind !== "send heartbeat"));
  }
  return seen;
}

describe("a job that is asked to save", () => {
  it("is stopped as soon as it has, and its end says that nothing is missing", () => {
    const bench = running();
    expect(ask(bench)).toEqual([{ kind: "request", slotId: ID, number: 1 }]);
    expect(ask(bench)).toEqual([]);
    expect(kinds(entry(bench, "a"))).toEqual(["ship", "stop"]);
    bench.give({ kind: "exited", slotId: ID, ...LEFT });
    expect(messages(ship(bench, "a")).at(-1)).toMatchObject({
      kind: "ended",
      outcome: { kind: "stopped", saved: true },
    });
  });

  it("that saves again on its SIGTERM has the later state shipped, too", () => {
    const bench = running();
    ask(bench);
    entry(bench, "a");
    entry(bench, "b", 8_500);
    bench.give({ kind: "exited", slotId: ID, ...LEFT });
    expect(kinds(ship(bench, "a"))).toEqual(["committed", "ship"]);
    expect(messages(ship(bench, "b")).at(-1)).toMatchObject({ outcome: { kind: "stopped", saved: true } });
  });

  it("and leaves without having saved has moved, and lost what it had not", () => {
    const bench = running();
    ask(bench);
    expect(messages(bench.give({ kind: "exited", slotId: ID, ...LEFT })).at(-1)).toMatchObject({
      kind: "ended",
      outcome: { kind: "stopped" },
    });
    expect(bench.journal.get(ID)?.end?.outcome).not.toHaveProperty("saved");
  });

  it("and ends with success meanwhile has succeeded", () => {
    const bench = running();
    ask(bench);
    expect(kinds(bench.give({ kind: "exited", slotId: ID, ...LEFT, exitCode: 0 }))).toContain("collect");
  });

  it("and runs out of memory meanwhile has failed", () => {
    const bench = running();
    ask(bench);
    const exited = bench.give({ kind: "exited", slotId: ID, ...LEFT, exitCode: 137, oomKilled: true });
    expect(messages(exited).at(-1)).toMatchObject({ outcome: { kind: "failed", code: "oom" } });
  });

  it("and does not goes on, and the request is withdrawn; asked again it is asked anew", () => {
    const bench = running();
    ask(bench);
    expect(pass(bench, 29_999)).toEqual([]);
    expect(pass(bench, 1)).toEqual(["request"]);
    expect(kinds(entry(bench, "a"))).toEqual(["ship"]);
    ship(bench, "a");
    expect(ask(bench)).toEqual([{ kind: "request", slotId: ID, number: 2 }]);
  });

  it("firmly is stopped after its time", () => {
    const bench = running();
    ask(bench, true);
    expect(pass(bench, 30_000)).toEqual(["stop"]);
    entry(bench, "a");
    bench.give({ kind: "exited", slotId: ID, ...LEFT });
    expect(messages(ship(bench, "a")).at(-1)).toMatchObject({ outcome: { kind: "stopped", saved: true } });
  });

  it("is not taken to have answered by what stood there before", () => {
    const bench = running();
    entry(bench, "a");
    ask(bench);
    expect(kinds(entry(bench, "a"))).not.toContain("stop");
    bench.give({ kind: "shipFailed", slotId: ID, entry: "a" });
    expect(kinds(entry(bench, "a"))).not.toContain("stop");
    expect(kinds(entry(bench, "b"))).toContain("stop");
  });

  it("whose last state could not be shipped does not say that it was saved", () => {
    const bench = running();
    ask(bench);
    entry(bench, "a");
    bench.give({ kind: "exited", slotId: ID, ...LEFT });
    const told = [];
    for (let tries = 0; tries < 5; tries += 1) {
      told.push(...messages(bench.give({ kind: "shipFailed", slotId: ID, entry: "a" })));
      bench.nowMs += bench.state.config.shipRetryMs;
      told.push(...messages(bench.give({ kind: "timer" })));
    }
    expect(told.at(-1)).toMatchObject({ kind: "ended", outcome: { kind: "stopped" } });
    expect(told.at(-1)).not.toMatchObject({ outcome: { saved: true } });
  });

  it("is asked again by the next agent, and what it answered meanwhile counts", () => {
    const before = running();
    ask(before);
    const found = { state: "running" as const, exitCode: null, oomKilled: false, diskExceeded: false, ranMs: 9_000 };
    const silent = createBench([...before.journal.values()], before.nowMs);
    expect(kinds(silent.give({ kind: "boot", containers: new Map([[ID, { ...found, newest: null }]]) }))).toEqual([
      "follow",
      "request",
    ]);
    const answered = createBench([...before.journal.values()], before.nowMs);
    const newest = { entry: "a", ranMs: 8_000, progress: null };
    expect(kinds(answered.give({ kind: "boot", containers: new Map([[ID, { ...found, newest }]]) }))).toContain("stop");
  });

  it("before it has started is stopped, or asked once it runs", () => {
    expect(messages(ask(prepared()))).toMatchObject([{ kind: "ended", outcome: { kind: "stopped" } }]);
    const starting = prepared();
    starting.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null });
    expect(ask(starting)).toEqual([]);
    expect(kinds(starting.give({ kind: "started", slotId: ID }))).toEqual(["send started", "request"]);
  });

  it("that is here no more is answered", () => {
    const bench = createBench();
    bench.give({ kind: "boot", containers: new Map() });
    bench.give({ kind: "opened", sessionId: SESSION, contactLossS: 60 });
    expect(messages(ask(bench))).toMatchObject([{ kind: "ended", outcome: { code: "lost_container" } }]);
  });
});

it("a worker that has to be empty asks firmly, and a standby is none of it", () => {
  const bench = running();
  expect(kinds(bench.give({ kind: "leave", slotId: ID, answerMs: 5_000 }))).toEqual(["request"]);
  expect(pass(bench, 5_000)).toEqual(["stop"]);
  const standbyId = "job-2/s1" as StandbyId;
  const { jobId } = ATTEMPT;
  bench.give({ kind: "message", message: { kind: "prepare", standbyId, jobId, run: RUN, checkpoint: null } });
  expect(bench.give({ kind: "leave", slotId: "job-2-s1", answerMs: 5_000 })).toEqual([]);
});
