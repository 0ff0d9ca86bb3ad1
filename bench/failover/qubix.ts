// One failover of Qubix: a training job with a 64 MiB checkpoint, a fault at a random moment, and the clock stops at the first step beyond the last
// committed one, as a consumer sees it in the followed logs.
import type { EventView, JobView } from "@qubix/shared/protocol";
import { sleepMs, waitFor } from "../harness/clock.ts";
import type { Api } from "../harness/network.ts";
import type { Report } from "../harness/report.ts";
import type { Fault, Fleet } from "./fleet.ts";
import { followLogs, type SeenLine } from "./log-follower.ts";
import { type Moment, stepTimes } from "./nodes.ts";
import { WATCH_MS } from "./swarm.ts";

export const IMAGE = "qubix/train:local";
export const CHECKPOINT_INTERVAL_S = 3;
const COMMITS_BEFORE_FAULT = 2;
/** Two intervals: some faults fall into the writing or the upload of a later checkpoint. */
const STRIKE_WITHIN_S = 2 * CHECKPOINT_INTERVAL_S;
const READY_TIMEOUT_MS = 120_000;
const STEP_TIMEOUT_MS = 60_000;
const END_TIMEOUT_MS = 60_000;
const MS_PER_S = 1_000;

export interface Case {
  readonly fault: Fault;
  readonly standby: "hot" | "cold";
  readonly failover: "speculative" | "exclusive";
}

/** Milliseconds. */
export interface Run {
  readonly firstStepMs: number;
  readonly toSuspectMs: number;
  /** From the fault until the job was given to another worker, or to nobody yet. */
  readonly toLostMs: number;
  readonly toPromotedMs: number;
  readonly toStartedMs: number;
  readonly toStepMs: number;
  /** As the job tells it. */
  readonly workLostMs: number;
  /** The most that may be lost: an interval, and what the newest checkpoint took to be stored. */
  readonly workLostMsMax: number;
  /** Steps that the old container wrote after the new one's first, on its own machine. */
  readonly staleLines: number;
  /** Those of them that the consumer saw. */
  readonly staleLinesTaken: number;
}

export interface Consumer {
  readonly api: Api;
  readonly key: string;
  readonly url: URL;
}

/** Undefined where the network does not offer what the case asks for. */
export async function failOnce(report: Report, consumer: Consumer, fleet: Fleet, what: Case): Promise<Run | undefined> {
  const { api } = consumer;
  const id = await submit(api, what);
  if (id === undefined) return undefined;
  const jobNow = () => api.call<JobView>("GET", `/v1/jobs/${id}`);
  const logs = followLogs(consumer.url, consumer.key, id);
  try {
    const isReady = readiness(what);
    await waitFor("checkpoints committed and standby ready", READY_TIMEOUT_MS, async () =>
      isReady(await jobNow()) ? true : undefined,
    );
    await sleepMs(Math.random() * STRIKE_WITHIN_S * MS_PER_S);
    const before = await jobNow();
    const { workerId } = before;
    if (!isReady(before) || workerId === null) throw new Error(`${id} is not ready any more: ${before.phase}`);
    const old = await fleet.container(workerId);
    const struck = await fleet.strike(workerId, what.fault);
    const step = await waitFor(
      "first step after the fault",
      STEP_TIMEOUT_MS,
      () => logs.lines.find((line) => line.epoch > before.epoch && stepOf(line) !== undefined),
      5,
    );
    const after = await jobNow();
    const successor = await fleet.container(after.workerId ?? "");
    if (what.fault !== "kill") await sleepMs(WATCH_MS);
    const [oldSteps, newSteps] = [await stepTimes(old.node, old.id), await stepTimes(successor.node, successor.id)];
    const firstWallMs = newSteps[0] ?? Number.NaN;
    checkResumed(report, before, after, logs.lines, what);
    const events = await timelineAfter(api, id, struck);
    await api.call("POST", `/v1/jobs/${id}/cancel`);
    await waitFor("the job to end", END_TIMEOUT_MS, async () => ((await jobNow()).endedAt === null ? undefined : true));
    await fleet.mend(workerId, what.fault);
    const shipMs = before.checkpoint?.shipMs ?? 0;
    return {
      ...partsOf(events, struck, step.atMs),
      workLostMs: after.workLostMs,
      workLostMsMax: before.checkpointIntervalS * MS_PER_S + shipMs,
      staleLines: oldSteps.filter((time) => time > firstWallMs).length,
      staleLinesTaken: staleTaken(logs.lines, before.epoch, step),
    };
  } finally {
    logs.close();
  }
}

