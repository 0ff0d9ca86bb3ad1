import type { JobId, WorkerId } from "@qubix/shared/domain";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { nextDeadlineMs } from "./step.ts";
import { attemptLive, counts, freeCapacity, holdsJob, lastHeardMs, liveJobIdsOf } from "./reads.ts";
import { Network, offerOf, refOf } from "./testing/kit.ts";
import { start } from "./testing/words.ts";
import { jobView } from "./views.ts";
import { jobViewSchema } from "@qubix/shared/protocol";

function one() {
  const net = new Network();
  const worker = net.worker(net.account("provider"), "one");
  const consumer = net.account("consumer", 100n);
  return { net, worker, consumer };
}
const phaseOf = (net: Network, worker: Parameters<Network["silence"]>[0]) => net.state.rows.workers.get(worker)?.phase;

describe("silence", () => {
  test("of an idle worker is suspect after 12 s and lost after 17 s", () => {
    const { net, worker } = one();
    net.silence(worker);
    net.pass(11_900);
    expect(phaseOf(net, worker)).toBe("online");
    net.pass(200);
    expect(phaseOf(net, worker)).toBe("suspect");
    net.pass(5_000);
    expect(phaseOf(net, worker)).toBe("offline");
  });

  test("of a busy one is noticed within 6 s, counted from when it became busy", () => {
    const { net, worker, consumer } = one();
    net.silence(worker);
    net.pass(4_000);
    const id = net.submit(consumer);
    net.pass(3_400);
    expect(phaseOf(net, worker)).toBe("online");
    net.pass(200);
    expect(phaseOf(net, worker)).toBe("suspect");
    net.pass(2_000);
    expect(phaseOf(net, worker)).toBe("offline");
    expect(net.job(id).phase).toBe("queued");
  });

  test("ends with any frame", () => {
    const { net, worker } = one();
    const sessionId = net.sessionOf(worker);
    net.silence(worker);
    net.pass(13_000);
    expect(phaseOf(net, worker)).toBe("suspect");
    const result = net.step({ kind: "worker.heard", workerId: worker, sessionId });
    expect(result.fired).toContain("worker session: suspect + heard");
    expect(phaseOf(net, worker)).toBe("online");
    expect(lastHeardMs(net.state, worker)).toBe(net.nowMs);
  });

  test("is excused once when we were late ourselves", () => {
    const { net, worker } = one();
    net.silence(worker);
    net.nowMs += 60_000;
    net.step({ kind: "timer" });
    expect(phaseOf(net, worker)).toBe("online");
    const sessionId = net.state.rows.workers.get(worker)?.sessionId;
    net.nowMs += 100;
    // The heartbeat that waited in the socket meanwhile.
    if (sessionId)
      net.step({ kind: "worker.message", workerId: worker, sessionId, message: { kind: "heartbeat", msg: 1 } });
    net.pass(1_000);
    expect(phaseOf(net, worker)).toBe("online");
    net.pass(20_000);
    expect(phaseOf(net, worker)).toBe("offline");
  });

  // Found by the simulator: seed 200 of its first form with stalls whose frames wait in the sockets.
  test("is not judged at once when a place is given to one that is excused", () => {
    const { net, worker, consumer } = one();
    net.submit(consumer);
    net.silence(worker);
    net.nowMs += 60_000;
    net.step({ kind: "timer" });
    net.submit(consumer);
    net.step({ kind: "timer" });
    expect(phaseOf(net, worker)).toBe("online");
    net.pass(net.state.config.stallGraceMs);
    expect(phaseOf(net, worker)).toBe("suspect");
  });

  // Found by the simulator: seed 439.
  test("is not judged at once when a hot job's shorter limit is over the moment it comes", () => {
    const { net, worker, consumer } = one();
    net.submit(consumer, { standby: "cold" });
    net.silence(worker);
    net.nowMs += 2_600;
    net.submit(consumer, { standby: "hot" });
    net.step({ kind: "timer" });
    expect(phaseOf(net, worker)).toBe("online");
    net.pass(net.state.config.stallGraceMs);
    expect(phaseOf(net, worker)).toBe("suspect");
  });

  // Found by the simulator: seed 18319.
  test("that is long enough at the very end of our own stall is not judged before the sockets are read", () => {
    const { net, worker, consumer } = one();
    net.submit(consumer, { standby: "cold" });
    net.silence(worker);
    net.nowMs += 3_460;
    net.nowMs += 5_000;
    net.step({ kind: "lagged", ms: 4_950 });
    net.step({ kind: "timer" });
    expect(phaseOf(net, worker)).toBe("online");
    net.pass(net.state.config.stallGraceMs);
    expect(phaseOf(net, worker)).toBe("suspect");
  });

  test("a heartbeat changes nothing durable, and says what goes on", () => {
    const { net, worker, consumer } = one();
    const id = net.submit(consumer);
    const attempt = refOf(net.attempt(id));
    const beat = { attempt, ranMs: 700, progress: 0.25, phase: "pulling" };
    const result = net.say(worker, { kind: "heartbeat", attempts: [beat] });
    expect(result).toMatchObject({ changed: false, effects: [{ kind: "send", message: { kind: "ack" } }] });
    expect(attemptLive(net.state, net.attempt(id).id)).toMatchObject({ ranMs: 700, progress: 0.25, phase: "pulling" });
    const other = { ...attempt, epoch: 7 as typeof attempt.epoch };
    net.say(worker, { kind: "heartbeat", attempts: [{ ...beat, attempt: other }] });
    expect(net.last(worker, "fence")).toMatchObject({ attempt: other });
  });
});

