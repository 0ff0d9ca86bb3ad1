// What comes of the results and checkpoints of a mirror job's runs.
import type { WorkerId } from "@qubix/shared/domain";
import { describe, expect, test } from "vitest";
import type { TreeContent } from "./model.ts";
import { standingOf } from "./standing.ts";
import { type Network, refOf, treeOf } from "./testing/kit.ts";
import { RIGHT, running, running60, WRONG } from "./testing/mirrored.ts";

function standing(net: Network, id: WorkerId): number {
  const row = net.state.rows.workers.get(id);
  return row === undefined ? Number.NaN : standingOf(row, net.nowMs);
}

describe("two results that differ", () => {
  test("call a third provider, which begins afresh", () => {
    const { net, id, third, of, save, succeed } = running60();
    save(1, 1, 30_000);
    succeed(0, 60_000, WRONG);
    succeed(1, 60_000);
    expect(of(1)).toMatchObject({ epoch: 2, workerId: third, fromSeq: 0 });
    expect(net.last(third, "assign")).toMatchObject({ attempt: { replica: 1, epoch: 2 }, checkpoint: null });
    expect(net.event(id, "mirror_disagreed")).toMatchObject({
      results: [
        { run: 0, result: WRONG.manifestCid },
        { run: 1, result: RIGHT.manifestCid },
      ],
    });
    expect(net.job(id)).toMatchObject({ phase: "starting", outputs: null });
  });

  test.each([
    ["the first", 0],
    ["the second", 1],
  ])("%s is outvoted: it is not paid, with the evidence recorded; the other two are", (_name, liar) => {
    const { net, id, of, start, save, succeed, earned, first, second } = running60();
    save(liar, 1, 30_000);
    succeed(liar, 60_000, WRONG);
    succeed(1 - liar, 60_000);
    start(1);
    net.pass(60_000);
    succeed(1, 60_000);
    const job = net.job(id);
    expect(job).toMatchObject({ phase: "succeeded", outputs: RIGHT, creditedMs: 120_000, mirror: { verified: true } });
    expect(earned(liar)).toBe(0n);
    expect(earned(1 - liar)).toBeGreaterThan(0n);
    expect(earned(2)).toBeGreaterThan(0n);
    const honest = liar === 0 ? 25_000n : 16_666n;
    expect(job.settlement.gross).toBe(honest + 33_333n);
    const refused = { result: WRONG.manifestCid, agreed: RIGHT.manifestCid, refusedMs: 60_000 };
    expect(net.event(id, "work_refused")).toMatchObject(refused);
    const workerId = liar === 0 ? first : second;
    expect(net.kept.events.find(({ kind }) => kind === "worker_disagreed")).toMatchObject({ workerId, data: refused });
    expect(net.attempts(id).filter(({ isRefused }) => isRefused)).toHaveLength(1);
    // What the outvoted one saved is not to be begun from by anybody.
    expect(job.checkpoints).toEqual([]);
    expect(of(1).workerId).not.toBe(workerId);
    expect(net.attempts(id).map((attempt) => standing(net, attempt.workerId))).toEqual(
      net.attempts(id).map((attempt) => (attempt.workerId === workerId ? 0.5 : 1)),
    );
  });

  test("and an outvoted run that two workers made: which of them spoiled it cannot be told, and neither is named", () => {
    const { net, id, first, third, of, start, save, succeed } = running60();
    const fourth = net.worker(net.account("provider"), "worker3");
    save(0, 1, 60_000);
    net.silence(first);
    net.pass(6_000);
    expect(of(0)).toMatchObject({ workerId: fourth, fromSeq: 1 });
    start(0);
    succeed(0, 10_000, WRONG);
    succeed(1, 60_000);
    expect(of(1).workerId).toBe(third);
    start(1);
    succeed(1, 60_000);
    expect(net.job(id)).toMatchObject({ phase: "succeeded", outputs: RIGHT });
    expect(net.timeline(id)).toContain("work_refused");
    expect(net.kept.events.map(({ kind }) => kind)).not.toContain("worker_disagreed");
    expect(standing(net, fourth)).toBe(1);
  });

  test("and a third one that differs from both: the job fails, and nobody is shown to be wrong", () => {
    const { net, id, start, succeed, earned } = running60();
    succeed(0, 60_000, WRONG);
    succeed(1, 60_000);
    start(1);
    net.pass(60_000);
    succeed(1, 60_000, treeOf("other"));
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "mirror_disagreement", outputs: null });
    expect(net.job(id).settlement.gross).toBe(16_666n + 25_000n + 33_333n);
    for (const n of [0, 1, 2]) expect(earned(n)).toBeGreaterThan(0n);
    for (const { workerId } of net.attempts(id)) expect(standing(net, workerId)).toBe(1);
  });

  test("three that worked for as long as they might share the hold", () => {
    const cap = { amount: "3500000", currency: "USD" };
    const { net, id, start, succeed } = running({ durationMaxS: 60, priceMaxPerHour: cap });
    net.pass(55_000);
    succeed(0, 55_000, WRONG);
    succeed(1, 55_000);
    start(1);
    net.pass(55_000);
    succeed(1, 55_000, treeOf("other"));
    const { settlement } = net.job(id);
    // 4.50 an hour for 55 s is more than 3.50 for a minute.
    expect(settlement.gross).toBe(settlement.hold);
    expect(settlement.lines.find(({ role }) => role === "refund")?.amount).toBe(0n);
  });

  test("with no third provider: the job ends after queueS", () => {
    const { net, id, third, succeed } = running60({ queueS: 30 });
    net.close(third);
    succeed(0, 60_000, WRONG);
    succeed(1, 60_000);
    expect(net.job(id).phase).toBe("queued");
    net.pass(31_000);
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "no_offer" });
  });

  test("the third is replaced when it is lost, from its own checkpoint", () => {
    const { net, id, third, of, start, save, succeed } = running60();
    const fourth = net.worker(net.account("provider"), "worker3");
    succeed(0, 60_000, WRONG);
    succeed(1, 60_000);
    expect(of(1).workerId).toBe(fourth);
    start(1);
    net.pass(20_000);
    save(1, 1, 20_000);
    net.silence(fourth);
    net.pass(6_000);
    expect(of(1)).toMatchObject({ epoch: 3, workerId: third, fromSeq: 1 });
    start(1);
    succeed(1, 10_000);
    expect(net.job(id)).toMatchObject({ phase: "succeeded", outputs: RIGHT });
  });
});