async function submit(api: Api, { standby, failover }: Case): Promise<string | undefined> {
  try {
    const { id } = await api.call<JobView>("POST", "/v1/jobs", {
      name: "failover bench",
      image: IMAGE,
      env: { STEPS: "900000" },
      outputs: [],
      resources: { cpus: 1, memoryMiB: 512, diskMiB: 1024 },
      checkpoint: { intervalS: CHECKPOINT_INTERVAL_S },
      standby,
      failover,
      stopGraceS: 1,
      priceMaxPerHour: { amount: "600000", currency: "USD" },
      durationMaxS: 1800,
    });
    return id;
  } catch (error) {
    if (String(error).includes("not_available")) return undefined;
    throw error;
  }
}

function readiness({ standby }: Case): (job: JobView) => boolean {
  return (job) =>
    job.phase === "running" &&
    (job.checkpoint?.seq ?? 0) >= COMMITS_BEFORE_FAULT &&
    (standby === "cold" || (job.standby?.phase === "ready" && job.standby.checkpointSeq > 0));
}

/** The number of the first step in a piece of log, if it has one. */
function stepOf(line: SeenLine): number | undefined {
  const found = /^step (\d+)\//m.exec(line.text)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** Pieces of the old epoch that came after the new one's first step. */
function staleTaken(lines: readonly SeenLine[], epoch: number, first: SeenLine): number {
  return lines.slice(lines.indexOf(first)).filter((line) => line.epoch <= epoch).length;
}

/** The new attempt began from a checkpoint not older than the newest one known before the fault, and its first step is the one after that checkpoint. */
function checkResumed(report: Report, before: JobView, after: JobView, lines: readonly SeenLine[], what: Case): void {
  const attempt = after.attempts.find(({ epoch }) => epoch === before.epoch + 1);
  const own = lines.filter(({ epoch }) => epoch > before.epoch);
  const resumed = Number(/resume: from step-0*(\d+)\.ckpt/.exec(own.map((line) => line.text).join(""))?.[1]);
  const first = own.find((line) => stepOf(line) !== undefined);
  const holds =
    attempt !== undefined &&
    attempt.fromCheckpointSeq >= (before.checkpoint?.seq ?? 0) &&
    (what.standby === "hot" ? attempt.workerId === before.standby?.workerId : attempt.workerId !== before.workerId) &&
    first !== undefined &&
    stepOf(first) === resumed + 1;
  report.check(
    `${before.id} went on from the newest committed checkpoint${what.standby === "hot" ? " on its standby" : ""}`,
    holds,
    `checkpoint ${before.checkpoint?.seq} → ${attempt?.fromCheckpointSeq}, step ${resumed} → ${first === undefined ? "none" : stepOf(first)}`,
  );
}

interface Timeline {
  readonly suspect: EventView;
  /** Given to another worker, or to nobody yet. */
  readonly lost: EventView;
  readonly placed: EventView;
  readonly started: EventView;
}

/** A busy machine may have been suspected before as well: what counts is what led to the loss. */
async function timelineAfter(api: Api, jobId: string, struck: Moment): Promise<Timeline> {
  const { items } = await api.call<{ items: readonly EventView[] }>("GET", `/v1/jobs/${jobId}/events?limit=500`);
  const find = (kinds: readonly string[], holds: (event: EventView) => boolean, from = items) => {
    const event = from.find((item) => kinds.includes(item.kind) && holds(item));
    if (event === undefined) throw new Error(`${jobId}: no ${kinds.join(" or ")} in its timeline`);
    return event;
  };
  const lost = find(["promoted", "requeued"], ({ time }) => Date.parse(time) >= struck.wallMs);
  const suspect = find(["suspect"], ({ seq }) => seq < lost.seq, items.toReversed());
  const placed = find(["promoted", "matched"], ({ seq }) => seq >= lost.seq);
  return { suspect, lost, placed, started: find(["started"], ({ seq }) => seq >= placed.seq) };
}

function partsOf({ suspect, lost, placed, started }: Timeline, struck: Moment, stepAtMs: number) {
  const firstStepMs = stepAtMs - struck.atMs;
  const toSuspectMs = Date.parse(suspect.time) - struck.wallMs;
  const toPromotedMs = placed.clockMs - suspect.clockMs;
  const toStartedMs = started.clockMs - placed.clockMs;
  return {
    firstStepMs,
    toSuspectMs,
    toLostMs: toSuspectMs + lost.clockMs - suspect.clockMs,
    toPromotedMs,
    toStartedMs,
    toStepMs: firstStepMs - toSuspectMs - toPromotedMs - toStartedMs,
  };
}
