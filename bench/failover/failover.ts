// bench/failover: a training job's machine dies, or loses its cable, and the clock stops at the first step of whoever goes on: Qubix with a hot standby
// (not started before the fault) and without one, beside Docker Swarm with its defaults and tuned, on the same three machines, with the same image.
import { createAccount, createApi, deposit, startOrchestrator } from "../harness/network.ts";
import { type Cleanup, scratchFolder } from "../harness/processes.ts";
import type { Bar, Report } from "../harness/report.ts";
import { percentile } from "../harness/statistics.ts";
import { createDockerLimit } from "./docker-limit.ts";
import { startFleet } from "./fleet.ts";
import { type Node, startNodes } from "./nodes.ts";
import { type Case, failOnce, IMAGE, type Run } from "./qubix.ts";
import { startSwarm, type SwarmRun } from "./swarm.ts";

export interface FailoverOptions {
  readonly runs: number;
  /** Docker Swarm beside it. */
  readonly peers: boolean;
  /** The cases of exclusive jobs, each of which waits for a lease. */
  readonly exclusive: boolean;
  readonly profileDir?: string | undefined;
}

const MACHINES = 3;
const BARS = {
  killMs: 900,
  cableMs: 3_500,
  coldMs: 10_000,
  detectedKillMs: 1_000,
  detectedHotMs: 3_000,
  detectedColdMs: 6_000,
  /** How many times faster than Swarm with its defaults, and tuned, on a kill; than its defaults, on a cable. */
  killTimes: 12,
  tunedKillTimes: 3,
  cableTimes: 3,
} as const;

const CASES = {
  kill: { fault: "kill", standby: "hot", failover: "speculative" },
  cable: { fault: "cable", standby: "hot", failover: "speculative" },
  cold: { fault: "cable", standby: "cold", failover: "speculative" },
  agent: { fault: "agent killed", standby: "hot", failover: "speculative" },
} as const satisfies Readonly<Record<string, Case>>;

const EXCLUSIVE_CASES = [
  { fault: "cable", standby: "hot", failover: "exclusive" },
  { fault: "cable, agent killed", standby: "hot", failover: "exclusive" },
  { fault: "cable, agent stopped", standby: "hot", failover: "exclusive" },
] as const satisfies readonly Case[];

/** Swarm's figures; undefined without peers. */
type Peers = Readonly<Record<"swarm" | "swarm tuned", Readonly<Record<"kill" | "cable", readonly SwarmRun[]>>>>;

export async function runFailover(report: Report, cleanup: Cleanup, options: FailoverOptions): Promise<void> {
  const { list: nodes, hostAddress } = await startNodes(cleanup, MACHINES, [IMAGE]);
  const print = await runQubix(report, cleanup, options, nodes, hostAddress);
  const peers = options.peers ? await runPeers(report, cleanup, options.runs, nodes) : undefined;
  print(peers);
}

/** Resolves to what prints the rows, once the peers' are there to compare with. */
async function runQubix(
  report: Report,
  cleanup: Cleanup,
  options: FailoverOptions,
  nodes: readonly Node[],
  host: string,
): Promise<(peers: Peers | undefined) => void> {
  const folder = await scratchFolder(cleanup, "failover");
  const { url, adminKey = "" } = await startOrchestrator(cleanup, {
    dataDir: `${folder}/orchestrator`,
    host,
    profileDir: options.profileDir,
  });
  const admin = createApi(url, adminKey);
  cleanup.add(() => admin.close());
  const account = await createAccount(admin, "consumer", "consumer");
  await deposit(admin, account.accountId, 1_000_000_000n);
  const consumer = { api: createApi(url, account.key), key: account.key, url };
  cleanup.add(() => consumer.api.close());
  const limit = await createDockerLimit(cleanup, IMAGE);
  const fleet = await startFleet(cleanup, { admin, url, folder, nodes, image: IMAGE });

  const runCase = async (what: Case): Promise<readonly Run[]> => {
    const runs: Run[] = [];
    for (let n = 1; n <= options.runs; n++) {
      const run = await failOnce(report, consumer, fleet, what);
      if (run === undefined) {
        report.progress(`${what.failover} is not offered yet: its rows are left out`);
        return [];
      }
      runs.push(run);
      report.progress(`${nameOf(what)}, run ${n}: ${JSON.stringify(run, roundNumbers)}`);
    }
    return runs;
  };
  const limits: { startMs: number; firstStepMs: number }[] = [];
  for (let n = 1; n <= options.runs; n++) limits.push(await limit.measure());
  const runs = {
    kill: await runCase(CASES.kill),
    cable: await runCase(CASES.cable),
    cold: await runCase(CASES.cold),
    agent: await runCase(CASES.agent),
  };
  const exclusive: (readonly [Case, readonly Run[]])[] = [];
  for (const what of options.exclusive ? EXCLUSIVE_CASES : []) {
    const own = await runCase(what);
    if (own.length === 0) break;
    exclusive.push([what, own]);
  }
  await fleet.stop();
  return (peers) => {
    printQubix(report, runs);
    for (const [what, own] of exclusive) printExclusive(report, what, own);
    const limitRow = (metric: string, values: readonly number[]) => row(report, "limit", metric, values, 50);
    limitRow(
      "docker start p50",
      limits.map(({ startMs }) => startMs),
    );
    limitRow(
      "docker start to first step p50",
      limits.map(({ firstStepMs }) => firstStepMs),
    );
    if (peers !== undefined) printPeers(report, runs, peers);
  };
}

