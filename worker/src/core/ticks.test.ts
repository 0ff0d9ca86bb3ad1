import type { Tick } from "@qubix/shared/protocol";
import { tickHash } from "@qubix/shared/receipts";
import { describe, expect, it } from "vitest";
import type { WorkerEffect, WorkerMessageBody } from "./model.ts";
import { ATTEMPT, attemptOf, type Bench, createBench, kinds, messages, RUN, SESSION, shipped } from "./testing.ts";

const ID = "job-1-r0e1";
const EXIT = { exitCode: 0, oomKilled: false, diskExceeded: false, ranMs: 9_000 };

function running(run = { ...RUN, ticks: true as const }): Bench {
  const bench = createBench();
  bench.give({ kind: "boot", containers: new Map() });
  bench.give({ kind: "opened", sessionId: SESSION, contactLossS: 600 });
  bench.give({ kind: "message", message: { kind: "assign", attempt: ATTEMPT, run, checkpoint: null } });
  bench.give({ kind: "prepared", slotId: ID, checkpointSeq: 0, entry: null });
  bench.give({ kind: "started", slotId: ID });
  return bench;
}

/** An entry comes to stand in the folder and is shipped. */
function save(bench: Bench, entry: string, ranMs: number): readonly WorkerEffect[] {
  bench.nowMs += RUN.checkpointIntervalS * 1_000;
  bench.give({ kind: "entry", slotId: ID, entry, ranMs, progress: null });
  return bench.give(shipped(ID, entry, ranMs));
}

const ticksIn = (effects: readonly WorkerEffect[]) =>
  messages(effects).filter(
    (message): message is Extract<WorkerMessageBody, { kind: "tick" }> => message.kind === "tick",
  );
const ack = (bench: Bench, message: WorkerMessageBody) => bench.give({ kind: "acknowledged", message });
const hashOf = ({ attempt, n, moment, ranMs, prev }: Tick) => tickHash({ attempt, n, moment, ranMs, prev });

