// Faults of messages: a proxy between a worker and the orchestrator that says things twice, says again what was said long before, and changes the order.
import { expect, it } from "vitest";
import { counterJob, eventsOf, SMALL_WORKER } from "../system/fixture.ts";
import { checkNothingLeft, type FaultLab } from "./lab.ts";
import { isReadyHot, RESULT, TICK_S, TICKS } from "./process-faults.ts";
import { startUnfaithfulProxy } from "./unfaithful-proxy.ts";

const SEED = Number(process.env["QUBIX_TEST_PROXY_SEED"] ?? "1");

export function messageFaults(lab: () => FaultLab): void {
  it("duplicated, replayed and reordered messages: each is taken once", async () => {
    const { network } = lab();
    const proxy = await startUnfaithfulProxy(network.url, SEED);
    const args = [...SMALL_WORKER, "--no-direct", "--url", proxy.url];
    const [primary, standby] = [
      await network.addWorker({ name: "dora", args }),
      await network.addWorker({ name: "elena", args }),
    ];
    try {
      const placement = { workers: [primary.id, standby.id] };
      const run = await lab().submit(counterJob(TICKS, TICK_S, { standby: "hot", placement }));
      const before = await run.until(isReadyHot);
      const [first, second] = before.workerId === primary.id ? [primary, standby] : [standby, primary];
      const at = performance.now();
      await first.die();
      await run.until(({ checkpoint }) => checkpoint?.epoch === 2);
      const { duplicated, replayed, swapped } = proxy.counts();
      const note = `${duplicated} duplicated, ${replayed} replayed, ${swapped} swapped (seed ${SEED})`;
      const job = await run.end("duplicated, replayed, reordered messages", at, { result: RESULT, note });
      expect([job.failoversUsed, job.workerId]).toEqual([1, second.id]);
      const checkpoints = (await eventsOf(lab().client, run.id)).filter(({ kind }) => kind === "checkpoint");
      const seqs = checkpoints.map(({ data }) => Number(data["seq"]));
      expect(seqs).toEqual(seqs.map((_, index) => index + 1));
      // Each line of the log once, whatever was said again.
      for (const epoch of [1, 2]) {
        const ticks = run.followed.ticks.filter((tick) => tick.epoch === epoch).map(({ tick }) => tick);
        expect(ticks).toEqual(ticks.map((_, index) => (ticks[0] ?? 0) + index));
      }
      expect(Math.min(duplicated, replayed, swapped)).toBeGreaterThan(0);
      await checkNothingLeft(second);
    } finally {
      await Promise.all([primary.stop(), standby.stop()]);
      await proxy.stop();
    }
  });
}
