import type { JobId, WorkerId } from "@qubix/shared/domain";
import { describe, expect, test } from "vitest";
import { DEFAULT_CORE_CONFIG } from "./config.ts";
import { Network, offerOf, refOf, type specOf, treeOf } from "./testing/kit.ts";
import { save, start, succeed } from "./testing/words.ts";

/** A hot job that runs on `primary`, its standby ready on `second`, with one more worker idle. */
function hot(spec: Parameters<typeof specOf>[0] = {}) {
  const net = new Network();
  const first = net.account("provider");
  const other = net.account("provider");
  const consumer = net.account("consumer", 100n);
  const primary = net.worker(first, "primary");
  net.worker(first, "sibling");
  const second = net.worker(other, "second");
  const id = net.submit(consumer, { standby: "hot", ...spec });
  run(net, id, primary);
  const standbyId = net.standby(id)?.id;
  if (standbyId === undefined) throw new Error("no standby was reserved");
  net.say(second, { kind: "standby.ready", standbyId, checkpointSeq: 0 });
  return { net, first, other, consumer, primary, second, id, standbyId };
}

function run(net: Network, id: JobId, worker: WorkerId): void {
  expect(net.attempt(id).workerId).toBe(worker);
  start(net, id);
}

const running = (net: Network, id: JobId, epoch: number, ranMs: number) => journal(net, id, epoch, ranMs, "running");

const journal = (
  net: Network,
  id: JobId,
  epoch: number,
  ranMs: number,
  phase: "preparing" | "running" | "exited" | "ended",
) => {
  const attempt = net.attempts(id).find((one) => one.epoch === epoch);
  if (attempt === undefined) throw new Error(`no attempt ${epoch}`);
  return {
    attempts: [{ attempt: refOf(attempt), phase, ranMs, checkpointSeq: 0, progress: null }],
    standbys: [],
  };
};

