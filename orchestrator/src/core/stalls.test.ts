import type { JobId } from "@qubix/shared/domain";
import type { Signs } from "@qubix/shared/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { judgeStall } from "./stalls.ts";
import { Network, offerOf, refOf, type specOf } from "./testing/kit.ts";
import { save, start } from "./testing/words.ts";

const LIMIT = 300_000;
const MIN = 60_000;

describe("a container", () => {
  it.each<[string, Signs, string]>([
    ["of which nothing is silent", {}, "fine"],
    [
      "whose progress moves by tiny steps while it neither logs nor saves",
      {
        progressMs: 299_000,
        logMs: 90 * MIN,
        logGapMs: 1_000,
        logSpanMs: 60 * MIN,
        savedMs: 90 * MIN,
        savedEveryMs: MIN,
      },
      "fine",
    ],
    [
      "that logs every ten minutes",
      { logMs: 9 * MIN, logGapMs: 10 * MIN, logSpanMs: 60 * MIN, savedMs: 6 * MIN, savedEveryMs: 20 * MIN },
      "fine",
    ],
    [
      "that only said hello and waits",
      { logMs: 90 * MIN, logGapMs: 1_000, logSpanMs: 2_000, idleMs: 90 * MIN },
      "suspected",
    ],
    [
      "that logs no more and computes",
      { logMs: 6 * MIN, logGapMs: 1_000, logSpanMs: 10 * MIN, idleMs: 0 },
      "suspected",
    ],
    ["whose progress stands and that computes", { progressMs: 6 * MIN, idleMs: 0 }, "suspected"],
    [
      "that spins: it computes, and neither progresses nor saves",
      { progressMs: 6 * MIN, savedMs: 6 * MIN, savedEveryMs: 30_000, idleMs: 0 },
      "stalled",
    ],
    [
      "that logs no more and does nothing",
      { logMs: 6 * MIN, logGapMs: 1_000, logSpanMs: 10 * MIN, idleMs: 6 * MIN },
      "stalled",
    ],
    [
      "within its own deadline, whatever else is silent",
      { progressMs: 50 * MIN, progressDueMs: 60 * MIN, idleMs: 50 * MIN, savedMs: 90 * MIN, savedEveryMs: MIN },
      "fine",
    ],
    ["past its own deadline, however busy", { progressMs: 11_000, progressDueMs: 10_000, idleMs: 0 }, "stalled"],
  ])("%s", (_what, signs, kind) => {
    expect(judgeStall(signs, LIMIT).kind).toBe(kind);
  });
});

const ms = fc.option(fc.nat(3_600_000), { nil: undefined });
const someSigns = fc
  .record({ progressMs: ms, savedMs: ms, savedEveryMs: ms, logMs: ms, logGapMs: ms, logSpanMs: ms, idleMs: ms })
  .map((signs) => Object.fromEntries(Object.entries(signs).filter(([, value]) => value !== undefined)) as Signs);

it("whose progress moved within the limit is left alone, whatever else is silent", () => {
  fc.assert(
    fc.property(someSigns, fc.nat(LIMIT), (signs, progressMs) => {
      expect(judgeStall({ ...signs, progressMs }, LIMIT).kind).toBe("fine");
    }),
  );
});

it("is failed over only for two signals, each silent beyond the limit; longer silence never helps it", () => {
  const order = ["fine", "suspected", "stalled"];
  fc.assert(
    fc.property(someSigns, fc.nat(600_000), (signs, more) => {
      const verdict = judgeStall(signs, LIMIT);
      expect(verdict.kind === "stalled").toBe(verdict.signals.length >= 2);
      if (verdict.kind !== "fine") expect(verdict.silentMs).toBeGreaterThan(LIMIT);
      const grows = ["progressMs", "savedMs", "logMs", "idleMs"];
      const longer: Signs = Object.fromEntries(
        Object.entries(signs).map(([key, value]) => [key, grows.includes(key) ? (value ?? 0) + more : value]),
      );
      expect(order.indexOf(judgeStall(longer, LIMIT).kind)).toBeGreaterThanOrEqual(order.indexOf(verdict.kind));
    }),
  );
});

// ── What comes of it ──

