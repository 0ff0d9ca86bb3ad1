// bench/dispatch: how many jobs a second go through the whole network, and how soon one starts. Orchestrator, consumer and workers are processes of
// their own; the workers' runner is null, so that everything but the work itself is measured: matching, hold, assignment, ends, settlement, all durable
// (SQLite, WAL, synchronous=FULL). Afterwards the orchestrator is killed in mid-work and started again, and every job is audited.
import { openSqliteStore } from "@qubix/orchestrator/store";
import { holdFor } from "@qubix/shared/domain";
import { percentile } from "../harness/statistics.ts";
import { monotonicMs, sleepMs } from "../harness/clock.ts";
import { createAccount, createApi, deposit, type Orchestrator, startOrchestrator } from "../harness/network.ts";
import { type Cleanup, cpuMs, rssMb, scratchFolder } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { type Role, startRole } from "../harness/roles.ts";
import { auditJobs } from "./audit.ts";
import type { ClientRole } from "./client-role.ts";
import { measureSqlite } from "./sqlite-limit.ts";
import type { WorkersRole } from "./workers-role.ts";

export interface DispatchOptions {
  readonly jobs: number;
  readonly workers: number;
  readonly seconds: number;
  readonly profileDir?: string | undefined;
}

/** The processes whose CPU time is shown. */
type Pids = Readonly<Record<"orchestrator" | "client" | "workers", number>>;

const UNFINISHED_SINGLE = 64;
const UNFINISHED_BATCH = 800;
const BATCH = 100;
const OPEN_RATE_PER_S = 200;
/** Jobs before the clock runs, so that no figure holds the compiler's warming up. */
const WARM_UP_JOBS = 2000;
/** Dear enough that a millisecond of a null job moves money: 3,600 USD an hour. */
const PRICE_PER_CPU_HOUR = 3_600_000_000n;
const DURATION_MAX_S = 60;
const DEPOSIT = 8_000_000_000_000_000n;
const CRASH_AFTER_MS = 1000;
const BARS = { single: 2500, batch: 4000, p50Ms: 2, p99Ms: 10, reconcileS: 10 };

export async function runDispatch(report: Report, cleanup: Cleanup, options: DispatchOptions): Promise<void> {
  const dataDir = await scratchFolder(cleanup, "dispatch");
  const orchestrator = await startOrchestrator(cleanup, { dataDir, profileDir: options.profileDir });
  const { workers, client } = await connectRoles(cleanup, orchestrator, options.workers);
  const pids: Pids = { orchestrator: orchestrator.program.pid, client: client.pid, workers: workers.pid };
  await client.runSingle({ count: WARM_UP_JOBS, unfinishedMax: UNFINISHED_SINGLE });
  await client.runBatch({ count: WARM_UP_JOBS, unfinishedMax: UNFINISHED_BATCH, batch: BATCH });

  await measureLatency(report, orchestrator, client, workers, options.seconds);
  await measureThroughput(report, "single", pids, options.jobs, () =>
    client.runSingle({ count: options.jobs, unfinishedMax: UNFINISHED_SINGLE }),
  );
  await measureThroughput(report, "batch", pids, options.jobs, () =>
    client.runBatch({ count: options.jobs, unfinishedMax: UNFINISHED_BATCH, batch: BATCH }),
  );
  report.row({ system: "qubix", metric: "rss", value: rssMb(orchestrator.program.pid), unit: "MB", n: 1 });
  await measureLimits(report, cleanup);
  if (options.profileDir === undefined) await crashAndAudit(report, cleanup, orchestrator, dataDir, client, workers);
  else await orchestrator.program.stop();
}

async function connectRoles(cleanup: Cleanup, orchestrator: Orchestrator, count: number) {
  const { url, adminKey } = orchestrator;
  if (adminKey === undefined) throw new Error("the orchestrator showed no admin key on its first start");
  const admin = createApi(url, adminKey);
  const provider = await createAccount(admin, "provider", "provider");
  const consumer = await createAccount(admin, "consumer", "consumer");
  await deposit(admin, consumer.accountId, DEPOSIT);
  admin.close();
  const workers = startRole<WorkersRole>(cleanup, new URL("./workers-role.ts", import.meta.url));
  const client = startRole<ClientRole>(cleanup, new URL("./client-role.ts", import.meta.url));
  await workers.connect({
    url: url.href,
    adminKey,
    providerId: provider.accountId,
    count,
    cpus: Math.ceil(UNFINISHED_BATCH / count),
    pricePerCpuHour: PRICE_PER_CPU_HOUR,
  });
  await client.connect({ url: url.href, key: consumer.key, spec: jobSpec() });
  return { workers, client };
}