describe("a hot standby", () => {
  test("is reserved on another provider's worker and told of each checkpoint", () => {
    const { net, id, second, standbyId } = hot();
    expect(net.standby(id)).toMatchObject({ workerId: second, phase: "ready", ratePerHour: 250_000n });
    expect(net.last(second, "prepare")).toMatchObject({ standbyId, checkpoint: null });
    net.pass(10_000);
    save(net, id, 1, 9_000);
    expect(net.last(second, "standby.checkpoint")).toMatchObject({ standbyId, checkpoint: { seq: 1, epoch: 1 } });
  });

  test("that is not heard when the job has to wait is given up, and told so on its open session", () => {
    const { net, id, primary, second, standbyId } = hot();
    net.silence(second);
    net.pass(4_000);
    const attempt = net.attempt(id);
    const outcome = { kind: "failed", code: "exit_code", exitCode: 1, message: "exited with 1" } as const;
    net.say(primary, { kind: "ended", attempt: refOf(attempt), ranMs: 2_000, outcome });
    expect(net.event(id, "standby_lost")).toMatchObject({ standbyId, why: "not_heard" });
    expect(net.last(second, "release")).toMatchObject({ standbyId });
  });

  test("is promoted in the step in which the primary's socket closes", () => {
    const { net, id, primary, second, standbyId } = hot();
    net.pass(30_000);
    save(net, id, 1, 29_000);
    net.pass(4_000);
    const { nowMs } = net;
    net.close(primary);
    expect(net.nowMs).toBe(nowMs);
    expect(net.last(second, "promote")).toMatchObject({ standbyId, attempt: { epoch: 2 }, checkpoint: { seq: 1 } });
    expect(net.job(id)).toMatchObject({ phase: "starting", epoch: 2, failoversUsed: 1 });
    expect(net.event(id, "promoted")).toMatchObject({ epoch: 2, fromSeq: 1, workerId: second, why: "worker_closed" });
    expect(net.job(id).workLostMs).toBeGreaterThanOrEqual(4_000);
    expect(net.job(id).workLostMs).toBeLessThanOrEqual(5_500);
  });

  test("is promoted within 2.8 s of silence, and not before 1.5 s", () => {
    const { net, id, primary } = hot();
    net.pass(10_000);
    net.silence(primary);
    net.pass(1_400);
    expect(net.timeline(id)).not.toContain("suspect");
    net.pass(200);
    expect(net.timeline(id)).toContain("suspect");
    expect(net.job(id).epoch).toBe(1);
    net.pass(1_200);
    expect(net.job(id)).toMatchObject({ epoch: 2, phase: "starting" });
    expect(net.effects.some((effect) => effect.kind === "disconnect" && effect.workerId === primary)).toBe(true);
  });

  test("is replaced after its promotion, and everybody is paid what was worked", () => {
    const { net, id, primary, second, first, other, consumer } = hot();
    net.pass(60_000);
    save(net, id, 1, 60_000);
    net.close(primary);
    run(net, id, second);
    // Not before the promoted container has had machine and network to itself.
    expect(net.job(id).standbyId).toBeNull();
    net.pass(DEFAULT_CORE_CONFIG.standbyAfterPromotionMs);
    const next = net.standby(id);
    expect(next).toMatchObject({ phase: "preparing" });
    expect(next?.workerId).not.toBe(second);
    expect(net.timeline(id)).not.toContain("standby_unavailable");
    net.pass(28_000);
    succeed(net, id, 30_000);
    const job = net.job(id);
    expect(job).toMatchObject({ phase: "succeeded", creditedMs: 90_000 });
    expect(net.last(next?.workerId as WorkerId, "release")).toMatchObject({ standbyId: next?.id });
    // 60 s + 30 s of one core at 1 USD an hour, and 60 s of standing by at a quarter of it.
    const gross = 16_666n + 8_333n + 4_166n;
    expect(job.settlement.gross).toBe(gross);
    const shares = net.balance(`pending:${first.accountId}`) + net.balance(`pending:${other.accountId}`);
    expect(shares + net.balance("fee")).toBe(gross);
    expect(net.balance(`customer:${consumer.accountId}`)).toBe(100_000_000n - gross);
    expect(job.settlement.lines.map(({ role }) => role)).toEqual(["primary", "primary", "standby", "fee", "refund"]);
  });

  test("that becomes ready while its job waits takes it", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    const primary = net.worker(provider, "primary");
    const second = net.worker(provider, "second");
    const id = net.submit(consumer, { standby: "hot" });
    run(net, id, primary);
    net.pass(5_000);
    net.close(primary);
    net.pass(2_000);
    expect(net.job(id).phase).toBe("queued");
    const standbyId = net.standby(id)?.id;
    net.say(second, { kind: "standby.ready", standbyId: standbyId as NonNullable<typeof standbyId>, checkpointSeq: 0 });
    expect(net.job(id)).toMatchObject({ phase: "starting", epoch: 2, standbyId: null });
    expect(net.last(second, "promote")).toMatchObject({ attempt: { epoch: 2 } });
  });

  test("that cannot be prepared is tried elsewhere, later and later", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    const primary = net.worker(provider, "primary");
    const second = net.worker(provider, "second");
    const id = net.submit(consumer, { standby: "hot" });
    run(net, id, primary);
    for (const [waitMs, made] of [
      [10_000, 2],
      [20_000, 3],
      [40_000, 4],
    ] as const) {
      const standbyId = net.standby(id)?.id as NonNullable<ReturnType<typeof net.standby>>["id"];
      net.say(second, { kind: "standby.failed", standbyId, code: "image_pull_failed", message: "no route" });
      net.pass(waitMs - 1_000);
      expect(net.job(id).standbyId).toBeNull();
      net.pass(1_100);
      expect(net.job(id)).toMatchObject({ standbysMade: made });
    }
  });

  test("is wanted, said so once, and reserved when a worker comes", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    const primary = net.worker(provider, "primary");
    const id = net.submit(consumer, { standby: "hot" });
    run(net, id, primary);
    net.pass(10_000);
    expect(net.timeline(id).filter((kind) => kind === "standby_unavailable")).toHaveLength(1);
    const late = net.worker(provider, "late");
    expect(net.standby(id)?.workerId).toBe(late);
  });

  test("is not reserved where primary and standby together would break the price cap", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    net.worker(provider, "primary");
    net.worker(provider, "second");
    const id = net.submit(consumer, { standby: "hot", priceMaxPerHour: { amount: "1200000", currency: "USD" } });
    expect(net.standby(id)).toBeUndefined();
    expect(net.timeline(id)).toContain("standby_unavailable");
  });

  test("is lost with its worker, paid to its last sign of life, and replaced", () => {
    const { net, id, second, other } = hot();
    net.pass(20_000);
    net.silence(second);
    net.pass(10_000);
    expect(net.kept.all("standbys").find(({ workerId }) => workerId === second)).toMatchObject({
      phase: "lost",
      lease: "expired",
    });
    const paidMs = net.kept.all("standbys").find(({ workerId }) => workerId === second)?.creditedMs ?? 0;
    expect(paidMs).toBeGreaterThan(19_000);
    expect(paidMs).toBeLessThanOrEqual(20_000);
    expect(net.standby(id)?.workerId).not.toBe(second);
    succeed(net, id, 30_000);
    expect(net.balance(`pending:${other.accountId}`)).toBeGreaterThan(0n);
  });
});