describe("metering ticks", () => {
  it("stand before the checkpoint, the exit and the end they belong to, each naming the one before", () => {
    const bench = running();
    const saved = save(bench, "a", 5_000);
    expect(kinds(saved)).toEqual(["send tick", "send checkpoint"]);
    for (const message of messages(saved)) ack(bench, message);
    const exited = bench.give({ kind: "exited", slotId: ID, ...EXIT });
    expect(kinds(exited)).toEqual(["send tick", "send exited", "collect"]);
    for (const message of messages(exited)) ack(bench, message);
    const ended = bench.give({ kind: "outputs", slotId: ID, tree: null });
    expect(kinds(ended)).toEqual(["send tick", "send ended"]);
    const [first, second, third] = [saved, exited, ended].map((effects) => ticksIn(effects)[0]);
    expect([first, second, third]).toMatchObject([
      { n: 1, moment: "checkpoint", ranMs: 5_000, prev: null },
      { n: 2, moment: "exit", ranMs: 9_000, prev: first && hashOf(first) },
      { n: 3, moment: "end", ranMs: 9_000, prev: second && hashOf(second) },
    ]);
  });

  it("are not made for a run that does not ask for them", () => {
    const bench = running(RUN as never);
    expect(kinds(save(bench, "a", 5_000))).toEqual(["send checkpoint"]);
  });

  it("are said again, the same, until they are answered, also by an agent that was started anew", () => {
    const bench = running();
    const [tick] = ticksIn(save(bench, "a", 5_000));
    const after = createBench([...bench.journal.values()], bench.nowMs);
    const found = { state: "running", exitCode: null, oomKilled: false, diskExceeded: false, newest: null } as const;
    after.give({ kind: "boot", containers: new Map([[ID, { ...found, ranMs: 6_000 }]]) });
    const opened = after.give({ kind: "opened", sessionId: SESSION, contactLossS: 600 });
    expect(ticksIn(opened)).toEqual([tick]);
    if (tick !== undefined) ack(after, tick);
    after.give({ kind: "closed" });
    expect(ticksIn(after.give({ kind: "opened", sessionId: SESSION, contactLossS: 600 }))).toEqual([]);
    expect(after.journal.get(ID)?.ticks).toMatchObject({ head: { n: 1, hash: tick && hashOf(tick) }, waiting: [] });
  });

  it("go on under the next epoch of the same container", () => {
    const bench = running();
    const [first] = ticksIn(save(bench, "a", 5_000));
    const adopted = bench.give({
      kind: "message",
      message: { kind: "adopt", attempt: attemptOf(3), from: 1 as never },
    });
    expect(ticksIn(adopted)).toEqual([first]);
    const exited = bench.give({ kind: "exited", slotId: ID, ...EXIT });
    expect(ticksIn(exited).at(-1)).toMatchObject({ attempt: attemptOf(3), n: 2, prev: first && hashOf(first) });
  });

  it("go on from where the orchestrator stands, under a number that was never used", () => {
    const bench = running();
    const saved = save(bench, "a", 5_000);
    const [lost] = ticksIn(saved);
    if (lost === undefined) throw new Error("no tick");
    for (const message of messages(saved)) ack(bench, message);
    const [refused] = ticksIn(save(bench, "b", 35_000));
    if (refused === undefined) throw new Error("no tick");
    // It has lost the first, and has only ever heard of none.
    const head = { n: 0, hash: null };
    const resumed = ticksIn(
      bench.give({ kind: "refused", message: refused, code: "tick_out_of_chain", reason: "", head }),
    );
    expect(resumed).toMatchObject([{ n: 3, ranMs: 35_000, prev: null, moment: "checkpoint" }]);
    // What does not help is not tried again.
    const [again] = resumed;
    if (again === undefined) throw new Error("no tick");
    expect(bench.give({ kind: "refused", message: again, code: "tick_falls", reason: "", head })).toEqual([]);
  });

  it("tell what the container has sent, where it has a network: never less than before, also by an agent that was started anew", () => {
    const bench = running({ ...RUN, ticks: true, network: "egress" } as never);
    bench.give({ kind: "measured", slotId: ID, ranMs: 1_000, progress: null, sentBytes: 700 });
    bench.nowMs += RUN.checkpointIntervalS * 1_000;
    bench.give({ kind: "entry", slotId: ID, entry: "a", ranMs: 5_000, progress: null, sentBytes: 900 });
    // What it sends while that is shipped belongs to the next.
    bench.give({ kind: "measured", slotId: ID, ranMs: 35_000, progress: null, sentBytes: 990 });
    const [first] = ticksIn(bench.give(shipped(ID, "a", 5_000)));
    expect(first).toMatchObject({ n: 1, usage: { egressBytes: 900 } });
    const after = createBench([...bench.journal.values()], bench.nowMs);
    const found = { state: "running", exitCode: null, oomKilled: false, diskExceeded: false, newest: null } as const;
    after.give({ kind: "boot", containers: new Map([[ID, { ...found, ranMs: 6_000, sentBytes: 1_000 }]]) });
    after.give({ kind: "opened", sessionId: SESSION, contactLossS: 600 });
    // The counter began anew: what was signed stands.
    const exited = after.give({ kind: "exited", slotId: ID, ...EXIT, sentBytes: 40 });
    expect(ticksIn(exited).at(-1)).toMatchObject({
      n: 2,
      prev: first && tickHash(first),
      usage: { egressBytes: 1_000 },
    });
  });

  it("tell nothing of traffic for a container without a network, or where nothing is known of it", () => {
    const bench = running();
    bench.give({ kind: "measured", slotId: ID, ranMs: 1_000, progress: null, sentBytes: 700 });
    expect(ticksIn(save(bench, "a", 5_000))[0]).not.toHaveProperty("usage");
    const unknown = running({ ...RUN, ticks: true, network: "egress" } as never);
    expect(ticksIn(save(unknown, "a", 5_000))[0]).not.toHaveProperty("usage");
  });

  it("never tell of less time than before", () => {
    const bench = running();
    bench.nowMs += 60_000;
    bench.give({ kind: "entry", slotId: ID, entry: "a", ranMs: 8_000, progress: null });
    bench.give({ kind: "exited", slotId: ID, ...EXIT });
    const late = bench.give(shipped(ID, "a", 8_000));
    expect(ticksIn(late).at(-1)).toMatchObject({ n: 2, moment: "checkpoint", ranMs: 9_000 });
  });
});