const KNOWS = offerOf({ features: ["stalls"] });
const STALLED: Signs = { progressMs: 6 * MIN, idleMs: 6 * MIN };
const SUSPECT: Signs = { progressMs: 6 * MIN };

function running(spec: Parameters<typeof specOf>[0] = {}) {
  const net = new Network();
  for (const name of ["a", "b", "c", "d", "e", "f"]) net.worker(net.account("provider"), name, KNOWS);
  const id = net.submit(net.account("consumer", 100n), spec);
  start(net, id);
  return { net, id };
}

function beat(net: Network, id: JobId, signs?: Signs): void {
  const attempt = net.attempt(id);
  const entry = { attempt: refOf(attempt), ranMs: 10, progress: null, phase: "running" };
  net.say(attempt.workerId, { kind: "heartbeat", attempts: [signs === undefined ? entry : { ...entry, signs }] });
}

describe("an attempt", () => {
  it("that stalls is fenced and its job goes on elsewhere from its newest checkpoint", () => {
    const { net, id } = running();
    const { workerId } = net.attempt(id);
    expect(net.last(workerId, "assign")?.run).toMatchObject({ stallAfterS: 300 });
    save(net, id, 1, 10);
    net.pass(10_000);
    beat(net, id, STALLED);
    expect(net.last(workerId, "fence")).toMatchObject({ attempt: { epoch: 1 } });
    expect(net.event(id, "stalled")).toMatchObject({ workerId, signals: ["progress", "idle"], silentMs: 6 * MIN });
    expect(net.job(id)).toMatchObject({ epoch: 2, failoversUsed: 1, retriesUsed: 0 });
    expect(net.attempt(id)).toMatchObject({ fromSeq: 1 });
    expect(net.attempt(id).workerId).not.toBe(workerId);
  });

  it("with a standby is followed by it at once", () => {
    const { net, id } = running({ standby: "hot" });
    const standby = net.standby(id);
    if (standby === undefined) throw new Error("no standby");
    net.say(standby.workerId, { kind: "standby.ready", standbyId: standby.id, checkpointSeq: 0 });
    beat(net, id, STALLED);
    expect(net.event(id, "promoted")).toMatchObject({ why: "stalled", workerId: standby.workerId });
  });

  it("that may have stalled is told of once, and goes on", () => {
    const { net, id } = running();
    for (const signs of [SUSPECT, SUSPECT, undefined, SUSPECT]) beat(net, id, signs);
    expect(net.timeline(id).filter((kind) => kind === "stall_suspected")).toHaveLength(1);
    expect(net.job(id)).toMatchObject({ epoch: 1, failoversUsed: 0 });
  });

  it("that stalls again and again at the same place is the job's own failure, soon", () => {
    const { net, id } = running({ retries: 1, failoversMax: 10 });
    for (let epoch = 1; epoch <= 3; epoch += 1) {
      expect(net.attempt(id).epoch).toBe(epoch);
      beat(net, id, STALLED);
      if (epoch < 3) start(net, id);
    }
    expect(net.job(id)).toMatchObject({ phase: "failed", reason: "stalled", failoversUsed: 1, retriesUsed: 1 });
    expect(net.job(id).message).toContain("stalled again at the same place");
  });

  it("that got on in between stalled elsewhere, which is a failover", () => {
    const { net, id } = running({ retries: 0 });
    beat(net, id, STALLED);
    start(net, id);
    save(net, id, 1, 10);
    beat(net, id, STALLED);
    expect(net.job(id)).toMatchObject({ phase: "starting", epoch: 3, failoversUsed: 2 });
  });

  it("of a job that wants no such care is left alone, and its worker is not asked", () => {
    const { net, id } = running({ stallAfterS: 0 });
    expect(net.last(net.attempt(id).workerId, "assign")?.run).not.toHaveProperty("stallAfterS");
    beat(net, id, STALLED);
    expect(net.job(id).epoch).toBe(1);
  });

  it("that is being stopped is left alone", () => {
    const { net, id } = running();
    const { accountId } = net.job(id);
    net.do({ kind: "job.cancel", actor: { accountId, role: "consumer" }, jobId: id });
    beat(net, id, STALLED);
    expect(net.timeline(id)).not.toContain("stalled");
  });
});