describe("a machine that is gone without a word", () => {
  /** Heartbeats of a busy agent: every 0.9 to 1 s, each late by up to `lateMs` on the way. Returns when the last one arrived, and the fault a moment later. */
  function beatFor(net: Network, worker: WorkerId, beats: readonly { readonly gap: number; readonly late: number }[]) {
    const sessionId = net.sessionOf(worker);
    net.silence(worker);
    let sentMs = net.nowMs;
    for (const { gap, late } of beats) {
      sentMs += gap;
      net.pass(Math.max(0, sentMs + late - net.nowMs));
      net.step({ kind: "worker.message", workerId: worker, sessionId, message: { kind: "heartbeat", msg: 1 } });
    }
    return net.nowMs;
  }
  const heartbeats = (lateMsMax: number) =>
    fc.array(fc.record({ gap: fc.integer({ min: 900, max: 1_000 }), late: fc.nat(lateMsMax) }), {
      minLength: 12,
      maxLength: 60,
    });
  /** Milliseconds until the job is taken from it; the fault came right after its last heartbeat, which is the worst moment. */
  function untilMoved(net: Network, id: JobId): number {
    const faultMs = net.nowMs;
    while (net.job(id).epoch === 1 && net.job(id).phase !== "queued") {
      net.pass(50);
      expect(net.nowMs - faultMs).toBeLessThan(10_000);
    }
    return net.nowMs - faultMs;
  }

  test.each([
    ["hot", 3_000],
    ["cold", 6_000],
  ] as const)("is noticed in time on lines of any kind (%s)", (standby, barMs) => {
    fc.assert(
      fc.property(heartbeats(1_500), (beats) => {
        const { net, consumer } = one();
        net.worker(net.account("provider"), "second");
        const id = net.submit(consumer, { standby });
        const { workerId } = net.attempt(id);
        start(net, id);
        const reserved = net.standby(id);
        if (reserved) net.say(reserved.workerId, { kind: "standby.ready", standbyId: reserved.id, checkpointSeq: 0 });
        beatFor(net, workerId, beats);
        expect(net.job(id).epoch).toBe(1);
        expect(untilMoved(net, id)).toBeLessThanOrEqual(barMs);
      }),
      { numRuns: 40 },
    );
  });

  test("is not seen in one that is late by a third of a second", () => {
    fc.assert(
      fc.property(heartbeats(300), (beats) => {
        const { net, worker, consumer } = one();
        const id = net.submit(consumer);
        start(net, id);
        beatFor(net, worker, beats);
        expect(net.timeline(id)).not.toContain("suspect");
      }),
      { numRuns: 40 },
    );
  });
});

