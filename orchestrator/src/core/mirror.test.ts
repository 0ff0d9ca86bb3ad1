import { describe, expect, test } from "vitest";
import type { AttemptRecord } from "./model.ts";
import { Network, offerOf, refOf, USD } from "./testing/kit.ts";
import { mirrored, RIGHT, running, running60, WRONG } from "./testing/mirrored.ts";

describe("a mirror job", () => {
  test("is placed twice at once, at two providers, each replica with epochs of its own", () => {
    const { net, id, first, second, of } = mirrored();
    expect(of(0)).toMatchObject({ replica: 0, epoch: 1, workerId: first });
    expect(of(1)).toMatchObject({ replica: 1, epoch: 1, workerId: second });
    expect(net.last(second, "assign")).toMatchObject({
      attempt: { jobId: id, replica: 1, epoch: 1 },
      checkpoint: null,
    });
  });

  test("succeeds when both results are the same, and both providers are paid by their own rates", () => {
    const { net, id, succeed, earned } = running60();
    succeed(0, 60_000);
    expect(net.job(id)).toMatchObject({ phase: "running", outputs: null });
    succeed(1, 30_000);
    const job = net.job(id);
    expect(job).toMatchObject({ phase: "succeeded", outputs: RIGHT, creditedMs: 90_000, mirror: { verified: true } });
    // A minute at 1.00 an hour and half a minute at 1.50.
    const gross = 16_666n + 12_500n;
    expect(job.settlement.gross).toBe(gross);
    expect(earned(0) + earned(1) + net.balance("fee")).toBe(gross);
    expect(earned(0)).toBeGreaterThan(earned(1));
  });

  test("takes trees that are packed differently for the same where the sums of their files are", () => {
    const { net, id, of } = running60();
    for (const [replica, outputs] of [RIGHT, WRONG].entries()) {
      const { workerId, ...attempt } = of(replica);
      const outcome = { kind: "succeeded", outputs } as const;
      const message = { kind: "ended", msg: 9, attempt: refOf(of(replica)), ranMs: 1_000, outcome } as const;
      const sessionId = net.sessionOf(workerId);
      net.do({
        kind: "worker.message",
        workerId,
        sessionId,
        message,
        content: { shape: "any", sum: "same", isExact: true },
      });
      expect(attempt.jobId).toBe(id);
    }
    expect(net.job(id)).toMatchObject({ phase: "succeeded", outputs: RIGHT });
    const collected = net.effects.flatMap((effect) => (effect.kind === "collect" ? effect.trees : []));
    expect(collected).toContainEqual(WRONG);
  });

  test("begins alone where there is no second offer, says so, and gets its second when one appears", () => {
    const net = new Network();
    const consumer = net.account("consumer", 100n);
    const provider = net.account("provider");
    net.worker(provider, "a");
    net.worker(provider, "b");
    const id = net.submit(consumer, { standby: "mirror" });
    expect(net.attempts(id)).toHaveLength(1);
    expect(net.timeline(id).filter((kind) => kind === "mirror_unavailable")).toHaveLength(1);
    const other = net.worker(net.account("provider"), "c");
    expect(net.attempts(id).map(({ replica, workerId }) => [replica, workerId])).toContainEqual([1, other]);
  });

  test("that gives a result alone waits for a second one, and fails when none comes within queueS", () => {
    const net = new Network();
    const consumer = net.account("consumer", 100n);
    const worker = net.worker(net.account("provider"), "a");
    const id = net.submit(consumer, { standby: "mirror", queueS: 60 });
    const [attempt] = net.attempts(id);
    if (attempt === undefined) throw new Error("not placed");
    net.say(worker, { kind: "started", attempt: refOf(attempt), fromSeq: 0 });
    net.pass(10_000);
    const outcome = { kind: "succeeded", outputs: RIGHT } as const;
    net.say(worker, { kind: "ended", attempt: refOf(attempt), ranMs: 10_000, outcome });
    expect(net.job(id)).toMatchObject({ phase: "queued", outputs: null });
    net.pass(60_000);
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "no_offer", outputs: null });
    expect(net.job(id).message).toContain("no other provider's that agrees");
    // The work was done in order, and is paid.
    expect(net.job(id).settlement.gross).toBe(2_777n);
  });

  test("runs on GPUs of one model", () => {
    const net = new Network();
    const consumer = net.account("consumer", 100n);
    const gpuOffer = (uuid: string, model: string) =>
      offerOf({ gpus: [{ uuid, model, memoryMiB: 24_000 }], pricePerGpuHour: USD(1_000_000n) });
    net.worker(net.account("provider"), "a", gpuOffer("g1", "NVIDIA RTX 4090"));
    net.worker(net.account("provider"), "b", gpuOffer("g2", "NVIDIA RTX 4090 Laptop GPU"));
    const id = net.submit(consumer, { standby: "mirror", resources: { gpus: { count: 1 } } });
    expect(net.attempts(id)).toHaveLength(1);
    net.worker(net.account("provider"), "c", gpuOffer("g3", "NVIDIA RTX 4090"));
    expect(net.attempts(id).map(({ allocation }) => allocation.gpuUuids[0])).toEqual(["g1", "g3"]);
  });

  test("keeps both replicas together within the cap", () => {
    const { net, id } = mirrored({ priceMaxPerHour: { amount: "2400000", currency: "USD" } });
    // 1.00 + 1.50 is more than 2.40.
    expect(net.attempts(id)).toHaveLength(1);
    expect(net.timeline(id)).toContain("mirror_unavailable");
  });

  test("is not begun where the cheapest offer leaves no room for a second", () => {
    const { net, id } = mirrored({ priceMaxPerHour: { amount: "1900000", currency: "USD" } });
    expect(net.attempts(id)).toHaveLength(0);
    expect(net.job(id).phase).toBe("queued");
  });

  test("gives a replica up whose image is not that of the first to start", () => {
    const { net, id, second, of } = mirrored();
    const digest = (digit: string) => `sha256:${digit.repeat(64)}`;
    const say = (replica: number, imageDigest: string) => {
      const attempt = of(replica);
      net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: 0, imageDigest });
    };
    say(0, digest("a"));
    say(1, digest("b"));
    expect(net.last(second, "fence")).toMatchObject({ attempt: { replica: 1, epoch: 1 } });
    expect(net.event(id, "replica_lost")).toMatchObject({ why: "image_moved", replica: 1 });
    expect(of(1)).toMatchObject({ epoch: 2, phase: "assigned" });
  });
});

