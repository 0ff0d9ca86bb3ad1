import type { JobId } from "@qubix/shared/domain";
import type { EndOutcome } from "@qubix/shared/protocol";
import { describe, expect, test } from "vitest";
import { Network, offerOf, refOf } from "./testing/kit.ts";
import { saveNext, start } from "./testing/words.ts";

function network() {
  const net = new Network();
  const consumer = net.account("consumer", 100n);
  const primary = net.worker(net.account("provider"), "primary");
  const second = net.worker(net.account("provider"), "second");
  return { net, consumer, primary, second };
}

/** A job that runs on `primary`; a hot one has `second` ready behind it. */
function running(standby: "cold" | "hot") {
  const rig = network();
  const { net, consumer } = rig;
  const id = net.submit(consumer, { standby });
  start(net, id);
  const reserved = net.standby(id);
  if (reserved !== undefined) {
    net.say(reserved.workerId, { kind: "standby.ready", standbyId: reserved.id, checkpointSeq: 0 });
  }
  return { ...rig, id };
}

function log(net: Network, id: JobId, text = "step 1\n", offset = 0): void {
  const attempt = net.attempt(id);
  net.say(attempt.workerId, { kind: "log", attempt: refOf(attempt), stream: "stdout", offset, text, time: "" });
}

function progress(net: Network, id: JobId, value: number) {
  const attempt = net.attempt(id);
  const entry = { attempt: refOf(attempt), ranMs: 1_000, progress: value };
  return net.say(attempt.workerId, { kind: "heartbeat", attempts: [entry] });
}

const resumed = (net: Network, id: JobId) =>
  net.kept.events.filter((event) => event.jobId === id && event.kind === "resumed").map(({ data }) => data);