async function runPeers(report: Report, cleanup: Cleanup, runs: number, nodes: readonly Node[]): Promise<Peers> {
  const runSystem = async (system: string, initArgs: readonly string[]) => {
    const swarm = await startSwarm(cleanup, nodes, IMAGE, initArgs);
    const runFault = async (fault: "kill" | "cable") => {
      const own: SwarmRun[] = [];
      for (let n = 1; n <= runs; n++) {
        const run = await swarm.failOnce(fault);
        own.push(run);
        report.progress(`${system}, ${fault}, run ${n}: ${JSON.stringify(run, roundNumbers)}`);
      }
      return own;
    };
    const both = { kill: await runFault("kill"), cable: await runFault("cable") };
    await swarm.stop();
    return both;
  };
  return {
    swarm: await runSystem("swarm", []),
    "swarm tuned": await runSystem("swarm tuned", ["--dispatcher-heartbeat", "1s"]),
  };
}

function nameOf({ fault, standby, failover }: Case): string {
  return `${fault}, ${standby}${failover === "exclusive" ? ", exclusive" : ""}`;
}

function printQubix(report: Report, runs: Readonly<Record<keyof typeof CASES, readonly Run[]>>): void {
  const of = (metric: string, which: keyof typeof CASES, value: keyof Run, percent: number, bar?: Bar) =>
    row(
      report,
      "qubix",
      metric,
      runs[which].map((run) => run[value]),
      percent,
      bar,
    );
  of("first step kill", "kill", "firstStepMs", 50, { atMost: BARS.killMs });
  of("first step kill p90", "kill", "firstStepMs", 90);
  of("first step kill max", "kill", "firstStepMs", 100);
  of("kill->suspect p50", "kill", "toSuspectMs", 50);
  of("suspect->promoted p50", "kill", "toPromotedMs", 50);
  of("promoted->started p50", "kill", "toStartedMs", 50);
  of("started->first step p50", "kill", "toStepMs", 50);
  of("first step cable", "cable", "firstStepMs", 50, { atMost: BARS.cableMs });
  of("first step cable p90", "cable", "firstStepMs", 90);
  of("first step cable max", "cable", "firstStepMs", 100);
  of("cold first step cable p50", "cold", "firstStepMs", 50, { atMost: BARS.coldMs });
  of("cold first step cable max", "cold", "firstStepMs", 100);
  of("detected kill p99", "agent", "toSuspectMs", 99, { atMost: BARS.detectedKillMs });
  of("detected cable hot p99", "cable", "toLostMs", 99, { atMost: BARS.detectedHotMs });
  of("detected cable cold p99", "cold", "toLostMs", 99, { atMost: BARS.detectedColdMs });
  const all = Object.values(runs).flat();
  row(
    report,
    "qubix",
    "work lost max",
    all.map(({ workLostMs }) => workLostMs),
    100,
  );
  row(
    report,
    "qubix",
    "work lost max, beyond an interval and the newest commit",
    all.map(({ workLostMs, workLostMsMax }) => Math.max(0, workLostMs - workLostMsMax)),
    100,
    { atMost: 0 },
  );
  lines(
    report,
    "qubix",
    "stale lines cable",
    runs.cable.map(({ staleLines }) => staleLines),
  );
  lines(
    report,
    "qubix",
    "stale lines cable, seen by the consumer",
    runs.cable.map(({ staleLinesTaken }) => staleLinesTaken),
    { atMost: 0 },
  );
}

function printExclusive(report: Report, what: Case, runs: readonly Run[]): void {
  const system = "qubix exclusive";
  lines(
    report,
    system,
    `stale lines ${what.fault}`,
    runs.map(({ staleLines }) => staleLines),
    { atMost: 0 },
  );
  row(
    report,
    system,
    `first step ${what.fault}`,
    runs.map(({ firstStepMs }) => firstStepMs),
    50,
  );
}

function printPeers(report: Report, runs: Readonly<Record<"kill" | "cable", readonly Run[]>>, peers: Peers): void {
  for (const [system, faults] of Object.entries(peers)) {
    for (const [fault, own] of Object.entries(faults)) {
      row(
        report,
        system,
        `first step ${fault}`,
        own.map(({ firstStepMs }) => firstStepMs),
        50,
      );
    }
    lines(
      report,
      system,
      "stale lines cable",
      faults.cable.map(({ staleLines }) => staleLines),
    );
  }
  const median = (own: readonly { readonly firstStepMs: number }[]) =>
    percentile(
      own.map(({ firstStepMs }) => firstStepMs),
      50,
    );
  const ratio = (system: keyof Peers, fault: "kill" | "cable", atLeast?: number) =>
    report.row(
      {
        system: "qubix",
        metric: `${fault}: times faster than ${system}`,
        value: median(peers[system][fault]) / median(runs[fault]),
        unit: "×",
        n: runs[fault].length,
      },
      atLeast === undefined ? undefined : { atLeast },
    );
  ratio("swarm", "kill", BARS.killTimes);
  ratio("swarm", "cable", BARS.cableTimes);
  ratio("swarm tuned", "kill", BARS.tunedKillTimes);
  ratio("swarm tuned", "cable");
}

function row(
  report: Report,
  system: string,
  metric: string,
  values: readonly number[],
  percent: number,
  bar?: Bar,
): void {
  report.row({ system, metric, value: percentile(values, percent), unit: "ms", n: values.length }, bar);
}

/** The most of any run. */
function lines(report: Report, system: string, metric: string, values: readonly number[], bar?: Bar): void {
  report.row({ system, metric, value: percentile(values, 100), unit: "lines", n: values.length }, bar);
}

function roundNumbers(_key: string, value: unknown): unknown {
  return typeof value === "number" ? Math.round(value) : value;
}
