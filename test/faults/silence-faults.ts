// Silences that are to be told apart: of a job that does not get on, and of much of the fleet at once. That of a machine whose job must not run twice takes
// its time: test/system/exclusive.test.ts.
import { expect, it } from "vitest";
import type { RunningWorker } from "../../scripts/lib/network.ts";
import { sleep } from "../../scripts/lib/processes.ts";
import { counterJob, counterResult, shellJob, SMALL_WORKER } from "../system/fixture.ts";
import type { Followed } from "./follow.ts";
import type { FaultLab, Run } from "./lab.ts";
import { isReadyHot, RESULT, TICK_S, TICKS } from "./process-faults.ts";

const LONG_TICKS = TICKS * 3;
const LONG_RESULT = counterResult(LONG_TICKS);
const STALL_AFTER_S = 5;
/** With the three of the lab five, which is what it takes. */
const MORE_WORKERS = ["fritz", "gina"];
/** Longer than a worker with a hot standby may be silent, shorter than promotions are held for. */
const SILENCE_MS = 8_000;
/** Ticks are a quarter of a second apart: it stands still. */
const QUIET_MS = 2_000;

export function silenceFaults(lab: () => FaultLab): void {
  it("stalled job: failed over although its worker is heard", async () => {
    // The first attempt counts for a while and then does nothing at all.
    const script = `
      /opt/counter/counter.sh & counter=$!
      if [ "$(cat "$QUBIX_EPOCH_FILE")" = 1 ]; then sleep 3; kill -STOP $counter; echo stalled; sleep 600; fi
      wait $counter`;
    const env = { TICKS: String(TICKS), TICK_S: String(TICK_S) };
    const run = await lab().submit(shellJob(script, { env, standby: "hot", stallAfterS: STALL_AFTER_S }));
    const before = await run.until(isReadyHot);
    const stalledAt = await lastTick(run.followed);
    const job = await run.end("stalled job", stalledAt, { result: RESULT });
    expect([job.failoversUsed, job.workerId]).toEqual([1, before.standby?.workerId]);
  });

  it("mass silence: nobody is promoted in it, and everybody goes on where he was", async () => {
    const { network, lan } = lab();
    const machines = lab()
      .nodes()
      .map(({ machine }) => machine);
    const others: RunningWorker[] = [];
    try {
      for (const name of MORE_WORKERS) {
        const machine = await lan.addMachine();
        others.push(await network.addWorker({ name, args: [...SMALL_WORKER, "--no-direct"], enter: machine.enter }));
        machines.push(machine);
      }
      // Each has something to do: who has nothing is rarely heard.
      const runs: Run[] = [];
      for (const { id } of network.workers.filter((worker) => worker.program().running())) {
        const placement = { workers: [id] };
        runs.push(await lab().submit(counterJob(LONG_TICKS, TICK_S, { placement })));
      }
      const run = await lab().submit(counterJob(LONG_TICKS, TICK_S, { standby: "hot" }));
      const before = await run.until(isReadyHot);
      for (const beside of runs) await beside.until(({ checkpoint }) => checkpoint !== null);
      const cut = await Promise.all(machines.map((machine) => machine.cut()));
      await sleep(SILENCE_MS);
      await run.until(({ epoch }) => epoch === 1);
      for (const machine of machines) await machine.heal();
      const job = await run.end("mass silence", Math.min(...cut), { result: LONG_RESULT });
      // They come back one after the other. The hold is longer than that takes, and each that is back gives the others some seconds more: nobody is given up.
      expect([job.failoversUsed, job.workLostMs, job.workerId]).toEqual([0, 0, before.workerId]);
      for (const beside of runs) expect((await beside.endBeside(LONG_RESULT)).failoversUsed).toBe(0);
    } finally {
      for (const other of others) await other.stop();
    }
  });
}

/** Waits until no tick has come for a while; resolves to the moment after the last. */
async function lastTick({ ticks }: Followed): Promise<number> {
  await expect
    .poll(() => performance.now() - (ticks.at(-1)?.atMs ?? performance.now()), { timeout: 30_000, interval: 100 })
    .toBeGreaterThan(QUIET_MS);
  return (ticks.at(-1)?.atMs ?? 0) + 1;
}
