// Faults of time: a wall clock that is set, and programs that stand still.
import { expect, it } from "vitest";
import { sleep } from "../../scripts/lib/processes.ts";
import { counterJob } from "../system/fixture.ts";
import { whyNoClock } from "./clocks.ts";
import { type FaultLab, leaveOut } from "./lab.ts";
import { isReadyHot, isSavedTwice, RESULT, TICK_S, TICKS } from "./process-faults.ts";

const HOUR_S = 3600;
/** Longer than it takes until a clock is seen to be set. */
const CLOCK_HOLDS_MS = 2_500;
/** QUBIX_TEST_STOP_S: how long programs stand still. Every limit of detection is behind them after 20 s. */
const STOP_S = Number(process.env["QUBIX_TEST_STOP_S"] ?? "20");
const why = whyNoClock();

export function clockFaults(lab: () => FaultLab): void {
  for (const whose of ["orchestrator", "worker"] as const) {
    it(`wall clock of the ${whose} an hour on, an hour back, and right again: nobody minds`, async (context) => {
      const fault = `wall clock ±1 h, ${whose}`;
      if (why !== undefined) return leaveOut(lab(), fault, why, context);
      const run = await lab().submit(counterJob(TICKS, TICK_S, { standby: "hot" }));
      const before = await run.until(isReadyHot);
      const target = whose === "orchestrator" ? whose : lab().node(before.workerId);
      const at = performance.now();
      try {
        for (const offsetS of [HOUR_S, -HOUR_S]) {
          lab().setClock(target, offsetS);
          await sleep(CLOCK_HOLDS_MS);
        }
      } finally {
        lab().setClock(target, 0);
      }
      const job = await run.end(fault, at, { result: RESULT });
      expect([job.failoversUsed, job.epoch, job.workerId]).toEqual([0, 1, before.workerId]);
      expect(job.creditedMs).toBeGreaterThan(TICKS * TICK_S * 500);
      expect(job.creditedMs).toBeLessThan(TICKS * TICK_S * 10_000);
    });
  }

  it(`agent stands still for ${STOP_S} s: promoted, and it lets go when it wakes`, async () => {
    const run = await lab().submit(counterJob(TICKS, TICK_S, { standby: "hot" }));
    const before = await run.until(isReadyHot);
    const agent = lab().node(before.workerId).worker.program();
    const at = performance.now();
    process.kill(agent.pid, "SIGSTOP");
    try {
      await sleep(STOP_S * 1000);
    } finally {
      process.kill(agent.pid, "SIGCONT");
    }
    const job = await run.end(`SIGSTOP of the agent, ${STOP_S} s`, at, { result: RESULT });
    expect([job.failoversUsed, job.workerId]).toEqual([1, before.standby?.workerId]);
  });

  it(`orchestrator stands still for ${STOP_S} s: the container works on and its result is taken`, async () => {
    const run = await lab().submit(counterJob(TICKS, TICK_S));
    await run.until(isSavedTwice);
    const { pid } = lab().network.orchestrator();
    const at = performance.now();
    process.kill(pid, "SIGSTOP");
    try {
      await sleep(STOP_S * 1000);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await run.end(`SIGSTOP of the orchestrator, ${STOP_S} s`, at, { result: RESULT });
  });
}
