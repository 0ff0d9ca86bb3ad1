// bench/failover: a training job with a 64 MiB checkpoint and a hot standby on real Docker. The primary's agent and container are killed with -9 at a
// random moment; the clock stops at the first step beyond the last committed one, as a consumer sees it in the followed logs.
import type { EventView, JobView } from "@qubix/shared/protocol";
import { monotonicMs, sleepMs, waitFor } from "../harness/clock.ts";
import { type Api, createAccount, createApi, deposit, startOrchestrator } from "../harness/network.ts";
import { type Cleanup, scratchFolder } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { percentile } from "../harness/statistics.ts";
import { createDockerLimit } from "./docker-limit.ts";
import { type Fleet, startFleet } from "./fleet.ts";
import { followLogs, type SeenLine } from "./log-follower.ts";

export interface FailoverOptions {
  readonly runs: number;
  readonly profileDir?: string | undefined;
}

const IMAGE = "qubix/train:local";
const WORKERS = 3;
const CHECKPOINT_INTERVAL_S = 3;
const COMMITS_BEFORE_KILL = 2;
/** Two intervals: some kills fall into the writing or the upload of a later checkpoint. */
const KILL_WITHIN_S = 2 * CHECKPOINT_INTERVAL_S;
const READY_TIMEOUT_MS = 90_000;
const STEP_TIMEOUT_MS = 60_000;
const END_TIMEOUT_MS = 60_000;
const BAR_P50_MS = 1000;

/** One failover; milliseconds. */
interface Run {
  readonly firstStepMs: number;
  readonly toSuspectMs: number;
  readonly toPromotedMs: number;
  readonly toStartedMs: number;
  readonly toStepMs: number;
}

interface Consumer {
  readonly api: Api;
  readonly key: string;
  readonly url: URL;
}

export async function runFailover(report: Report, cleanup: Cleanup, options: FailoverOptions): Promise<void> {
  const folder = await scratchFolder(cleanup, "failover");
  const { url, adminKey = "" } = await startOrchestrator(cleanup, {
    dataDir: `${folder}/orchestrator`,
    profileDir: options.profileDir,
  });
  const admin = createApi(url, adminKey);
  cleanup.add(() => admin.close());
  const account = await createAccount(admin, "consumer", "consumer");
  await deposit(admin, account.accountId, 1_000_000_000n);
  const consumer: Consumer = { api: createApi(url, account.key), key: account.key, url };
  cleanup.add(() => consumer.api.close());
  const limit = await createDockerLimit(cleanup, IMAGE);
  const fleet = await startFleet(cleanup, { admin, url, folder, count: WORKERS, image: IMAGE });

  const runs: Run[] = [];
  const limits: { startMs: number; firstStepMs: number }[] = [];
  for (let n = 1; n <= options.runs; n++) {
    const run = await failOnce(report, consumer, fleet);
    limits.push(await limit.measure());
    runs.push(run);
    report.progress(
      `run ${n}: first step after ${Math.round(run.firstStepMs)} ms ${JSON.stringify(run, roundNumbers)}`,
    );
  }
  printRows(report, runs, limits);
}

async function failOnce(report: Report, consumer: Consumer, fleet: Fleet): Promise<Run> {
  const { api } = consumer;
  const { id } = await api.call<JobView>("POST", "/v1/jobs", jobSpec());
  const jobNow = () => api.call<JobView>("GET", `/v1/jobs/${id}`);
  const logs = followLogs(consumer.url, consumer.key, id);
  try {
    await waitFor("checkpoints committed and standby ready", READY_TIMEOUT_MS, async () =>
      isReady(await jobNow()) ? true : undefined,
    );
    await sleepMs(Math.random() * KILL_WITHIN_S * 1000);
    const before = await jobNow();
    if (!isReady(before) || before.workerId === null) throw new Error(`${id} is not ready any more: ${before.phase}`);
    const containerPid = await fleet.containerPid(before.workerId);
    const killedAtMs = monotonicMs();
    const killedAtWallMs = Date.now();
    fleet.killWithContainer(before.workerId, containerPid);
    const step = await waitFor(
      "first step after the kill",
      STEP_TIMEOUT_MS,
      () => logs.lines.find((line) => line.epoch > before.epoch && stepOf(line) !== undefined),
      5,
    );
    await checkResumed(report, before, await jobNow(), logs.lines);
    const timeline = await timelineAfter(api, id, before.epoch);
    await api.call("POST", `/v1/jobs/${id}/cancel`);
    await waitFor("the job to end", END_TIMEOUT_MS, async () => ((await jobNow()).endedAt === null ? undefined : true));
    await fleet.restart(before.workerId);
    const suspectMs = timeline.suspectWallMs - killedAtWallMs;
    const promotedMs = timeline.promotedMs - timeline.suspectMs;
    const startedMs = timeline.startedMs - timeline.promotedMs;
    const firstStepMs = step.atMs - killedAtMs;
    return {
      firstStepMs,
      toSuspectMs: suspectMs,
      toPromotedMs: promotedMs,
      toStartedMs: startedMs,
      toStepMs: firstStepMs - suspectMs - promotedMs - startedMs,
    };
  } finally {
    logs.close();
  }
}