describe("an undo", () => {
  test("lets the first attempt go on under the next epoch, and pays the undone one nothing", () => {
    const { net, id, primary, second } = hot();
    net.pass(10_000);
    net.close(primary);
    run(net, id, second);
    net.pass(500);
    net.connect(primary, offerOf(), running(net, id, 1, 10_600));
    expect(net.job(id)).toMatchObject({ phase: "running", epoch: 3, workLostMs: 0 });
    expect(net.last(primary, "adopt")).toMatchObject({ attempt: { epoch: 3 }, from: 1 });
    expect(net.sentTo(primary).filter(({ kind }) => kind === "adopt")).toHaveLength(1);
    expect(net.last(second, "fence")).toMatchObject({ attempt: { epoch: 2 } });
    expect(net.attempts(id).map(({ phase }) => phase)).toEqual(["lost", "fenced", "running"]);
    net.pass(20_000);
    succeed(net, id, 30_600);
    expect(net.job(id)).toMatchObject({ phase: "succeeded" });
    expect(net.attempts(id).map(({ creditedMs }) => creditedMs > 0)).toEqual([false, false, true]);
    expect(net.job(id).settlement.lines.some(({ role, amount }) => role === "standby" && amount > 0n)).toBe(true);
  });

  test("credits the adopted container's time once", () => {
    const { net, id, primary } = hot();
    net.pass(20_000);
    save(net, id, 1, 20_000);
    net.pass(5_000);
    net.close(primary);
    net.pass(500);
    net.connect(primary, offerOf(), running(net, id, 1, 25_500));
    net.pass(4_500);
    save(net, id, 2, 30_000);
    expect(net.attempts(id).map(({ creditedMs }) => creditedMs)).toEqual([20_000, 0, 10_000]);
    expect(net.job(id).creditedMs).toBe(30_000);
  });

  test("is not made once the successor has committed something", () => {
    const { net, id, primary, second } = hot();
    net.pass(10_000);
    net.close(primary);
    run(net, id, second);
    net.pass(1_000);
    save(net, id, 1, 900);
    net.connect(primary, offerOf(), running(net, id, 1, 11_500));
    expect(net.job(id)).toMatchObject({ epoch: 2, phase: "running" });
    expect(net.last(primary, "fence")).toMatchObject({ attempt: { epoch: 1 } });
  });

  test("takes the result of an attempt that ended with success meanwhile", () => {
    const { net, id, primary, second } = hot();
    net.pass(10_000);
    net.close(primary);
    run(net, id, second);
    net.pass(500);
    net.connect(primary, offerOf(), journal(net, id, 1, 10_200, "exited"));
    expect(net.last(primary, "adopt")).toMatchObject({ attempt: { epoch: 3 }, from: 1 });
    expect(net.last(second, "fence")).toMatchObject({ attempt: { epoch: 2 } });
    net.say(primary, { kind: "exited", attempt: refOf(net.attempt(id)), ranMs: 10_200 });
    succeed(net, id, 10_200);
    expect(net.job(id)).toMatchObject({ phase: "succeeded", epoch: 3, creditedMs: 10_200, failoversUsed: 0 });
  });

  test.each(["ended", "preparing"] as const)("is not made for an attempt that is %s, and no retry is used", (phase) => {
    const { net, id, primary, second } = hot();
    net.pass(10_000);
    const lost = refOf(net.attempt(id));
    net.close(primary);
    run(net, id, second);
    net.pass(500);
    net.connect(primary, offerOf(), journal(net, id, 1, 10_200, phase));
    const outcome = { kind: "failed", code: "exit_code", exitCode: 3, message: "" } as const;
    net.say(primary, { kind: "ended", attempt: lost, ranMs: 10_200, outcome });
    expect(net.last(primary, "refused")).toMatchObject({ code: "stale_epoch" });
    expect(net.last(primary, "fence")).toMatchObject({ attempt: { epoch: 1 } });
    expect(net.job(id)).toMatchObject({ phase: "running", epoch: 2, retriesUsed: 0, failoversUsed: 1 });
    expect(net.timeline(id)).not.toContain("undone");
    succeed(net, id, 20_000);
    expect(net.job(id)).toMatchObject({ phase: "succeeded", epoch: 2, retriesUsed: 0 });
  });

  test("works for a job that waits again", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    const worker = net.worker(provider, "only");
    const id = net.submit(consumer);
    run(net, id, worker);
    net.pass(5_000);
    net.close(worker);
    net.pass(3_000);
    expect(net.job(id).phase).toBe("queued");
    net.connect(worker, offerOf(), running(net, id, 1, 8_000));
    expect(net.job(id)).toMatchObject({ phase: "running", epoch: 2 });
    expect(net.last(worker, "adopt")).toMatchObject({ from: 1, attempt: { epoch: 2 } });
  });
});

