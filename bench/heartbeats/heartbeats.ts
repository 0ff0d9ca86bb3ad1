// bench/heartbeats: what a fleet that is merely there costs the orchestrator: thousands of connected workers, one heartbeat per 5 s each.
import { sleepMs } from "../harness/clock.ts";
import { type Api, createAccount, createApi, metrics, startOrchestrator } from "../harness/network.ts";
import { type Cleanup, cpuShareWhile, rssMb, scratchFolder } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { type Role, startRole } from "../harness/roles.ts";
import type { BareServerRole } from "./bare-server.ts";
import type { FleetRole } from "./fleet-role.ts";

export interface HeartbeatsOptions {
  readonly workers: number;
  readonly seconds: number;
  readonly profileDir?: string | undefined;
}

/** After the last connection: one round of heartbeats, so that what greeting cost is not counted. */
const REST_MS = 5000;
const MS_PER_S = 1000;
const BARS = { cpuPercent: 10, rssMb: 400 };

export async function runHeartbeats(report: Report, cleanup: Cleanup, options: HeartbeatsOptions): Promise<void> {
  const dataDir = await scratchFolder(cleanup, "heartbeats");
  const orchestrator = await startOrchestrator(cleanup, { dataDir, profileDir: options.profileDir });
  const { url, adminKey = "" } = orchestrator;
  const admin = createApi(url, adminKey);
  const provider = await createAccount(admin, "provider", "provider");
  const fleet = startRole<FleetRole>(cleanup, new URL("./fleet-role.ts", import.meta.url));
  const count = options.workers;
  const enrolS = await fleet.enrol({ url: url.href, adminKey, providerId: provider.accountId, count });
  report.progress(`${count} workers enrolled through the API in ${enrolS.toFixed(1)} s`);
  const connectS = await fleet.connect({ url: url.href, greet: true, count });
  report.row({ system: "qubix", metric: "workers connected", value: count / connectS, unit: "workers/s", n: count });

  const { program } = orchestrator;
  await sleepMs(REST_MS);
  await metrics(admin);
  const measured = { ...(await measure(fleet, program.pid, options.seconds)), lagMs: await lagMs(admin) };
  const row = (name: string, value: number, unit: string, bar?: number) =>
    report.row(
      { system: "qubix", metric: name, value, unit, n: count },
      bar === undefined ? undefined : { atMost: bar },
    );
  row("CPU", measured.percent, "% of one core", BARS.cpuPercent);
  row("RSS", measured.rssMb, "MB", BARS.rssMb);
  row("heartbeats answered", measured.perS, "1/s");
  row("event-loop lag p99", measured.lagMs("p99"), "ms");
  row("event-loop lag max", measured.lagMs("max"), "ms");
  report.check("no worker was disconnected", measured.closed === 0, `${measured.closed} were`);
  admin.close();
  await fleet.disconnect();
  await orchestrator.program.stop();
  await measureBare(report, cleanup, fleet, options);
}

/** The event loop's lag since the last look. */
async function lagMs(admin: Api): Promise<(figure: "p99" | "max") => number> {
  const figures = await metrics(admin);
  return (figure) => (figures.get(`qubix_event_loop_lag_${figure}_seconds`) ?? Number.NaN) * MS_PER_S;
}

async function measureBare(
  report: Report,
  cleanup: Cleanup,
  fleet: Role<FleetRole>,
  options: HeartbeatsOptions,
): Promise<void> {
  const bare = startRole<BareServerRole>(cleanup, new URL("./bare-server.ts", import.meta.url));
  await fleet.connect({ url: await bare.listen(), greet: false, count: options.workers });
  await sleepMs(REST_MS);
  const measured = await measure(fleet, bare.pid, options.seconds);
  const n = options.workers;
  report.row({ system: "limit", metric: "bare ws server, CPU", value: measured.percent, unit: "% of one core", n });
  report.row({ system: "limit", metric: "bare ws server, RSS", value: measured.rssMb, unit: "MB", n });
  report.row({ system: "limit", metric: "bare ws server, heartbeats answered", value: measured.perS, unit: "1/s", n });
  await fleet.disconnect();
}

async function measure(fleet: Role<FleetRole>, pid: number, seconds: number) {
  const before = await fleet.count();
  const { percent } = await cpuShareWhile(pid, () => sleepMs(seconds * 1000));
  const after = await fleet.count();
  return { percent, rssMb: rssMb(pid), perS: (after.answers - before.answers) / seconds, closed: after.closed };
}