function jobSpec() {
  return {
    image: "docker.io/library/busybox:1.36",
    command: ["true"],
    resources: { cpus: 1, memoryMiB: 256, diskMiB: 256 },
    priceMaxPerHour: { amount: PRICE_PER_CPU_HOUR.toString(), currency: "USD" },
    durationMaxS: DURATION_MAX_S,
  };
}

async function measureLatency(
  report: Report,
  orchestrator: Orchestrator,
  client: Role<ClientRole>,
  workers: Role<WorkersRole>,
  seconds: number,
): Promise<void> {
  report.progress(`open loop, ${OPEN_RATE_PER_S} jobs/s for ${seconds} s`);
  await workers.takeStarts();
  const cpuBefore = cpuMs(orchestrator.program.pid);
  const sent = await client.runOpen({ ratePerS: OPEN_RATE_PER_S, seconds });
  const cpu = (cpuMs(orchestrator.program.pid) - cpuBefore) / (10 * seconds);
  const started = await workers.takeStarts();
  const latencies = [...sent].flatMap(([id, atMs]) => {
    const startMs = started.get(id);
    return startMs === undefined ? [] : [startMs - atMs];
  });
  report.check("every open-loop job started", latencies.length === OPEN_RATE_PER_S * seconds, `${latencies.length}`);
  const row = (metric: string, percent: number, bar?: number) =>
    report.row(
      { system: "qubix", metric, value: percentile(latencies, percent), unit: "ms", n: latencies.length },
      bar === undefined ? undefined : { atMost: bar },
    );
  row("submit->start p50", 50, BARS.p50Ms);
  row("submit->start p99", 99, BARS.p99Ms);
  row("submit->start max", 100);
  report.row({ system: "qubix", metric: "orchestrator CPU at 200 jobs/s", value: cpu, unit: "% of one core", n: 1 });
}

async function measureThroughput(
  report: Report,
  kind: "single" | "batch",
  pids: Pids,
  jobs: number,
  run: () => Promise<number>,
): Promise<void> {
  report.progress(`end-to-end ${kind}, ${jobs} jobs`);
  const before = Object.entries(pids).map(([name, pid]) => ({ name, pid, cpu: cpuMs(pid) }));
  const seconds = await run();
  const bar = { atLeast: BARS[kind] };
  report.row({ system: "qubix", metric: `end-to-end ${kind}`, value: jobs / seconds, unit: "jobs/s", n: jobs }, bar);
  // All share the machine's cores: what client and workers take, the orchestrator does not have.
  for (const { name, pid, cpu } of before) {
    const value = ((cpuMs(pid) - cpu) * 1000) / jobs;
    report.row({ system: "qubix", metric: `${name} CPU ${kind}`, value, unit: "us/job", n: jobs });
  }
}

async function measureLimits(report: Report, cleanup: Cleanup): Promise<void> {
  const folder = await scratchFolder(cleanup, "sqlite");
  const one = measureSqlite(folder, 1);
  report.row({
    system: "limit",
    metric: "SQLite commits, 1 row, FULL",
    value: one.rowsPerS,
    unit: "commits/s",
    n: one.commits,
  });
  const many = measureSqlite(folder, 100);
  report.row({
    system: "limit",
    metric: "SQLite rows, 100 a commit, FULL",
    value: many.rowsPerS,
    unit: "rows/s",
    n: many.commits,
  });
}

async function crashAndAudit(
  report: Report,
  cleanup: Cleanup,
  orchestrator: Orchestrator,
  dataDir: string,
  client: Role<ClientRole>,
  workers: Role<WorkersRole>,
): Promise<void> {
  report.progress(`killing the orchestrator with ${UNFINISHED_SINGLE} jobs unfinished`);
  const load = client.runUntilGone({ unfinishedMax: UNFINISHED_SINGLE });
  await sleepMs(CRASH_AFTER_MS);
  await orchestrator.program.kill();
  const killedAtMs = monotonicMs();
  await load;
  const again = await startOrchestrator(cleanup, { dataDir, port: Number(orchestrator.url.port) });
  const readyMs = monotonicMs() - killedAtMs;
  const unsettled = await client.catchUp();
  const reconciledS = (monotonicMs() - killedAtMs) / 1000;
  const open = await workers.settle();
  report.row({ system: "qubix", metric: "restart after kill -9, ready", value: readyMs, unit: "ms", n: 1 });
  report.row(
    { system: "qubix", metric: "restart after kill -9, all settled", value: reconciledS, unit: "s", n: 1 },
    { atMost: BARS.reconcileS },
  );
  report.check("every accepted job settled after the restart", unsettled === 0, `${unsettled} are not`);
  report.check("every end acknowledged", open === 0, `${open} are not`);
  await again.program.stop();

  const { accepted } = await client.totals();
  const store = openSqliteStore(dataDir);
  try {
    auditJobs(store, accepted, holdFor(PRICE_PER_CPU_HOUR, DURATION_MAX_S), report);
  } finally {
    store.close();
  }
}