describe("when one of the two is lost", () => {
  test.each([0, 1])(
    "replica %i: the other is not disturbed, and another takes its place from its own checkpoint",
    (lost) => {
      const { net, id, third, of, save } = running60();
      save(lost, 1, 50_000);
      const stays = of(1 - lost);
      const told = net.sentTo(stays.workerId).length;
      net.silence(of(lost).workerId);
      net.pass(6_000);
      expect(net.job(id)).toMatchObject({ phase: "running", failoversUsed: 1 });
      expect(net.timeline(id)).not.toContain("requeued");
      expect(of(1 - lost).id).toBe(stays.id);
      const later = net.sentTo(stays.workerId).slice(told);
      expect(later.filter(({ kind }) => kind !== "ack")).toEqual([]);
      expect(of(lost)).toMatchObject({ epoch: 2, workerId: third, fromSeq: 1, phase: "assigned" });
      expect(net.last(third, "assign")).toMatchObject({ attempt: { replica: lost, epoch: 2 }, checkpoint: { seq: 1 } });
      expect(net.event(id, "replica_lost")).toMatchObject({ replica: lost, worksOn: [stays.workerId] });
    },
  );

  test("nothing of one replica's is begun from by the other", () => {
    const { net, of, save, third } = running60();
    save(0, 1, 50_000);
    net.silence(of(1).workerId);
    net.pass(6_000);
    expect(net.last(third, "assign")).toMatchObject({ attempt: { replica: 1 }, checkpoint: null });
  });

  test("each is paid up to its own last durable moment", () => {
    const { net, id, of, save, start, succeed, earned } = running60();
    save(1, 1, 40_000);
    net.silence(of(1).workerId);
    net.pass(6_000);
    start(1);
    net.pass(20_000);
    succeed(0, 60_000);
    succeed(1, 20_000);
    const job = net.job(id);
    expect(job).toMatchObject({ phase: "succeeded", creditedMs: 120_000 });
    const gross = 16_666n + 16_666n + 11_111n;
    expect(job.settlement.gross).toBe(gross);
    expect(earned(0) + earned(1) + earned(2) + net.balance("fee")).toBe(gross);
  });

  test("a stale word of the lost one is refused, and its container fenced", () => {
    const { net, of, second, start } = running60();
    const lost = of(1);
    const offer = net.state.rows.workers.get(second)?.offer ?? offerOf();
    net.silence(second);
    net.pass(6_000);
    start(1);
    const outcome = { kind: "succeeded", outputs: RIGHT } as const;
    net.connect(second, offer);
    net.say(second, { kind: "ended", attempt: refOf(lost), ranMs: 60_000, outcome });
    expect(net.last(second, "refused")).toMatchObject({ code: "stale_epoch" });
    expect(net.last(second, "fence")).toMatchObject({ attempt: { replica: 1, epoch: 1 } });
  });

  test("it goes on when it is back before its successor has committed anything", () => {
    const { net, id, of, second, third } = running60();
    const lost = of(1);
    const offer = net.state.rows.workers.get(second)?.offer ?? offerOf();
    net.silence(second);
    net.pass(6_000);
    expect(of(1).workerId).toBe(third);
    const entry = { attempt: refOf(lost), phase: "running" as const, ranMs: 66_000, checkpointSeq: 0, progress: null };
    net.connect(second, offer, { attempts: [entry], standbys: [] });
    expect(of(1)).toMatchObject({ epoch: 3, workerId: second, adoptedEpoch: 1, phase: "running" });
    expect(net.last(second, "adopt")).toMatchObject({ attempt: { replica: 1, epoch: 3 }, from: 1 });
    expect(net.last(third, "fence")).toMatchObject({ attempt: { replica: 1, epoch: 2 } });
    expect(net.job(id)).toMatchObject({ failoversUsed: 0, phase: "running" });
  });

  test("and then the other too, the job waits, and both replicas come back from checkpoints of their own", () => {
    const { net, id, of, save, first, second, third } = running60();
    save(0, 1, 30_000);
    save(1, 1, 50_000);
    const offers = [first, second].map((worker) => net.state.rows.workers.get(worker)?.offer ?? offerOf());
    net.do({
      kind: "worker.drain",
      actor: { accountId: "acc-admin" as never, role: "admin" },
      workerId: third,
      draining: true,
    });
    net.silence(first);
    net.silence(second);
    net.pass(7_000);
    expect(net.job(id)).toMatchObject({ phase: "queued", failoversUsed: 2 });
    net.connect(first, offers[0]);
    net.connect(second, offers[1]);
    expect([of(0), of(1)].map(({ epoch, fromSeq, workerId }) => [epoch, fromSeq, workerId])).toEqual([
      [2, 1, first],
      [2, 1, second],
    ]);
  });

  test("after its own result, the other's end decides all the same", () => {
    const { net, id, of, first, succeed } = running60();
    succeed(0, 60_000);
    net.silence(first);
    net.pass(6_000);
    expect(net.attempts(id)).toHaveLength(2);
    expect(of(0).phase).toBe("ended");
    succeed(1, 60_000);
    expect(net.job(id).phase).toBe("succeeded");
  });

  test("a machine that fails again and again is tried less and less often while the other works", () => {
    const net = new Network();
    const consumer = net.account("consumer", 100n);
    const good = net.worker(net.account("provider"), "good");
    const bad = net.worker(net.account("provider"), "bad");
    const id = net.submit(consumer, { standby: "mirror" });
    const outcome = { kind: "worker_failed", code: "docker_error", message: "" } as const;
    const newest = () => net.attempts(id).findLast((attempt) => attempt.replica === 1) as AttemptRecord;
    const break1 = () => net.say(bad, { kind: "ended", attempt: refOf(newest()), ranMs: 0, outcome });
    net.say(good, {
      kind: "started",
      attempt: refOf(net.attempts(id).find(({ replica }) => replica === 0) ?? newest()),
      fromSeq: 0,
    });
    break1();
    // Nobody else is there: it may have been an accident.
    expect(newest()).toMatchObject({ epoch: 2, phase: "assigned" });
    break1();
    expect(newest()).toMatchObject({ epoch: 2, phase: "ended" });
    net.pass(net.config.standbyRetryMs);
    expect(newest()).toMatchObject({ epoch: 3, phase: "assigned" });
    break1();
    net.pass(net.config.standbyRetryMs);
    expect(newest()).toMatchObject({ epoch: 3, phase: "ended" });
    net.pass(net.config.standbyRetryMs);
    expect(newest()).toMatchObject({ epoch: 4, phase: "assigned" });
    // Then one of another provider is there, where nothing went wrong yet: it goes first.
    break1();
    const other = net.worker(net.account("provider"), "other");
    net.pass(4 * net.config.standbyRetryMs);
    expect(newest()).toMatchObject({ epoch: 5, workerId: other });
  });

  test("more often than failoversMax, the job fails, and the other is fenced and paid to its checkpoint", () => {
    const { net, id, of, save, first } = running60({ failoversMax: 0 });
    save(0, 1, 50_000);
    net.silence(of(1).workerId);
    net.pass(6_000);
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "failovers_exhausted", creditedMs: 50_000 });
    expect(net.last(first, "fence")).toMatchObject({ attempt: { replica: 0, epoch: 1 } });
  });
});

