// Faults of the network: a cable that is pulled and plugged in again, packets that go one way only.
import { expect, it } from "vitest";
import { counterJob, counterResult } from "../system/fixture.ts";
import { checkNothingLeft, type FaultLab } from "./lab.ts";
import { isReadyHot, RESULT, TICK_S, TICKS } from "./process-faults.ts";

export function lineFaults(lab: () => FaultLab): void {
  it("partition and heal: what was cut off worked on, and nothing of it is taken", async () => {
    const run = await lab().submit(counterJob(TICKS, TICK_S, { standby: "hot" }));
    const before = await run.until(isReadyHot);
    const { machine, worker } = lab().node(before.workerId);
    const at = await machine.cut();
    await run.until(({ checkpoint }) => checkpoint?.epoch === 2);
    // Nobody can tell it that it is over.
    expect(await worker.containers()).toHaveLength(1);
    await machine.heal();
    await checkNothingLeft(worker);
    const job = await run.end("partition and heal", at, { result: RESULT });
    expect([job.failoversUsed, job.workerId]).toEqual([1, before.standby?.workerId]);
  });

  it("partition that heals before anybody has taken over: the job goes on where it is", async () => {
    const { network } = lab();
    const [only] = lab().nodes();
    if (only === undefined) throw new Error("no machine");
    const run = await lab().submit(counterJob(TICKS * 2, TICK_S, { placement: { workers: [only.worker.id] } }));
    await run.until(({ checkpoint }) => checkpoint !== null);
    const at = await only.machine.cut();
    await run.until(({ phase }) => phase === "queued");
    expect((await network.admin.workers.get(only.worker.id)).phase).not.toBe("online");
    await only.machine.heal();
    const job = await run.end("partition, healed before a successor", at, { result: counterResult(TICKS * 2) });
    expect([job.failoversUsed, job.workerId]).toEqual([0, only.worker.id]);
  });

  for (const direction of ["in", "out"] as const) {
    const what = direction === "in" ? "the machine hears nothing" : "the machine is not heard";
    it(`one-way partition, ${what}: promoted, and the old one lets go`, async () => {
      const run = await lab().submit(counterJob(TICKS, TICK_S, { standby: "hot" }));
      const before = await run.until(isReadyHot);
      const { machine, worker } = lab().node(before.workerId);
      const at = await machine.drop(direction);
      await run.until(({ checkpoint }) => checkpoint?.epoch === 2);
      await machine.heal();
      await checkNothingLeft(worker);
      const job = await run.end(`one-way partition: ${what}`, at, { result: RESULT });
      expect([job.failoversUsed, job.workerId]).toEqual([1, before.standby?.workerId]);
    });
  }
}