describe("a failure of the job's own", () => {
  test("of one replica is tried again there while the other goes on", () => {
    const { net, id, of, fail } = running60();
    fail(1, 10_000);
    expect(net.job(id)).toMatchObject({ phase: "running", retriesUsed: 1 });
    expect(of(0).phase).toBe("running");
    expect(of(1)).toMatchObject({ epoch: 2 });
  });

  test("the same of both is the job's", () => {
    const { net, id, fail } = running60({ retries: 0 });
    fail(0, 10_000);
    expect(net.job(id).phase).toBe("running");
    fail(1, 12_000);
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "exit_code", creditedMs: 22_000 });
    expect(net.job(id).message).toContain("Two providers came to the same");
  });

  test("of one alone is outvoted by two that succeed", () => {
    const { net, id, start, fail, succeed, earned } = running60({ retries: 0 });
    fail(0, 10_000);
    succeed(1, 60_000);
    start(1);
    net.pass(60_000);
    succeed(1, 60_000);
    expect(net.job(id)).toMatchObject({ phase: "succeeded", outputs: RIGHT });
    expect(earned(0)).toBe(0n);
  });
});

describe("checkpoints of both replicas", () => {
  const { progress, tree } = { progress: 0.5, tree: treeOf("save") };
  const commit = ({ net, of }: ReturnType<typeof running60>, replica: number, content: TreeContent) => {
    const { workerId } = of(replica);
    const attempt = refOf(of(replica));
    const said = { seq: 1, parentSeq: 0, tree, ranMs: 1_000, progress, signature: "s" };
    const message = { kind: "checkpoint", msg: 5 + replica, attempt, ...said } as const;
    net.do({ kind: "worker.message", workerId, sessionId: net.sessionOf(workerId), message, content });
  };

  test.each([
    ["are the same", { shape: "a", sum: "1", isExact: true }, { same: 1, different: 0 }, "mirror_checkpoints_agree"],
    [
      "differ, which is told and decides nothing",
      { shape: "a", sum: "2", isExact: true },
      { same: 0, different: 1 },
      "mirror_checkpoints_differ",
    ],
    [
      "may be the same where parts of pieces have no sum",
      { shape: "a", sum: "2", isExact: false },
      { same: 0, different: 0 },
      null,
    ],
    [
      "cannot be compared where they were cut elsewhere",
      { shape: "b", sum: "2", isExact: true },
      { same: 0, different: 0 },
      null,
    ],
  ])("of the same progress %s", (_name, content, compared, kind) => {
    const made = running60();
    commit(made, 0, { shape: "a", sum: "1", isExact: true });
    commit(made, 1, content);
    const { net, id, succeed } = made;
    expect(net.job(id).mirror?.compared).toEqual(compared);
    expect(net.timeline(id).filter((one) => one.startsWith("mirror_checkpoints"))).toEqual(kind === null ? [] : [kind]);
    succeed(0, 60_000);
    succeed(1, 60_000);
    expect(net.job(id).phase).toBe("succeeded");
  });
});

test("a comparison is not forgotten when the first replica's interval changes in the same step", () => {
  const { net, id, of } = running60();
  const content = { shape: "a", sum: "1", isExact: true };
  for (const replica of [1, 0]) {
    const { workerId } = of(replica);
    const said = { seq: 1, parentSeq: 0, tree: treeOf("save"), ranMs: 1, progress: 0.5, signature: "s", intervalS: 60 };
    const message = { kind: "checkpoint", msg: 5, attempt: refOf(of(replica)), ...said } as const;
    net.do({ kind: "worker.message", workerId, sessionId: net.sessionOf(workerId), message, content });
  }
  expect(net.job(id)).toMatchObject({ checkpointIntervalS: 60, mirror: { compared: { same: 1, different: 0 } } });
});
