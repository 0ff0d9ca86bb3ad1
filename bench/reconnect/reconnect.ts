// bench/reconnect: the orchestrator of a large fleet is killed and starts again. How long until every worker is served, and what memory the stampede takes.
import { readFileSync } from "node:fs";
import { monotonicMs, sleepMs, waitFor } from "../harness/clock.ts";
import { createAccount, createApi, metrics, startOrchestrator } from "../harness/network.ts";
import { type Cleanup, rssMb, scratchFolder } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { startRole } from "../harness/roles.ts";
import type { ReconnectFleetRole } from "./fleet-role.ts";

export interface ReconnectOptions {
  readonly workers: number;
  readonly profileDir?: string | undefined;
}

/** Two rounds of heartbeats: what greeting cost is not counted as steady, and sessions count as such. */
const REST_MS = 10_000;
/** Four times the bar, on a machine that does other things as well. */
const TIMEOUT_MS = 120_000;
const TELL_EVERY_MS = 5_000;
const LOOK_MS = 100;
const BARS = { servedS: 30, memory: 2 };

export async function runReconnect(report: Report, cleanup: Cleanup, options: ReconnectOptions): Promise<void> {
  const { workers, profileDir } = options;
  const dataDir = await scratchFolder(cleanup, "reconnect");
  const first = await startOrchestrator(cleanup, { dataDir });
  const { url, adminKey = "" } = first;
  const admin = createApi(url, adminKey);
  cleanup.add(() => admin.close());
  const provider = await createAccount(admin, "provider", "provider");
  const fleet = startRole<ReconnectFleetRole>(cleanup, new URL("./fleet-role.ts", import.meta.url));
  const connectS = await fleet.start({ url: url.href, adminKey, providerId: provider.accountId, count: workers });
  report.progress(`${workers} workers enrolled, connected within ${connectS.toFixed(1)} s`);
  await sleepMs(REST_MS);
  const steadyMb = rssMb(first.program.pid);
  await fleet.count();

  const killedAtMs = monotonicMs();
  await first.program.kill();
  const second = await startOrchestrator(cleanup, { dataDir, port: Number(url.port), profileDir });
  const readyAtMs = monotonicMs();
  let [tries, refused, toldAtMs] = [0, 0, readyAtMs];
  const served = await waitFor(
    "every worker to be served",
    TIMEOUT_MS,
    async () => {
      const now = await fleet.count();
      tries += now.tries;
      refused += now.refused;
      if (monotonicMs() - toldAtMs > TELL_EVERY_MS) {
        toldAtMs = monotonicMs();
        report.progress(`${now.served} served ${((toldAtMs - killedAtMs) / 1000).toFixed(1)} s after the kill`);
      }
      return now.served === workers ? now : undefined;
    },
    LOOK_MS,
  );
  const peakMb = peakRssMb(second.program.pid);
  await sleepMs(REST_MS);
  const after = await fleet.count();
  const figures = await metrics(createApi(url, adminKey));

  const row = (metric: string, value: number, unit: string, bar?: number) =>
    report.row({ system: "qubix", metric, value, unit, n: workers }, bar === undefined ? undefined : { atMost: bar });
  row("kill to all served", (served.lastServedAtMs - killedAtMs) / 1000, "s", BARS.servedS);
  row("kill to ready", (readyAtMs - killedAtMs) / 1000, "s");
  row("tries to connect, a worker", tries / workers, "");
  row("of them failed", refused / workers, "");
  row("RSS steady", steadyMb, "MB");
  row("RSS peak after the restart", peakMb, "MB");
  row("RSS peak to steady", peakMb / steadyMb, "×", BARS.memory);
  report.check("every worker stayed connected", after.served === workers, `${after.served} are`);
  const lost = figures.get("qubix_counters_workers_lost");
  report.check("no worker was given up", lost === 0, `${lost} were`);
  await fleet.stop();
}

/** The most memory that a process ever held, in MB (10^6 bytes). */
function peakRssMb(pid: number): number {
  const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return (Number(found) * 1024) / 1e6;
}
