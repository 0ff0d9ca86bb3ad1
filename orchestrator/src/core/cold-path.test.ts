import { describe, expect, test } from "vitest";
import { ADMIN, Network, offerOf, refOf, specOf, treeOf } from "./testing/kit.ts";

function small() {
  const net = new Network();
  const provider = net.account("provider");
  const consumer = net.account("consumer", 100n);
  const worker = net.worker(provider, "alpha");
  return { net, provider, consumer, worker };
}

describe("a plain job", () => {
  test("is matched, held, run, completed and settled to the last unit", () => {
    const { net, provider, consumer, worker } = small();
    const id = net.submit(consumer);
    expect(net.job(id).phase).toBe("starting");
    expect(net.balance(`customer:${consumer.accountId}`)).toBe(90_000_000n);
    expect(net.balance(`escrow:${id}`)).toBe(10_000_000n);
    const assign = net.last(worker, "assign");
    expect(assign?.attempt).toEqual({ jobId: id, replica: 0, epoch: 1 });
    const attempt = refOf(net.attempt(id));
    net.pass(100);
    net.say(worker, { kind: "started", attempt, fromSeq: 0 });
    expect(net.job(id).phase).toBe("running");
    net.pass(60_000);
    net.say(worker, { kind: "exited", attempt, ranMs: 60_000 });
    expect(net.job(id).phase).toBe("finishing");
    const outputs = treeOf("outputs");
    net.say(worker, { kind: "ended", attempt, ranMs: 60_000, outcome: { kind: "succeeded", outputs } });
    const job = net.job(id);
    expect(job).toMatchObject({ phase: "succeeded", reason: "completed", outputs, creditedMs: 60_000 });
    // One core at 1 USD an hour for a minute: 16,666 micro-units gross, 5% of it the fee.
    expect(job.settlement.gross).toBe(16_666n);
    expect(net.balance("fee")).toBe(833n);
    expect(net.balance(`pending:${provider.accountId}`)).toBe(15_833n);
    expect(net.balance(`customer:${consumer.accountId}`)).toBe(100_000_000n - 16_666n);
    expect(net.balance(`escrow:${id}`)).toBe(0n);
    expect(net.timeline(id)).toEqual(["queued", "matched", "started", "exited", "completed", "settled"]);
    expect(net.state.rows.jobs.size).toBe(0);
    expect(net.state.rows.attempts.size).toBe(0);
  });

  test("waits when nothing fits and ends after queueS with the reason, its money back", () => {
    const { net, consumer } = small();
    const id = net.submit(consumer, { resources: { cpus: 64 }, queueS: 60 });
    expect(net.job(id).phase).toBe("queued");
    net.pass(59_000);
    expect(net.job(id).phase).toBe("queued");
    net.pass(2_000);
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "no_offer" });
    expect(net.job(id).message).toContain("cpus: 1 of 1");
    expect(net.balance(`customer:${consumer.accountId}`)).toBe(100_000_000n);
  });

  test("is not accepted without the money, and nothing is half done", () => {
    const { net, consumer } = small();
    const reply = net.do({ kind: "job.create", actor: consumer, spec: specOf({ durationMaxS: 3_600_000 / 10 }) });
    expect(reply).toMatchObject({ kind: "refused", refusal: { status: 402, code: "insufficient_funds" } });
    expect(net.state.rows.jobs.size).toBe(0);
    expect(net.balance(`customer:${consumer.accountId}`)).toBe(100_000_000n);
  });

  test("goes on elsewhere from its newest checkpoint when its worker is lost", () => {
    const { net, provider, consumer, worker } = small();
    const id = net.submit(consumer);
    const first = refOf(net.attempt(id));
    net.say(worker, { kind: "started", attempt: first, fromSeq: 0 });
    net.pass(30_000);
    const tree = treeOf("one");
    net.say(worker, {
      kind: "checkpoint",
      attempt: first,
      seq: 1,
      parentSeq: 0,
      tree,
      ranMs: 29_000,
      progress: 0.5,
      signature: "s",
    });
    expect(net.job(id).creditedMs).toBe(29_000);
    net.pass(10_000);
    net.silence(worker);
    const other = net.worker(provider, "beta");
    net.pass(4_000);
    expect(net.job(id).phase).toBe("running");
    net.pass(2_000);
    expect(net.job(id)).toMatchObject({ phase: "starting", epoch: 2, failoversUsed: 1 });
    expect(net.last(other, "assign")).toMatchObject({ checkpoint: { seq: 1, epoch: 1, tree } });
    const second = refOf(net.attempt(id));
    net.say(other, { kind: "started", attempt: second, fromSeq: 1 });
    net.pass(30_000);
    net.say(other, { kind: "ended", attempt: second, ranMs: 30_000, outcome: { kind: "succeeded", outputs: null } });
    expect(net.job(id)).toMatchObject({ phase: "succeeded", creditedMs: 59_000 });
    expect(net.timeline(id)).toContain("suspect");
    expect(net.timeline(id)).toContain("requeued");
    expect(net.job(id).workLostMs).toBeGreaterThanOrEqual(10_000);
  });

  test("keeps its state over a restart of the orchestrator", () => {
    const { net, consumer, worker } = small();
    const id = net.submit(consumer);
    const attempt = refOf(net.attempt(id));
    net.say(worker, { kind: "started", attempt, fromSeq: 0 });
    net.pass(5_000);
    net.restart(20_000);
    expect(net.state.rows.workers.get(worker)?.phase).toBe("suspect");
    net.pass(3_000);
    net.connect(worker, offerOf(), {
      attempts: [{ attempt, phase: "running", ranMs: 28_000, checkpointSeq: 0, progress: null }],
      standbys: [],
    });
    expect(net.job(id)).toMatchObject({ phase: "running", epoch: 1 });
    net.say(worker, { kind: "ended", attempt, ranMs: 28_000, outcome: { kind: "succeeded", outputs: null } });
    expect(net.job(id)).toMatchObject({ phase: "succeeded", creditedMs: 28_000 });
  });

  test("is cancelled at once while it waits, and by a confirmed stop while it runs", () => {
    const { net, consumer, worker } = small();
    const waiting = net.submit(consumer, { resources: { cpus: 64 } });
    net.do({ kind: "job.cancel", actor: consumer, jobId: waiting });
    expect(net.job(waiting)).toMatchObject({ phase: "cancelled", reason: "cancelled" });
    const id = net.submit(consumer);
    const attempt = refOf(net.attempt(id));
    net.say(worker, { kind: "started", attempt, fromSeq: 0 });
    net.pass(10_000);
    net.do({ kind: "job.cancel", actor: consumer, jobId: id });
    expect(net.last(worker, "stop")).toMatchObject({ attempt, reason: "cancelled" });
    net.say(worker, { kind: "ended", attempt, ranMs: 10_000, outcome: { kind: "stopped" } });
    expect(net.job(id)).toMatchObject({ phase: "cancelled", creditedMs: 10_000 });
  });

  test("of another account is not there", () => {
    const { net, consumer } = small();
    const id = net.submit(consumer);
    const stranger = net.account("consumer", 1n);
    const reply = net.do({ kind: "job.cancel", actor: stranger, jobId: id });
    expect(reply).toMatchObject({ kind: "refused", refusal: { status: 404, code: "job_not_found" } });
    expect(net.do({ kind: "job.cancel", actor: ADMIN, jobId: id })).toMatchObject({ kind: "job" });
  });
});
