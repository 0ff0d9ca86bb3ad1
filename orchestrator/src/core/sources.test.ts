import type { JobId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { describe, expect, test } from "vitest";
import type { Actor } from "./events.ts";
import { findSource } from "./sources.ts";
import { Network, refOf, specOf, treeOf } from "./testing/kit.ts";
import { save, start } from "./testing/words.ts";

/** A job of `consumer` that runs on `worker` and has committed this many checkpoints. */
function committed(count: number, keep = 3) {
  const net = new Network();
  const consumer = net.account("consumer", 100n);
  const worker = net.worker(net.account("provider"), "first");
  const id = net.submit(consumer, { checkpoint: { keep } });
  start(net, id);
  for (let seq = 1; seq <= count; seq += 1) commit(net, id, seq);
  return { net, consumer, worker, id };
}

function commit(net: Network, id: JobId, seq: number, name = `${id}${"abcdefg"[seq] ?? "z"}`): void {
  save(net, id, seq, seq * 1_000, { tree: treeOf(name), progress: seq / 10, signature: "AA" });
}

/** As the shell does it: looks for the source, then asks. */
function fork(net: Network, actor: Actor, job: JobId, seq?: number) {
  const fromCheckpoint = { job, ...(seq === undefined ? {} : { seq }) };
  const source = findSource(
    actor,
    fromCheckpoint,
    net.kept.all("jobs").find((row) => row.id === job),
  );
  return net.do({ kind: "job.create", actor, spec: specOf({ fromCheckpoint }), source });
}

describe("a job that begins from another job's checkpoint", () => {
  test("has it as its own first one: the first attempt is given it, and its numbering goes on from there", () => {
    const { net, consumer, worker, id } = committed(3);
    const reply = fork(net, consumer, id);
    assert(reply.kind === "job", "refused");
    const mine = net.job(reply.jobId);
    expect(mine.fromCheckpoint).toEqual({ jobId: id, seq: 3 });
    expect(mine.checkpoints).toMatchObject([{ jobId: mine.id, seq: 1, parentSeq: 0, ranMs: 0, progress: 0.3 }]);
    expect(net.event(mine.id, "queued")).toEqual({ fromCheckpoint: { jobId: id, seq: 3 } });
    const { tree } = net.job(id).checkpoints.at(-1) ?? {};
    expect(net.last(worker, "assign")).toMatchObject({
      attempt: { jobId: mine.id, epoch: 1 },
      checkpoint: { seq: 1, tree: { manifestCid: tree?.manifestCid } },
    });
    net.say(worker, { kind: "started", attempt: refOf(net.attempt(mine.id)), fromSeq: 1 });
    commit(net, mine.id, 2);
    expect(net.job(mine.id).checkpoints.map(({ seq }) => seq)).toEqual([1, 2]);
  });

  test("names the tree in its record for as long as it keeps it, whatever the other job lets go", () => {
    const { net, consumer, worker, id } = committed(1, 1);
    const reply = fork(net, consumer, id, 1);
    assert(reply.kind === "job", "refused");
    const tree = net.job(id).checkpoints[0]?.tree;
    commit(net, id, 2);
    const collected = () =>
      net.effects.flatMap((effect) =>
        effect.kind === "collect" ? effect.trees.map(({ manifestCid }) => [effect.jobId, manifestCid]) : [],
      );
    expect(collected()).toEqual([[id, tree?.manifestCid]]);
    expect(net.job(reply.jobId).checkpoints[0]?.tree.manifestCid).toBe(tree?.manifestCid);
    net.say(worker, { kind: "started", attempt: refOf(net.attempt(reply.jobId)), fromSeq: 1 });
    for (const seq of [2, 3, 4]) commit(net, reply.jobId, seq);
    expect(collected().at(-1)).toEqual([reply.jobId, tree?.manifestCid]);
    expect(net.job(reply.jobId).checkpoints.map(({ seq }) => seq)).toEqual([2, 3, 4]);
  });

  test("loses no work that is not its own: before its first checkpoint all it has run", () => {
    const { net, consumer, worker, id } = committed(2);
    const reply = fork(net, consumer, id);
    assert(reply.kind === "job", "refused");
    net.say(worker, { kind: "started", attempt: refOf(net.attempt(reply.jobId)), fromSeq: 1 });
    net.pass(5_000);
    net.close(worker);
    net.pass(60_000);
    expect(net.job(reply.jobId).workLostMs).toBe(5_000);
    net.worker(net.account("provider"), "second");
    expect(net.attempt(reply.jobId)).toMatchObject({ epoch: 2, fromSeq: 1 });
  });

  test("may follow a job that has ended", () => {
    const { net, consumer, worker, id } = committed(2);
    net.do({ kind: "job.cancel", actor: consumer, jobId: id });
    net.say(worker, { kind: "ended", attempt: refOf(net.attempt(id)), ranMs: 3_000, outcome: { kind: "stopped" } });
    expect(net.job(id).phase).toBe("cancelled");
    expect(fork(net, consumer, id, 1)).toMatchObject({ kind: "job", job: { fromCheckpoint: { jobId: id, seq: 1 } } });
  });

  test("is refused with what to do instead", () => {
    const { net, consumer, id } = committed(5);
    const refused = (actor: Actor, job: JobId, seq?: number) => {
      const reply = fork(net, actor, job, seq);
      return reply.kind === "refused" ? reply.refusal : undefined;
    };
    const unknown = refused(consumer, "job-000000-none" as JobId);
    expect(unknown).toMatchObject({ status: 422, code: "checkpoint_job_unknown" });
    const other = refused(net.account("consumer", 100n), id);
    expect(other?.message.replace(id, "X")).toBe(unknown?.message.replace("job-000000-none", "X"));
    expect(refused(consumer, id, 1)).toMatchObject({
      status: 422,
      code: "checkpoint_not_kept",
      details: { kept: [3, 4, 5] },
    });
    const fresh = net.submit(consumer);
    expect(refused(consumer, fresh)).toMatchObject({ status: 422, code: "checkpoint_none" });
    expect(net.balance(`customer:${consumer.accountId}`)).toBe(80_000_000n);
  });
});
