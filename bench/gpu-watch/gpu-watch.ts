// How long a lost card stays on offer: an `nvidia-smi` that says "GPU is lost" from one moment on, a real agent that watches it, and a real orchestrator
// whose API is asked until the card is gone. The limit beside it is the time between two lines of `nvidia-smi`, which nobody can beat by listening to it.
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startProgram } from "../../scripts/lib/processes.ts";
import { createFakeSmi, readFixture } from "../../worker/src/gpu/testing.ts";
import { monotonicMs } from "../harness/clock.ts";
import { type Api, createApi, startOrchestrator } from "../harness/network.ts";
import { type Cleanup, cpuShareWhile, scratchFolder } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { percentile } from "../harness/statistics.ts";
import { enrolWithCli } from "../worker-idle/enrol.ts";

const BAR_MS = 10_000;
/** What the agent asks `nvidia-smi` for. */
const PULSE_MS = 4_000;
const GIVE_UP_MS = 60_000;
const POLL_MS = 20;
/** Long enough for several lines, and for the whole reports that come once a minute. */
const CPU_SECONDS = 60;
const CARDS = ["GPU-b8d6207f-4e1c-4a93-8c5b-e27f1d0a9634", "GPU-d13a95c8-7b60-4f2e-b9d4-80c5e6f7a213"] as const;
const PULSE = `0, ${CARDS[0]}, 00000000:19:00.0, 4, 0, 31\n1, ${CARDS[1]}, 00000000:3B:00.0, 4, 0, 31\n`;
const PULSE_LOST = PULSE.replace(/, 4, 0, 31\n$/, ", [GPU is lost], [GPU is lost], [GPU is lost]\n");

export async function runGpuWatch(report: Report, cleanup: Cleanup, options: { readonly runs: number }): Promise<void> {
  const folder = await scratchFolder(cleanup, "gpu-watch");
  const smi = await createFakeSmi(join(folder, "bin"));
  const [busy, lost] = [await readFixture("h100-sxm-v12.xml"), await readFixture("h100-one-lost-v13.xml")];
  const well = {
    report: busy.replace(/<process_info>[\s\S]*<\/process_info>/, "").replace("79206 MiB", "4 MiB"),
    pulse: PULSE,
  };
  await smi.set(well);
  const orchestrator = await startOrchestrator(cleanup, { dataDir: join(folder, "orchestrator") });
  const admin = createApi(orchestrator.url, orchestrator.adminKey ?? "");
  cleanup.add(() => admin.close());
  const dataDir = await enrolWithCli(admin, orchestrator.url, join(folder, "worker"));
  const agent = await startProgram("worker", {
    args: ["start", "--data-dir", dataDir, "--price-per-gpu-hour", "1", "--log-level", "silent"],
    logFile: join(folder, "worker.log"),
    env: { PATH: `${smi.directory}${delimiter}${process.env["PATH"] ?? ""}` },
  });
  cleanup.add(async () => {
    if (agent.running()) await agent.stop();
  });
  const times: number[] = [];
  for (let run = 0; run < options.runs; run += 1) {
    await untilOffered(admin, 2);
    // Not always at the same moment between two lines.
    await sleep((PULSE_MS / options.runs) * run);
    const begunMs = monotonicMs();
    await smi.set({ report: lost, pulse: PULSE_LOST });
    await untilOffered(admin, 1);
    times.push(monotonicMs() - begunMs);
    report.progress(`lost card off the market after ${Math.round(times.at(-1) ?? 0)} ms`);
    await smi.set(well);
  }
  await untilOffered(admin, 2);
  const n = times.length;
  report.row({
    system: "qubix",
    metric: "GPU is lost → offer without it, p50",
    value: percentile(times, 50),
    unit: "ms",
    n,
  });
  report.row(
    { system: "qubix", metric: "GPU is lost → offer without it, max", value: Math.max(...times), unit: "ms", n },
    { atMost: BAR_MS },
  );
  report.row({ system: "limit", metric: "between two lines of nvidia-smi", value: PULSE_MS, unit: "ms", n: 1 });
  report.progress(`measuring the agent's CPU with two cards for ${CPU_SECONDS} s`);
  const { percent } = await cpuShareWhile(agent.pid, () => sleep(CPU_SECONDS * 1000));
  report.row(
    {
      system: "qubix",
      metric: "agent's CPU while it watches two idle cards (nvidia-smi's own not counted)",
      value: percent,
      unit: "% of a core",
      n: 1,
    },
    { atMost: 0.5 },
  );
  report.check("the agent still runs", agent.running());
}

async function untilOffered(api: Api, cards: number): Promise<void> {
  const untilMs = monotonicMs() + GIVE_UP_MS;
  for (;;) {
    const { items } = await api.call<{ items: { gpus: unknown[] }[] }>("GET", "/v1/offers");
    if (items[0]?.gpus.length === cards) return;
    if (monotonicMs() > untilMs) throw new Error(`waited for ${cards} cards on offer: ${JSON.stringify(items)}`);
    await sleep(POLL_MS);
  }
}