describe("the record of a recovery", () => {
  test("of a hot standby tells each part, from the last sign of life to the first new step, once", () => {
    const { net, id, primary, second } = running("hot");
    net.pass(10_000);
    saveNext(net, id, 9_000);
    net.pass(5_000);
    const faultMs = net.nowMs;
    net.pass(300);
    net.beating.delete(primary);
    const heardMs = net.state.ix.machines.get(primary)?.heardMs ?? 0;
    expect(heardMs).toBeGreaterThanOrEqual(faultMs);
    net.pass(3_000);
    const suspectMs = atOf(net, id, "suspect");
    const promotedMs = atOf(net, id, "promoted");
    net.pass(400);
    start(net, id);
    expect(resumed(net, id)).toEqual([]);
    net.pass(150);
    log(net, id);
    log(net, id, "step 2\n", 7);
    saveNext(net, id, 9_000);
    expect(resumed(net, id)).toEqual([
      {
        epoch: 2,
        workerId: second,
        fromWorkerId: primary,
        kind: "hot",
        why: "worker_lost",
        recoveryMs: net.nowMs - heardMs,
        detectedMs: suspectMs - heardMs,
        promotedMs: promotedMs - heardMs,
        startedMs: net.nowMs - 150 - heardMs,
        workLostMs: net.job(id).workLostMs,
        interruptions: 1,
      },
    ]);
    expect(net.event(id, "lost")).toMatchObject({ epoch: 1, workerId: primary, silentMs: promotedMs - heardMs });
    expect(net.job(id).workLostMs).toBeGreaterThan(4_000);
  });

  test("counts a closed socket as detected at once", () => {
    const { net, id, primary } = running("hot");
    net.pass(10_000);
    net.close(primary);
    start(net, id);
    log(net, id);
    const [record] = resumed(net, id);
    expect(record).toMatchObject({ kind: "hot", why: "worker_closed" });
    expect(record?.["detectedMs"]).toBeLessThanOrEqual(500);
    expect(record?.["promotedMs"]).toBe(record?.["detectedMs"]);
  });

  test("of a cold job counts the wait for another place, and ends with progress beyond the checkpoint", () => {
    const { net, id, primary, second } = running("cold");
    net.pass(10_000);
    saveNext(net, id, 9_000, { progress: 0.25 });
    net.silence(primary);
    net.pass(10_000);
    expect(net.attempt(id)).toMatchObject({ workerId: second, epoch: 2 });
    progress(net, id, 0.3);
    expect(resumed(net, id)).toEqual([]);
    start(net, id);
    progress(net, id, 0.25);
    expect(resumed(net, id)).toEqual([]);
    expect(progress(net, id, 0.26).changed).toBe(true);
    expect(progress(net, id, 0.27).changed).toBe(false);
    expect(resumed(net, id)).toMatchObject([{ kind: "cold", interruptions: 1 }]);
  });

  test("of an undo loses no work", () => {
    const { net, id, primary } = running("hot");
    net.pass(10_000);
    const attempt = net.attempt(id);
    net.close(primary);
    net.pass(400);
    net.connect(primary, offerOf(), {
      attempts: [{ attempt: refOf(attempt), phase: "running", ranMs: 10_400, checkpointSeq: 0, progress: null }],
      standbys: [],
    });
    expect(net.job(id).epoch).toBe(3);
    log(net, id);
    expect(resumed(net, id)).toMatchObject([{ kind: "undo", epoch: 3, workerId: primary, workLostMs: 0 }]);
  });

  test("after the job's own failure is a retry, and a stop by its worker a move", () => {
    const { net, id } = running("cold");
    end(net, id, { kind: "failed", code: "exit_code", exitCode: 1, message: "" });
    start(net, id);
    log(net, id);
    end(net, id, { kind: "stopped" });
    start(net, id);
    log(net, id);
    expect(resumed(net, id)).toMatchObject([
      { kind: "retry", why: "exit_code" },
      { kind: "move", why: "stopped" },
    ]);
  });

  test("of attempts lost one after the other is one, from the first fault, with the work of all", () => {
    const { net, id, primary, second } = running("cold");
    const third = net.worker(net.account("provider"), "third");
    net.pass(10_000);
    net.silence(primary);
    const heardMs = net.state.ix.machines.get(primary)?.heardMs ?? 0;
    net.pass(10_000);
    start(net, id);
    net.pass(3_000);
    expect([second, third]).toContain(net.attempt(id).workerId);
    net.close(net.attempt(id).workerId);
    net.pass(5_000);
    start(net, id);
    log(net, id);
    expect(resumed(net, id)).toEqual([
      expect.objectContaining({
        interruptions: 2,
        epoch: 3,
        fromWorkerId: primary,
        recoveryMs: net.nowMs - heardMs,
        workLostMs: net.job(id).workLostMs,
      }),
    ]);
  });

  test("survives a restart of ours in the middle of it", () => {
    const { net, id, primary, second } = running("hot");
    net.pass(10_000);
    net.close(primary);
    const attempt = net.attempt(id);
    net.restart(2_000);
    net.connect(second, offerOf(), {
      attempts: [{ attempt: refOf(attempt), phase: "running", ranMs: 0, checkpointSeq: 0, progress: null }],
      standbys: [],
    });
    start(net, id);
    log(net, id);
    const [record] = resumed(net, id);
    expect(record).toMatchObject({ kind: "hot", workerId: second });
    expect(record?.["recoveryMs"]).toBeGreaterThanOrEqual(2_000);
  });

  test("is told when the job ends before it said anything", () => {
    const { net, id, primary } = running("hot");
    net.close(primary);
    start(net, id);
    const attempt = refOf(net.attempt(id));
    net.say(net.attempt(id).workerId, { kind: "exited", attempt, ranMs: 100 });
    end(net, id, { kind: "succeeded", outputs: null });
    expect(net.job(id).phase).toBe("succeeded");
    expect(resumed(net, id)).toHaveLength(1);
  });

  test("is not made for a job that was never interrupted", () => {
    const { net, id } = running("cold");
    log(net, id);
    progress(net, id, 0.5);
    saveNext(net, id, 9_000);
    expect(resumed(net, id)).toEqual([]);
  });
});

function atOf(net: Network, id: JobId, kind: string): number {
  return net.kept.events.findLast((event) => event.jobId === id && event.kind === kind)?.atMs ?? Number.NaN;
}

function end(net: Network, id: JobId, outcome: EndOutcome): void {
  const attempt = net.attempt(id);
  net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs: 100, outcome });
}
