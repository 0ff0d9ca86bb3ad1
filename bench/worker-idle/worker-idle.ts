// What a worker costs its owner while it has nothing to do: a real agent connected to a real orchestrator, its memory and its share of a core.
// The limit beside it is a bare Node process that holds one WebSocket in the same run.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { createApi, startOrchestrator } from "../harness/network.ts";
import { type Cleanup, cpuShareWhile, rssMb, scratchFolder } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { enrolWithCli } from "./enrol.ts";
import { startProgram } from "../../scripts/lib/processes.ts";

/** Start-up (reading the journal, asking Docker, the first look at the hardware, the first garbage collections) is over by then. */
const SETTLE_MS = 20_000;
const RSS_MB_BAR = 90;
const CPU_PERCENT_BAR = 0.5;

export async function runWorkerIdle(
  report: Report,
  cleanup: Cleanup,
  options: { readonly seconds: number },
): Promise<void> {
  const folder = await scratchFolder(cleanup, "worker-idle");
  const orchestrator = await startOrchestrator(cleanup, { dataDir: join(folder, "orchestrator") });
  const admin = createApi(orchestrator.url, orchestrator.adminKey ?? "");
  cleanup.add(() => admin.close());
  const dataDir = await enrolWithCli(admin, orchestrator.url, join(folder, "worker"));
  const agent = await startProgram("worker", {
    args: ["start", "--data-dir", dataDir, "--log-level", "warn"],
    logFile: join(folder, "worker.log"),
  });
  cleanup.add(async () => {
    if (agent.running()) await agent.stop();
  });
  const barePid = await startBare(cleanup);
  report.progress(`waiting ${SETTLE_MS / 1000} s, then measuring for ${options.seconds} s`);
  await sleep(SETTLE_MS);
  const [worker, bare] = await Promise.all([measure(agent.pid, options.seconds), measure(barePid, options.seconds)]);
  const n = worker.samples;
  report.row(
    { system: "qubix", metric: "memory (RSS), highest while idle", value: worker.rssMb, unit: "MB", n },
    { atMost: RSS_MB_BAR },
  );
  report.row({ system: "limit", metric: "bare Node with one WebSocket: memory", value: bare.rssMb, unit: "MB", n });
  report.row(
    { system: "qubix", metric: "CPU while idle", value: worker.percent, unit: "% of a core", n: 1 },
    { atMost: CPU_PERCENT_BAR },
  );
  report.row({
    system: "limit",
    metric: "bare Node with one WebSocket: CPU",
    value: bare.percent,
    unit: "% of a core",
    n: 1,
  });
  report.check("the agent still runs", agent.running());
}

/** Memory once a second, CPU over the whole time with its children's: what it spawns counts as its own. */
async function measure(pid: number, seconds: number): Promise<{ rssMb: number; percent: number; samples: number }> {
  const { percent, result } = await cpuShareWhile(pid, async () => {
    let most = 0;
    for (let second = 0; second < seconds; second += 1) {
      await sleep(1000);
      most = Math.max(most, rssMb(pid));
    }
    return most;
  });
  return { rssMb: result, percent, samples: seconds };
}

async function startBare(cleanup: Cleanup): Promise<number> {
  const http = createServer();
  const server = new WebSocketServer({ server: http });
  await new Promise<void>((resolve) => {
    http.listen(0, "127.0.0.1", resolve);
  });
  const program = fileURLToPath(new URL("bare-client.mjs", import.meta.url));
  const url = `ws://127.0.0.1:${(http.address() as AddressInfo).port}`;
  const child = spawn(process.execPath, [program, url], { stdio: ["ignore", "pipe", "inherit"] });
  cleanup.add(() => {
    child.kill("SIGKILL");
    server.close();
    http.closeAllConnections();
    http.close();
  });
  await once(child.stdout, "data");
  return child.pid ?? 0;
}
