// `npm run -s bench -- NAME [--json]`: runs one benchmark. Rows go to standard output, progress and audits to standard error.
// Exit code 0: every audit held (whether a bar was met is said in the table); 1: one did not, or the run failed; 2: usage.
import { parseArgs } from "node:util";
import { runCheckpoint } from "./checkpoint/checkpoint.ts";
import { runContainer } from "./container/container.ts";
import { runDirect } from "./direct/direct.ts";
import { runDispatch } from "./dispatch/dispatch.ts";
import { runEnrol } from "./enrol/enrol.ts";
import { runFailover } from "./failover/failover.ts";
import { runGpuWatch } from "./gpu-watch/gpu-watch.ts";
import { build } from "./harness/network.ts";
import { createCleanup } from "./harness/processes.ts";
import { createReport } from "./harness/report.ts";
import { runHeartbeats } from "./heartbeats/heartbeats.ts";
import { runLedger } from "./ledger/ledger.ts";
import { runLiars } from "./liars/liars.ts";
import { runProof } from "./proof/proof.ts";
import { runReconnect } from "./reconnect/reconnect.ts";
import { runSoak } from "./soak/soak.ts";
import { runWorkerIdle } from "./worker-idle/worker-idle.ts";

const USAGE = `usage: npm run -s bench -- NAME [--json] [options]
  dispatch     jobs per second end to end, submit → start, audit after kill -9   --jobs 20000 --workers 50 --seconds 20
  heartbeats   connected workers: CPU, memory, event-loop lag                    --workers 10000 --seconds 30
  checkpoint   bytes, speed, memory of saves beside restic, borg, casync, rsync  --mib 512 --width 2048 [--no-peers]
  container    create + start behind all walls, and the cap of a job's disk     --runs 20
  failover     a machine dies, or its cable: first new step, Docker Swarm beside  --runs 3 [--no-peers] [--no-exclusive]
  gpu-watch    "GPU is lost" to the offer without it; what watching costs        --runs 5
  direct       a standby fetching straight from its primary, bare libp2p beside  --mib 256 --runs 5
  proof        a proof of hardware: its work, and a verdict on it                --runs 5
  enrol        a provider's first command to the first job that succeeded         --runs 3
  ledger       linked settlements durable in the books, bare commits beside        --runs 5
  reconnect    a large fleet after kill -9 of its orchestrator: time and memory   --workers 10000
  liars        fleets of which a tenth lies: caught when, who else, at what cost  --seeds 100
  soak         the simulator for as long as it is given, going on where it ended  --seconds 60 | --seeds 1000000
  worker-idle  a connected agent with nothing to do: memory and CPU              --seconds 60
  --cpu-prof DIR   leave a CPU profile of the orchestrator there`;

const EXIT_USAGE = 2;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      jobs: { type: "string" },
      workers: { type: "string" },
      seconds: { type: "string" },
      runs: { type: "string" },
      seeds: { type: "string" },
      mib: { type: "string" },
      width: { type: "string" },
      "no-peers": { type: "boolean", default: false },
      "no-exclusive": { type: "boolean", default: false },
      "cpu-prof": { type: "string" },
    },
  });
  const [name] = positionals;
  const profileDir = values["cpu-prof"];
  const report = createReport(name ?? "", values.json);
  const cleanup = createCleanup();
  const stop = () => void cleanup.run().then(() => process.exit(1));
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  process.once("uncaughtException", (error) => {
    console.error(error);
    stop();
  });
  const benches: Readonly<Record<string, () => Promise<void>>> = {
    dispatch: () =>
      runDispatch(report, cleanup, {
        jobs: count(values.jobs, 20_000),
        workers: count(values.workers, 50),
        seconds: count(values.seconds, 20),
        profileDir,
      }),
    heartbeats: () =>
      runHeartbeats(report, cleanup, {
        workers: count(values.workers, 10_000),
        seconds: count(values.seconds, 30),
        profileDir,
      }),
    enrol: () => runEnrol(report, cleanup, { runs: count(values.runs, 3) }),
    "worker-idle": () => runWorkerIdle(report, cleanup, { seconds: count(values.seconds, 60) }),
    checkpoint: () =>
      runCheckpoint(report, cleanup, {
        mib: count(values.mib, 512),
        width: count(values.width, 2048),
        peers: !values["no-peers"],
      }),
    container: () => runContainer(report, cleanup, { runs: count(values.runs, 20) }),
    failover: () =>
      runFailover(report, cleanup, {
        runs: count(values.runs, 3),
        peers: !values["no-peers"],
        exclusive: !values["no-exclusive"],
        profileDir,
      }),
    "gpu-watch": () => runGpuWatch(report, cleanup, { runs: count(values.runs, 5) }),
    direct: () => runDirect(report, cleanup, { mib: count(values.mib, 256), runs: count(values.runs, 5) }),
    ledger: () => runLedger(report, cleanup, { runs: count(values.runs, 5) }),
    reconnect: () => runReconnect(report, cleanup, { workers: count(values.workers, 10_000), profileDir }),
    liars: () => {
      runLiars(report, { seeds: count(values.seeds, 100) });
      return Promise.resolve();
    },
    soak: () => {
      const seeds = values.seeds === undefined ? null : count(values.seeds, 1);
      return runSoak(report, cleanup, { seeds, seconds: seeds === null ? count(values.seconds, 60) : null });
    },
    proof: () => runProof(report, cleanup, { runs: count(values.runs, 5) }),
  };
  const bench = name === undefined ? undefined : benches[name];
  if (values.help || bench === undefined) {
    console.error(USAGE);
    return values.help ? 0 : EXIT_USAGE;
  }
  try {
    build();
    await bench();
  } finally {
    await cleanup.run();
  }
  return report.finish() ? 0 : 1;
}

function count(text: string | undefined, otherwise: number): number {
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${text} is not a whole number of at least 1`);
  return value;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? (error.stack ?? error.message) : error);
  process.exitCode = 1;
}
