// Faults of programs and machines: a job that fails, an agent and an orchestrator that are killed, machines that lose power.
import type { JobView } from "@qubix/client/sdk";
import { expect, it } from "vitest";
import { sleep } from "../../scripts/lib/processes.ts";
import { counterJob, counterResult, eventsOf, shellJob } from "../system/fixture.ts";
import type { FaultLab } from "./lab.ts";

export const TICKS = 32;
export const TICK_S = 0.25;
export const RESULT = counterResult(TICKS);
const EXIT_CODE = 7;
/** An agent's kill is noticed at once; the orchestrator is killed somewhere on the way from there to the first step. */
const MID_FAILOVER_MS_MAX = 400;

export function isReadyHot(job: JobView): boolean {
  return job.phase === "running" && job.standby?.phase === "ready" && (job.checkpoint?.seq ?? 0) >= 2;
}

export function isSavedTwice(job: JobView): boolean {
  return job.phase === "running" && (job.checkpoint?.seq ?? 0) >= 2;
}

export function processFaults(lab: () => FaultLab): void {
  it("job exits non-zero: tried again from its newest checkpoint, as its own failure", async () => {
    // The first attempt fails in the middle of its work, any other goes on to the end.
    const script = `
      /opt/counter/counter.sh & counter=$!
      if [ "$(cat "$QUBIX_EPOCH_FILE")" = 1 ]; then sleep 3; kill -9 $counter; exit ${EXIT_CODE}; fi
      wait $counter`;
    const env = { TICKS: String(TICKS), TICK_S: String(TICK_S) };
    const run = await lab().submit(shellJob(script, { env }));
    await run.until((job) => job.retriesUsed === 1);
    const at = performance.now();
    const job = await run.end("job exits non-zero", at, { result: RESULT });
    expect([job.retriesUsed, job.failoversUsed, job.attempts[0]?.exitCode]).toEqual([1, 0, EXIT_CODE]);
    expect(job.attempts[1]?.fromCheckpointSeq).toBeGreaterThanOrEqual(1);
  });

  it("agent killed, its container alive: promoted, and the old container is ended when the agent is back", async () => {
    const run = await lab().submit(counterJob(TICKS, TICK_S, { standby: "hot" }));
    const before = await run.until(isReadyHot);
    const { worker } = lab().node(before.workerId);
    const at = performance.now();
    await worker.program().kill();
    expect(await worker.containers()).toHaveLength(1);
    await run.until(({ epoch, checkpoint }) => epoch === 2 && checkpoint?.epoch === 2);
    await worker.start();
    const job = await run.end("agent SIGKILL, container alive", at, { result: RESULT });
    expect([job.failoversUsed, job.workerId]).toEqual([1, before.standby?.workerId]);
  });

  it("machine gone: the standby goes on by silence alone", async () => {
    const run = await lab().submit(counterJob(TICKS, TICK_S, { standby: "hot" }));
    const before = await run.until(isReadyHot);
    const at = await lab().node(before.workerId).powerOff();
    const job = await run.end("machine gone, hot standby", at, { result: RESULT });
    expect([job.failoversUsed, job.workerId]).toEqual([1, before.standby?.workerId]);
    const suspect = (await eventsOf(lab().client, run.id)).find(({ kind }) => kind === "suspect");
    expect(suspect?.data).toMatchObject({ why: "silent" });
  });

  it("machine gone without a standby: another one goes on from the newest checkpoint", async () => {
    const run = await lab().submit(counterJob(TICKS, TICK_S));
    const before = await run.until(isSavedTwice);
    const at = await lab().node(before.workerId).powerOff();
    const job = await run.end("machine gone, cold", at, { result: RESULT });
    expect(job.failoversUsed).toBe(1);
    expect(job.workerId).not.toBe(before.workerId);
    expect(job.attempts.at(-1)?.fromCheckpointSeq).toBeGreaterThanOrEqual(before.checkpoint?.seq ?? 0);
  });

  it("both providers die at once: a third goes on", async () => {
    const run = await lab().submit(counterJob(TICKS, TICK_S, { standby: "hot" }));
    const before = await run.until(isReadyHot);
    const dead = [before.workerId, before.standby?.workerId];
    const [at] = await Promise.all(dead.map((id) => lab().node(id).powerOff()));
    const job = await run.end("both providers die at once", at ?? 0, { result: RESULT });
    expect(dead).not.toContain(job.workerId);
  });

  it("orchestrator killed in the middle of a failover: the job is gone on with after its restart", async () => {
    const run = await lab().submit(counterJob(TICKS, TICK_S, { standby: "hot" }));
    const before = await run.until(isReadyHot);
    const { network } = lab();
    const afterMs = Math.random() * MID_FAILOVER_MS_MAX;
    const at = performance.now();
    await lab().node(before.workerId).worker.die();
    await sleep(afterMs);
    await network.orchestrator().kill();
    await network.restartOrchestrator();
    const note = `killed ${Math.round(afterMs)} ms after the machine`;
    const job = await run.end("orchestrator -9 in mid-failover", at, { result: RESULT, note });
    expect(job.failoversUsed).toBe(1);
    expect(job.workerId).not.toBe(before.workerId);
  });
}