describe("stopping a mirror job", () => {
  test("stops both, and ends when both have", () => {
    const { net, id, consumer, first, second, of } = running60();
    net.do({ kind: "job.cancel", actor: consumer, jobId: id });
    for (const worker of [first, second]) expect(net.last(worker, "stop")).toMatchObject({ reason: "cancelled" });
    net.say(first, { kind: "ended", attempt: refOf(of(0)), ranMs: 60_000, outcome: { kind: "stopped" } });
    expect(net.job(id).phase).toBe("finishing");
    net.say(second, { kind: "ended", attempt: refOf(of(1)), ranMs: 60_000, outcome: { kind: "stopped" } });
    expect(net.job(id)).toMatchObject({ phase: "cancelled", creditedMs: 120_000 });
  });

  test("is enforced when no answer comes", () => {
    const { net, id, consumer, first, second } = running60();
    net.do({ kind: "job.cancel", actor: consumer, jobId: id });
    net.pass(41_000);
    expect(net.job(id).phase).toBe("cancelled");
    for (const worker of [first, second]) expect(net.last(worker, "fence")).toBeDefined();
  });

  test("each replica has the whole of durationMaxS", () => {
    const { net, id, save } = running({ durationMaxS: 100 });
    net.pass(90_000);
    save(0, 1, 90_000);
    save(1, 1, 90_000);
    expect(net.job(id)).toMatchObject({ phase: "running", creditedMs: 180_000, intent: null });
    net.pass(11_000);
    expect(net.job(id).intent).toBe("deadline");
  });
});