describe("fencing", () => {
  test("refuses every word of a stale epoch and fences it", () => {
    const { net, id, primary, second } = hot();
    net.pass(10_000);
    const stale = refOf(net.attempt(id));
    net.close(primary);
    run(net, id, second);
    net.pass(1_000);
    save(net, id, 1, 900);
    net.connect(primary, offerOf());
    const before = net.job(id);
    const outcome = { kind: "succeeded", outputs: null } as const;
    net.say(primary, { kind: "ended", attempt: stale, ranMs: 11_000, outcome });
    net.say(primary, { kind: "exited", attempt: stale, ranMs: 11_000 });
    net.say(primary, { kind: "started", attempt: stale, fromSeq: 0 });
    net.say(primary, {
      kind: "checkpoint",
      attempt: stale,
      seq: 2,
      parentSeq: 1,
      tree: treeOf("stale"),
      ranMs: 11_000,
      progress: null,
      signature: "signature",
    });
    net.say(primary, { kind: "log", attempt: stale, stream: "stdout", offset: 0, text: "stale", time: "" });
    expect(net.job(id)).toEqual(before);
    expect(
      net.sentTo(primary).filter((message) => message.kind === "refused" && message.code === "stale_epoch"),
    ).toHaveLength(5);
    expect(net.kept.logs.some(({ text }) => text === "stale")).toBe(false);
  });

  test("drops messages of an older session", () => {
    const { net, id, primary } = hot();
    const old = net.sessionOf(primary);
    const attempt = refOf(net.attempt(id));
    net.connect(primary, offerOf(), running(net, id, 1, 1_000));
    const outcome = { kind: "succeeded", outputs: null } as const;
    const result = net.say(primary, { kind: "ended", attempt, ranMs: 1, outcome }, old);
    expect(result).toMatchObject({ changed: false, effects: [] });
  });

  test("acknowledges again what was accepted before", () => {
    const { net, id, primary } = hot();
    net.pass(5_000);
    save(net, id, 1, 5_000);
    const acks = () => net.sentTo(primary).filter(({ kind }) => kind === "ack").length;
    const before = acks();
    save(net, id, 1, 5_000);
    expect(acks()).toBe(before + 1);
    expect(net.job(id).checkpoints).toHaveLength(1);
  });
});

