// What people see of how well a job is kept: work at risk, interval, and how far behind its standby is.
import type { JobView } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import { describe, expect, test } from "vitest";
import { liveJob } from "./reads.ts";
import { Network, treeOf } from "./testing/kit.ts";
import { save, standbyReady, start } from "./testing/words.ts";
import { jobView } from "./views.ts";

function hot(keep = 3) {
  const net = new Network();
  const consumer = net.account("consumer", 100n);
  const first = net.worker(net.account("provider"), "first");
  const id = net.submit(consumer, { standby: "hot", checkpoint: { intervalS: 30, keep } });
  const second = net.worker(net.account("provider"), "second");
  start(net, id);
  const ready = (checkpointSeq: number) => standbyReady(net, id, checkpointSeq);
  ready(0);
  const view = (): JobView => {
    const rows = liveJob(net.state, id);
    assert(rows !== undefined, "it has ended");
    return jobView(net.state, rows, (ms) => `t${ms}`);
  };
  const commit = (seq: number, ranMs: number, more: { shipMs?: number; intervalS?: number } = {}) =>
    save(net, id, seq, ranMs, { tree: { ...treeOf(`t${"abcdefg"[seq]}`), bytesMoved: 100 * seq }, ...more });
  return { net, first, second, id, view, commit, ready };
}

test("work is at risk from the moment of the newest committed checkpoint on, also while the next one is shipped", () => {
  const { net, view, commit } = hot();
  expect(view()).toMatchObject({ workAtRiskMs: 0, checkpoint: null, checkpointIntervalS: 30 });
  net.pass(40_000);
  expect(view().workAtRiskMs).toBe(40_000);
  // Complete on disk 10 s ago, shipped since then.
  commit(1, 30_000, { shipMs: 9_000 });
  expect(view()).toMatchObject({
    workAtRiskMs: 10_000,
    checkpoint: { seq: 1, bytes: 1000, bytesMoved: 100, ageMs: 0, shipMs: 9_000 },
  });
  net.pass(5_000);
  expect(view()).toMatchObject({ workAtRiskMs: 15_000, checkpoint: { ageMs: 5_000 } });
});

test("what is lost is what was at risk, and after it nothing is", () => {
  const { net, first, id, view, commit } = hot();
  net.pass(40_000);
  commit(1, 30_000);
  net.pass(3_000);
  const { workAtRiskMs } = view();
  net.close(first);
  expect(net.job(id).workLostMs).toBe(workAtRiskMs);
  expect(view()).toMatchObject({ epoch: 2, workAtRiskMs: 0 });
});

describe("a hot standby", () => {
  test("is told of each checkpoint in the step that commits it, and is behind until it says that it has it", () => {
    const { net, second, id, view, commit, ready } = hot();
    for (const seq of [1, 2, 3]) {
      commit(seq, seq * 1_000);
      expect(net.last(second, "standby.checkpoint")?.checkpoint.seq).toBe(seq);
      net.pass(1_000);
    }
    expect(view().standby).toMatchObject({ checkpointSeq: 0, checkpointsBehind: 3, behindMs: 3_000 });
    ready(2);
    expect(view().standby).toMatchObject({ checkpointSeq: 2, checkpointsBehind: 1, behindMs: 1_000 });
    expect(net.event(id, "standby_checkpoint")).toMatchObject({ seq: 2, newestSeq: 3, behindMs: 3_000 });
    ready(3);
    expect(view().standby).toMatchObject({ checkpointSeq: 3, checkpointsBehind: 0, behindMs: 0 });
    ready(3);
    expect(net.timeline(id).filter((kind) => kind === "standby_checkpoint")).toHaveLength(2);
  });

  test("on a slow line is left the checkpoint that it fetches, however many are committed meanwhile", () => {
    const { net, id, commit, ready } = hot(1);
    const kept = () => net.job(id).checkpoints.map(({ seq }) => seq);
    for (const seq of [1, 2, 3, 4]) commit(seq, seq);
    expect(kept()).toEqual([1, 4]);
    ready(1);
    for (const seq of [5, 6]) commit(seq, seq);
    expect(kept()).toEqual([4, 6]);
    ready(4);
    ready(6);
    commit(7, 7);
    expect(kept()).toEqual([7]);
    const collected = net.effects.flatMap((effect) => (effect.kind === "collect" ? effect.trees : []));
    expect(collected).toHaveLength(6);
  });

  test("that comes back behind is told at once of what it missed", () => {
    const { net, second, id, view, commit } = hot();
    const standbyId = net.standby(id)?.id;
    assert(standbyId !== undefined, "no standby");
    net.close(second);
    commit(1, 1_000);
    net.connect(second, undefined, { attempts: [], standbys: [{ standbyId, phase: "ready", checkpointSeq: 0 }] });
    expect(net.last(second, "standby.checkpoint")?.checkpoint.seq).toBe(1);
    expect(view().standby?.checkpointsBehind).toBe(1);
  });
});

describe("the interval", () => {
  test("that a line cannot keep is in the view and, once for each change, in the timeline", () => {
    const { net, id, view, commit } = hot();
    net.pass(200_000);
    commit(1, 30_000, { shipMs: 41_000, intervalS: 60 });
    expect(view().checkpointIntervalS).toBe(60);
    expect(net.event(id, "checkpoint_interval")).toEqual({
      askedS: 30,
      effectiveS: 60,
      why: "uplink_slow",
      seq: 1,
      epoch: 1,
      shipMs: 41_000,
      bytesMoved: 100,
    });
    commit(2, 90_000, { shipMs: 41_000, intervalS: 60 });
    expect(net.timeline(id).filter((kind) => kind === "checkpoint_interval")).toHaveLength(1);
    commit(3, 150_000, { shipMs: 1_000 });
    expect(net.event(id, "checkpoint_interval")).toMatchObject({ effectiveS: 30, why: "uplink_quick" });
    expect(view().checkpointIntervalS).toBe(30);
  });

  test("is the one that was asked for again on another machine", () => {
    const { net, first, view, commit } = hot();
    net.pass(100_000);
    commit(1, 30_000, { shipMs: 41_000, intervalS: 60 });
    net.close(first);
    expect(view()).toMatchObject({ epoch: 2, checkpointIntervalS: 30 });
  });
});