describe("across a restart of the orchestrator", () => {
  test("both replicas go on, and a missing one is sought again", () => {
    const { net, id, of, first, second, third, save } = running60();
    save(1, 1, 30_000);
    const entry = (replica: number) => ({
      attempts: [
        {
          attempt: refOf(of(replica)),
          phase: "running" as const,
          ranMs: 60_000,
          checkpointSeq: replica,
          progress: null,
        },
      ],
      standbys: [],
    });
    const entries = [entry(0), entry(1)];
    net.restart(1_000);
    net.connect(first, offerOf(), entries[0]);
    net.connect(second, offerOf(), entries[1]);
    net.connect(third);
    expect(net.attempts(id)).toHaveLength(2);
    expect(net.last(first, "fence")).toBeUndefined();
    expect(net.last(second, "fence")).toBeUndefined();
    net.silence(second);
    net.pass(6_000);
    expect(of(1)).toMatchObject({ epoch: 2, workerId: third, fromSeq: 1 });
  });

  test("a disagreement is remembered", () => {
    const { net, id, first, second, third, of, start, succeed } = running60();
    net.close(third);
    succeed(0, 60_000, WRONG);
    succeed(1, 60_000);
    net.restart(1_000);
    for (const worker of [first, second]) net.connect(worker);
    expect(net.job(id).phase).toBe("queued");
    net.connect(third);
    expect(of(1)).toMatchObject({ epoch: 2, workerId: third });
    start(1);
    net.pass(1_000);
    succeed(1, 1_000);
    expect(net.job(id)).toMatchObject({ phase: "succeeded", outputs: RIGHT });
  });
});