describe("budgets", () => {
  test("a job that fails by itself is tried again from its checkpoint, then ends with the reason", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    net.worker(provider, "one");
    net.worker(provider, "two");
    const id = net.submit(consumer, { retries: 1 });
    const firstWorker = net.attempt(id).workerId;
    for (const epoch of [1, 2]) {
      const attempt = net.attempt(id);
      expect(attempt.epoch).toBe(epoch);
      run(net, id, attempt.workerId);
      net.pass(1_000);
      const outcome = { kind: "failed", code: "exit_code", exitCode: 3, message: "" } as const;
      net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs: 1_000, outcome });
    }
    expect(net.attempts(id)[1]?.workerId).not.toBe(firstWorker);
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "exit_code", retriesUsed: 1, failoversUsed: 0 });
    expect(net.job(id).message).toContain("exit code 3");
    expect(net.job(id).creditedMs).toBe(2_000);
  });

  test("an image that is nowhere is tried once more, not `retries` times", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    net.worker(provider, "one");
    const id = net.submit(consumer, { retries: 50 });
    const outcome = { kind: "failed", code: "image_not_found", exitCode: null, message: "404" } as const;
    for (let i = 0; i < 2; i += 1) {
      const attempt = net.attempt(id);
      net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs: 0, outcome });
    }
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "image_not_found", retriesUsed: 1 });
  });

  test("lost workers use failoversMax", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    net.worker(provider, "one");
    net.worker(provider, "two");
    const id = net.submit(consumer, { failoversMax: 1 });
    for (let i = 0; i < 2; i += 1) {
      net.close(net.attempt(id).workerId);
      net.pass(1_600);
    }
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "failovers_exhausted", failoversUsed: 1 });
  });

  test("durationMaxS ends a job by a stop, and by a fence when the stop is not answered", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    const worker = net.worker(provider, "one");
    const id = net.submit(consumer, { durationMaxS: 60, stopGraceS: 5 });
    run(net, id, worker);
    net.pass(59_000);
    expect(net.last(worker, "stop")).toBeUndefined();
    net.pass(1_500);
    expect(net.last(worker, "stop")).toMatchObject({ reason: "deadline" });
    net.pass(36_000);
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "deadline", creditedMs: 0 });
    expect(net.last(worker, "fence")).toMatchObject({ attempt: { epoch: 1 } });
  });

  test("credited time never exceeds durationMaxS, whatever the worker says", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    const worker = net.worker(provider, "one");
    const id = net.submit(consumer, { durationMaxS: 10 });
    run(net, id, worker);
    net.pass(5_000);
    save(net, id, 1, 3_600_000);
    expect(net.job(id).creditedMs).toBe(5_000);
    net.pass(20_000);
    succeed(net, id, 9_999_999);
    expect(net.job(id).creditedMs).toBe(10_000);
  });

  test("an attempt that never starts is moved after startTimeoutMs", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    const worker = net.worker(provider, "one");
    const id = net.submit(consumer, { queueS: 86_400 });
    net.pass(15 * 60_000 + 1_000);
    expect(net.last(worker, "fence")).toMatchObject({ attempt: { epoch: 1 } });
    expect(net.job(id)).toMatchObject({ epoch: 2, failoversUsed: 1 });
  });
});

describe("hello", () => {
  test("repeats an assignment that was lost on the way", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    const worker = net.worker(provider, "one");
    const id = net.submit(consumer);
    const attempt = refOf(net.attempt(id));
    net.close(worker);
    net.pass(500);
    net.connect(worker);
    expect(net.sentTo(worker).filter(({ kind }) => kind === "assign")).toHaveLength(2);
    expect(net.last(worker, "assign")).toMatchObject({ attempt });
  });

  test("without a container that ran means that the attempt is gone", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    const worker = net.worker(provider, "one");
    const id = net.submit(consumer);
    run(net, id, worker);
    net.pass(5_000);
    net.close(worker);
    net.pass(500);
    net.connect(worker);
    expect(net.job(id)).toMatchObject({ epoch: 2, failoversUsed: 1 });
    expect(net.event(id, "requeued")).toMatchObject({ why: "lost_container" });
  });

  test("repeats promotions and stops, releases what nobody wants, fences what nobody knows", () => {
    const { net, id, primary, second, standbyId } = hot();
    net.pass(5_000);
    net.close(primary);
    net.close(second);
    net.pass(500);
    const unknown = { jobId: "job-unknown" as JobId, replica: 0, epoch: 1 as never };
    net.connect(second, offerOf(), {
      attempts: [{ attempt: unknown, phase: "running", ranMs: 1, checkpointSeq: 0, progress: null }],
      standbys: [
        { standbyId, phase: "ready", checkpointSeq: 0 },
        { standbyId: `${id}/s77` as typeof standbyId, phase: "ready", checkpointSeq: 0 },
      ],
    });
    expect(net.sentTo(second).filter(({ kind }) => kind === "promote")).toHaveLength(2);
    expect(net.last(second, "fence")).toMatchObject({ attempt: unknown });
    expect(net.last(second, "release")).toMatchObject({ standbyId: `${id}/s77` });
  });
});
