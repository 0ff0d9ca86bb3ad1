import { describe, expect, test } from "vitest";
import type { JobId } from "@qubix/shared/domain";
import type { Actor } from "./events.ts";
import { ADMIN, Network, refOf, treeOf } from "./testing/kit.ts";
import { save as saveAs, start, succeed } from "./testing/words.ts";

function running(checkpoints: number, spec: Parameters<Network["submit"]>[1] = {}) {
  const net = new Network();
  const worker = net.worker(net.account("provider"), "alpha");
  const consumer = net.account("consumer", 100n);
  const id = net.submit(consumer, { checkpoint: { keep: 3 }, ...spec });
  start(net, id);
  const save = (seq: number) => saveAs(net, id, seq, seq * 1_000, { tree: treeOf(`tree ${seq}`) });
  for (let seq = 1; seq <= checkpoints; seq += 1) save(seq);
  const end = () => succeed(net, id, 5_000);
  const seqs = () => net.job(id).checkpoints.map(({ seq }) => seq);
  const remove = (seq: number, actor: Actor = consumer, jobId: JobId = id) => {
    const live = net.state.rows.jobs.has(jobId);
    return net.do({ kind: "checkpoint.remove", actor, jobId, seq, ended: live ? null : net.job(jobId) });
  };
  const refuseStorage = (code = "storage_quota") =>
    net.do({ kind: "storage.refused", workerId: worker, jobId: id, code, message: "There is no room." });
  return { net, consumer, id, save, end, seqs, remove, refuseStorage };
}

describe("a removed checkpoint", () => {
  test("is gone with its tree, and the timeline says so; the newest of a running job stays", () => {
    const { net, id, seqs, remove } = running(3);
    expect(remove(3)).toMatchObject({ kind: "refused", refusal: { status: 409, code: "checkpoint_in_use" } });
    expect(remove(4)).toMatchObject({ kind: "refused", refusal: { status: 404, code: "checkpoint_not_found" } });
    expect(remove(1)).toEqual({ kind: "checkpoint", jobId: id, seq: 1 });
    expect(seqs()).toEqual([2, 3]);
    expect(net.effects.filter(({ kind }) => kind === "collect")).toMatchObject([
      { jobId: id, trees: [treeOf("tree 1")] },
    ]);
    expect(net.timeline(id).at(-1)).toBe("checkpoint_removed");
    expect(remove(1)).toMatchObject({ refusal: { code: "checkpoint_not_found" } });
  });

  test("of a job that has ended may be the newest, and the job stays out of memory", () => {
    const { net, id, end, seqs, remove } = running(2);
    end();
    const before = net.job(id);
    expect(remove(2).kind).toBe("checkpoint");
    expect(remove(1).kind).toBe("checkpoint");
    expect(seqs()).toEqual([]);
    expect(net.job(id)).toEqual({ ...before, checkpoints: [] });
    expect(net.state.rows.jobs.size).toBe(0);
  });

  test("is the consumer's or an administrator's to remove", () => {
    const { net, remove } = running(3);
    expect(remove(1, net.account("consumer"))).toMatchObject({ refusal: { status: 404, code: "job_not_found" } });
    expect(remove(1, ADMIN).kind).toBe("checkpoint");
    const reply = net.do({ kind: "checkpoint.remove", actor: ADMIN, jobId: "job-0" as JobId, seq: 1, ended: null });
    expect(reply).toMatchObject({ refusal: { code: "job_not_found" } });
  });

  test("does not keep the next one from being committed", () => {
    const { save, seqs, remove } = running(3);
    remove(2);
    save(4);
    expect(seqs()).toEqual([1, 3, 4]);
  });
});

describe("what is not stored", () => {
  test("is told once on the timeline, and again after the next checkpoint", () => {
    const { net, id, save, refuseStorage } = running(1);
    for (let n = 0; n < 5; n += 1) refuseStorage();
    const told = () => net.timeline(id).filter((kind) => kind === "storage_refused").length;
    expect(told()).toBe(1);
    refuseStorage("storage_full");
    expect(told()).toBe(2);
    save(2);
    refuseStorage("storage_full");
    expect(told()).toBe(3);
    expect(net.job(id)).toMatchObject({ phase: "running" });
  });

  test("of a job that is not here is not told", () => {
    const { net, id, end, refuseStorage } = running(1);
    end();
    const before = net.timeline(id).length;
    refuseStorage();
    expect(net.timeline(id)).toHaveLength(before);
  });
});

describe("a checkpoint that cannot be restored", () => {
  const DAMAGED = { kind: "worker_failed", code: "checkpoint_damaged", message: "A piece is damaged." } as const;

  function failing(checkpoints: number, spec: Parameters<Network["submit"]>[1] = {}) {
    const { net, id, ...rest } = running(checkpoints, spec);
    for (const name of ["beta", "gamma"]) net.worker(net.account("provider"), name);
    /** The attempt that is under way cannot begin. */
    const fail = (outcome: typeof DAMAGED = DAMAGED) => {
      const row = net.attempt(id);
      net.say(row.workerId, { kind: "ended", attempt: refOf(row), ranMs: 0, outcome });
    };
    return { net, id, fail, ...rest };
  }

  test("is given up when a second worker says so; the job goes on from its parent, and the timeline tells", () => {
    const { net, id, fail, seqs } = failing(3);
    fail();
    expect(seqs()).toEqual([1, 2, 3]);
    fail();
    expect(seqs()).toEqual([1, 2]);
    expect(net.timeline(id)).toContain("checkpoint_damaged");
    expect(net.effects.filter(({ kind }) => kind === "collect")).toMatchObject([{ trees: [treeOf("tree 3")] }]);
    const next = net.attempt(id);
    net.say(next.workerId, { kind: "started", attempt: refOf(next), fromSeq: 2 });
    expect(net.job(id).phase).toBe("running");
  });

  test("costs the work between its parent and itself, which the job tells", () => {
    const { net, id, fail } = failing(3);
    const ranMs = net.job(id).checkpoints.map((checkpoint) => checkpoint.ranMs);
    const [, parentMs = 0, newestMs = 0] = ranMs;
    expect(newestMs).toBeGreaterThan(parentMs);
    fail();
    const before = net.job(id).workLostMs;
    fail();
    expect(net.job(id).workLostMs - before).toBe(newestMs - parentMs);
    expect(net.event(id, "checkpoint_damaged")).toMatchObject({ workLostMs: newestMs - parentMs });
  });

  test("takes a standby with it that fetches it: its number is given again to another", () => {
    const { net, id, fail } = failing(1, { standby: "hot" });
    fail();
    const standby = net.standby(id);
    expect(standby?.phase).toBe("preparing");
    fail();
    expect(net.timeline(id)).toContain("checkpoint_damaged");
    expect(net.timeline(id)).toContain("standby_lost");
    const released = net.effects.flatMap((effect) => (effect.kind === "send" ? [effect.message] : []));
    expect(released).toContainEqual(expect.objectContaining({ kind: "release", standbyId: standby?.id }));
  });

  test("takes its parents with it where they are damaged too, and the job begins anew", () => {
    const { net, id, fail, seqs } = failing(2);
    for (let n = 0; n < 4; n += 1) fail();
    expect(seqs()).toEqual([]);
    expect(net.timeline(id).filter((kind) => kind === "checkpoint_damaged")).toHaveLength(2);
    const next = net.attempt(id);
    net.say(next.workerId, { kind: "started", attempt: refOf(next), fromSeq: 0 });
    expect(net.job(id).phase).toBe("running");
  });
});