describe("a start", () => {
  test("gives whoever was there ten seconds, and then gives up on it", () => {
    const { net, worker, consumer } = one();
    const id = net.submit(consumer);
    start(net, id);
    net.restart(3_600_000);
    expect(phaseOf(net, worker)).toBe("suspect");
    net.pass(9_900);
    expect(net.job(id).phase).toBe("running");
    net.pass(200);
    expect(net.job(id)).toMatchObject({ phase: "queued", failoversUsed: 1 });
    expect(phaseOf(net, worker)).toBe("offline");
  });

  test("leaves a worker its ten seconds though its first connection broke before it said hello", () => {
    const { net, worker, consumer } = one();
    const id = net.submit(consumer);
    start(net, id);
    net.restart(1_000);
    net.pass(3_000);
    const sessionId = "ses-first-try" as ReturnType<Network["sessionOf"]>;
    net.do({ kind: "worker.opened", workerId: worker, sessionId });
    net.do({ kind: "worker.closed", workerId: worker, sessionId });
    net.pass(6_500);
    expect(net.job(id)).toMatchObject({ phase: "running", epoch: 1 });
    net.connect(worker, offerOf(), {
      attempts: [{ attempt: refOf(net.attempt(id)), phase: "running", ranMs: 1, checkpointSeq: 0, progress: null }],
      standbys: [],
    });
    net.pass(20_000);
    expect(net.job(id)).toMatchObject({ phase: "running", epoch: 1, failoversUsed: 0 });
  });

  test("does not fail waiting jobs for the time it was down", () => {
    const { net, worker, consumer } = one();
    const id = net.submit(consumer, { queueS: 60, resources: { cpus: 3 } });
    const waits = net.submit(consumer, { queueS: 60, resources: { cpus: 3 } });
    net.restart(600_000);
    net.pass(2_000);
    net.connect(worker, offerOf());
    expect(net.job(id).phase).toBe("starting");
    net.say(worker, {
      kind: "ended",
      attempt: refOf(net.attempt(id)),
      ranMs: 0,
      outcome: { kind: "succeeded", outputs: null },
    });
    expect(net.job(waits).phase).toBe("starting");
  });

  test("keeps a stop that was under way", () => {
    const { net, worker, consumer } = one();
    const id = net.submit(consumer);
    const attempt = refOf(net.attempt(id));
    net.say(worker, { kind: "started", attempt, fromSeq: 0 });
    net.do({ kind: "job.cancel", actor: consumer, jobId: id });
    net.restart(1_000);
    net.connect(worker, offerOf(), {
      attempts: [{ attempt, phase: "running", ranMs: 0, checkpointSeq: 0, progress: null }],
      standbys: [],
    });
    expect(net.sentTo(worker).filter(({ kind }) => kind === "stop")).toHaveLength(2);
    net.pass(45_000);
    expect(net.job(id).phase).toBe("cancelled");
  });
});

describe("a session", () => {
  test("is replaced by a newer one, and nothing is sent before its hello", () => {
    const { net, worker, consumer } = one();
    const old = net.sessionOf(worker);
    const sessionId = "ses-new" as typeof old;
    net.do({ kind: "worker.opened", workerId: worker, sessionId });
    expect(net.effects).toContainEqual(expect.objectContaining({ kind: "disconnect", sessionId: old }));
    const id = net.submit(consumer);
    expect(net.last(worker, "assign")).toBeUndefined();
    net.do({ kind: "worker.closed", workerId: worker, sessionId: old });
    expect(phaseOf(net, worker)).toBe("online");
    net.beating.set(worker, sessionId);
    net.say(worker, { kind: "hello", offer: offerOf(), attempts: [], standbys: [] });
    expect(net.last(worker, "assign")).toMatchObject({ attempt: refOf(net.attempt(id)) });
  });

  test("of a worker that is not enrolled is closed", () => {
    const { net } = one();
    const event = { kind: "worker.opened", workerId: "wrk-none", sessionId: "ses-x" } as never;
    expect(net.step(event).effects).toMatchObject([{ kind: "disconnect" }]);
  });
});

describe("reads", () => {
  test("say what is free, who holds what, and how a job looks", () => {
    const { net, worker, consumer } = one();
    expect(freeCapacity(net.state, worker)).toMatchObject({ cpuMilli: 4_000, memoryMiB: 8_192 });
    const id = net.submit(consumer, { name: "mine" });
    expect(freeCapacity(net.state, worker)).toMatchObject({ cpuMilli: 3_000, memoryMiB: 7_168, diskMiB: 61_440 });
    expect(holdsJob(net.state, worker, id)).toBe(true);
    expect(liveJobIdsOf(net.state, worker)).toEqual({ attempts: [net.attempt(id).id], standbys: [] });
    const rows = { job: net.job(id), attempts: net.attempts(id), standbys: [] };
    const view = jobView(net.state, rows, (ms) => `t${ms}`);
    expect(jobViewSchema.parse(view)).toEqual(view);
    expect(view).toMatchObject({ name: "mine", phase: "starting", workerId: worker, epoch: 1 });
    expect(JSON.parse(JSON.stringify(view))).toEqual(view);
    expect(counts(net.state)).toMatchObject({ jobs: { starting: 1 }, workers: { online: 1 }, queued: 0 });
  });

  test("the next deadline is never far behind", () => {
    const { net } = one();
    expect(nextDeadlineMs(net.state)).toBeGreaterThan(net.nowMs);
  });
});
