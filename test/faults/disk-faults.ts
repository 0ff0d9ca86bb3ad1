// Faults of disks: slow ones and full ones, of the orchestrator and of a worker.
import { expect, it } from "vitest";
import { sleep } from "../../scripts/lib/processes.ts";
import { counterJob, counterResult } from "../system/fixture.ts";
import type { FaultLab, Run } from "./lab.ts";
import { isSavedTwice, RESULT, TICK_S, TICKS } from "./process-faults.ts";

/** A commit takes some of these: hundreds of times what it takes here otherwise. */
const SLOW_WRITES_PER_S = 10;
const FAULT_MS = 5_000;
const SUBMISSIONS = 5;
/** So much in each submission that the disk's last pages are soon used up. */
const FILL_BYTES = 30_000;

export function diskFaults(lab: () => FaultLab): void {
  for (const whose of ["orchestrator", "worker"] as const) {
    it(`slow disk of the ${whose}: everything goes on, later`, async () => {
      const run = await lab().submit(counterJob(TICKS, TICK_S));
      const before = await run.until(isSavedTwice);
      const node = lab().node(before.workerId);
      const [disk, program] =
        whose === "orchestrator" ? [lab().disk, lab().network.orchestrator()] : [node.disk, node.worker.program()];
      const at = performance.now();
      const undo = disk.slowFor(program.pid, SLOW_WRITES_PER_S);
      const others: Run[] = [];
      let slowestMs = 0;
      try {
        for (let n = 0; n < SUBMISSIONS; n += 1) {
          const askedAt = performance.now();
          others.push(await lab().submit(counterJob(1, TICK_S)));
          slowestMs = Math.max(slowestMs, performance.now() - askedAt);
        }
        await sleep(FAULT_MS);
      } finally {
        undo();
      }
      for (const other of others) await other.endBeside(counterResult(1));
      const note = `${SLOW_WRITES_PER_S} writes a second; a submission took up to ${Math.round(slowestMs)} ms`;
      const job = await run.end(`slow disk of the ${whose}`, at, { result: RESULT, note });
      expect([job.failoversUsed, job.workerId]).toEqual([0, before.workerId]);
    });
  }

  it("full disk of the orchestrator: says so with 503, and nothing that it accepted is lost", async () => {
    const { client, disk, network, apiKey } = lab();
    const run = await lab().submit(counterJob(TICKS, TICK_S));
    const before = await run.until(isSavedTwice);
    const submit = () =>
      fetch(`${network.url}/v1/jobs`, {
        method: "POST",
        headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
        body: JSON.stringify(counterJob(1, TICK_S, { env: { FILL: "x".repeat(FILL_BYTES) } })),
      });
    const at = performance.now();
    disk.fill();
    const accepted: string[] = [];
    try {
      // What fits into pages that are there already is still accepted.
      await expect
        .poll(
          async () => {
            const answer = await submit();
            const body = (await answer.json()) as { readonly id?: string; readonly code?: string };
            if (body.id !== undefined) accepted.push(body.id);
            return answer.status;
          },
          { timeout: 20_000, interval: 20 },
        )
        .toBe(503);
      await sleep(FAULT_MS);
    } finally {
      disk.free();
    }
    const after = await lab().submit(counterJob(1, TICK_S));
    await after.endBeside(counterResult(1));
    lab().note(accepted);
    for (const id of accepted) {
      await client.jobs.cancel(id).catch(() => undefined);
      expect(["succeeded", "cancelled"]).toContain((await client.jobs.wait(id)).phase);
    }
    const job = await run.end("full disk of the orchestrator", at, {
      result: RESULT,
      note: `${accepted.length} more jobs fitted before the first 503`,
    });
    expect(job.workerId).toBe(before.workerId);
  });

  it("full disk of a worker: the job is finished, there or elsewhere", async () => {
    const run = await lab().submit(counterJob(TICKS, TICK_S));
    const before = await run.until(isSavedTwice);
    const { disk, worker } = lab().node(before.workerId);
    const at = performance.now();
    disk.fill();
    try {
      await sleep(FAULT_MS);
    } finally {
      disk.free();
    }
    await run.end("full disk of a worker", at, { result: RESULT });
    expect(worker.program().running()).toBe(true);
  });
}