function jobSpec() {
  return {
    name: "failover bench",
    image: IMAGE,
    env: { STEPS: "900000" },
    outputs: [],
    resources: { cpus: 1, memoryMiB: 512, diskMiB: 1024 },
    checkpoint: { intervalS: CHECKPOINT_INTERVAL_S },
    standby: "hot",
    stopGraceS: 1,
    priceMaxPerHour: { amount: "600000", currency: "USD" },
    durationMaxS: 1800,
  };
}

function isReady(job: JobView): boolean {
  return (
    job.phase === "running" &&
    job.standby?.phase === "ready" &&
    job.standby.checkpointSeq > 0 &&
    (job.checkpoint?.seq ?? 0) >= COMMITS_BEFORE_KILL
  );
}

/** The number of the first step in a piece of log, if it has one. */
function stepOf(line: SeenLine): number | undefined {
  const found = /^step (\d+)\//m.exec(line.text)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** The new attempt began from a checkpoint not older than the newest one known before the kill, and its first step is the one after that checkpoint. */
async function checkResumed(
  report: Report,
  before: JobView,
  after: JobView,
  lines: readonly SeenLine[],
): Promise<void> {
  const attempt = after.attempts.find(({ epoch }) => epoch === before.epoch + 1);
  const text = lines.filter(({ epoch }) => epoch > before.epoch).map((line) => line.text);
  const resumed = Number(/resume: from step-0*(\d+)\.ckpt/.exec(text.join(""))?.[1]);
  const first = lines.filter(({ epoch }) => epoch > before.epoch).find((line) => stepOf(line) !== undefined);
  const holds =
    attempt !== undefined &&
    attempt.fromCheckpointSeq >= (before.checkpoint?.seq ?? 0) &&
    attempt.workerId === before.standby?.workerId &&
    first !== undefined &&
    stepOf(first) === resumed + 1;
  report.check(
    `${before.id} went on from the newest committed checkpoint on its standby`,
    holds,
    `checkpoint ${before.checkpoint?.seq} → ${attempt?.fromCheckpointSeq}, step ${resumed} → ${first === undefined ? "none" : stepOf(first)}`,
  );
}

async function timelineAfter(api: Api, jobId: string, epoch: number) {
  const { items } = await api.call<{ items: readonly EventView[] }>("GET", `/v1/jobs/${jobId}/events?limit=500`);
  const find = (kind: string, from = 0) => {
    const event = items.find((item) => item.kind === kind && item.seq >= from);
    if (event === undefined) throw new Error(`${jobId} epoch ${epoch}: no ${kind} in its timeline`);
    return event;
  };
  const suspect = find("suspect");
  const promoted = find("promoted", suspect.seq);
  const started = find("started", promoted.seq);
  return {
    suspectWallMs: Date.parse(suspect.time),
    suspectMs: suspect.clockMs,
    promotedMs: promoted.clockMs,
    startedMs: started.clockMs,
  };
}

function printRows(
  report: Report,
  runs: readonly Run[],
  limits: readonly { startMs: number; firstStepMs: number }[],
): void {
  const row = (system: string, metric: string, values: readonly number[], percent: number, bar?: number) =>
    report.row(
      { system, metric, value: percentile(values, percent), unit: "ms", n: values.length },
      bar === undefined ? undefined : { atMost: bar },
    );
  const firstSteps = runs.map((run) => run.firstStepMs);
  row("qubix", "first step kill p50", firstSteps, 50, BAR_P50_MS);
  row("qubix", "first step kill p90", firstSteps, 90);
  row("qubix", "first step kill max", firstSteps, 100);
  const parts = {
    "kill->suspect p50": runs.map((run) => run.toSuspectMs),
    "suspect->promoted p50": runs.map((run) => run.toPromotedMs),
    "promoted->started p50": runs.map((run) => run.toStartedMs),
    "started->first step p50": runs.map((run) => run.toStepMs),
  };
  for (const [metric, values] of Object.entries(parts)) row("qubix", metric, values, 50);
  row(
    "limit",
    "docker start p50",
    limits.map((limit) => limit.startMs),
    50,
  );
  row(
    "limit",
    "docker start to first step p50",
    limits.map((limit) => limit.firstStepMs),
    50,
  );
}

function roundNumbers(_key: string, value: unknown): unknown {
  return typeof value === "number" ? Math.round(value) : value;
}
