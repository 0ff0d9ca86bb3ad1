// Runs that check a job: whether one is made when the job has succeeded, from where it begins, and the job that it is. A check is a job like any other, so that
// nobody who runs it can tell; what its result is compared with is in `check-results.ts`.
import { chargeFor, holdFor, jobTable, verificationTable } from "@qubix/shared/domain";
import { parseImageRef, runPriceMax } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import { fitLiveJobs } from "./budgets.ts";
import { checkChance, debtAfter, wantsMajority, wholeChance } from "./check-policy.ts";
import { CHECKS_ACCOUNT, freezePay, holdForCheck } from "./check-money.ts";
import { historyOf, isUndisturbed, makersOf, modelsOf, workersOf } from "./check-state.ts";
import { newJobRecord } from "./job-record.ts";
import { MS_PER_S } from "./metering.ts";
import type {
  AttemptRecord,
  CheckedRun,
  CheckHistory,
  CheckPlan,
  CheckpointRecord,
  JobRecord,
  RunWorker,
  VerificationRecord,
} from "./model.ts";
import { armQueue } from "./queue-deadline.ts";
import { newJobId, nextRandom } from "./random.ts";
import { firstCheckpoint } from "./sources.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, countUp, emit, emitJob, put } from "./tables.ts";

/** The operator pays no more an hour for a check than this many times what the job itself cost: other machines of its kind may be dearer. */
const RATE_TIMES = 2n;
/** A part of a job that is run again may take so many times as long as it took, and this much more: another machine may be slower, and has to restore first. */
const SLICE_TIMES = 3;
const SLICE_SLACK_S = 120;
const RANDOM_RANGE = 2 ** 32;

/** A job has succeeded and is settled: now it may be chosen to be checked. Does nothing for one that is a check itself. */
export function considerChecks(state: CoreState, job: JobRecord): void {
  const { mode } = job.spec.verification;
  if (mode === "none" || job.check !== undefined || job.phase !== "succeeded") return;
  const attempts = attemptsOf(state, job.id);
  const workers = workersOf(attempts);
  const kind = mode === "majority" || isWorthMajority(state, job, workers) ? "majority" : drawSpotCheck(state, workers);
  if (kind === null) return;
  const obstacle = obstacleOf(state, job, attempts);
  if (obstacle !== undefined) return emitJob(state, job, "verification_skipped", { kind, why: obstacle });
  begin(state, job, attempts, kind);
}

function isWorthMajority(state: CoreState, { spec, settlement }: JobRecord, workers: readonly RunWorker[]): boolean {
  if (spec.verification.mode !== "adaptive") return false;
  return historiesOf(state, workers).some((history) => wantsMajority(state.config, history, settlement.gross ?? 0n));
}

function drawSpotCheck(state: CoreState, workers: readonly RunWorker[]): "spot-check" | null {
  const { checkShare } = state.config;
  const { checkDebt = 0 } = state.meta;
  const chances = historiesOf(state, workers).map((history) => checkChance(checkShare, checkDebt, history));
  const chance = Math.max(0, ...chances);
  state.meta.checkDebt = debtAfter(checkShare, checkDebt, chance);
  return nextRandom(state.meta) / RANDOM_RANGE < chance ? "spot-check" : null;
}

function historiesOf(state: CoreState, workers: readonly RunWorker[]): readonly CheckHistory[] {
  return workers.map(({ workerId }) => historyOf(state.rows.workers.get(workerId)));
}

/** Why the very same cannot be run elsewhere; `undefined` where it can. */
function obstacleOf(state: CoreState, job: JobRecord, attempts: readonly AttemptRecord[]): string | undefined {
  const isPinned =
    job.imageDigest !== null || job.imageTree !== null || parseImageRef(job.spec.image)?.digest !== undefined;
  if (!isPinned) return "image_not_pinned";
  if (job.spec.resources.gpus.count > 0 && gpuModelsOf(state, attempts).size !== 1) return "gpu_models_mixed";
  return undefined;
}

function gpuModelsOf(state: CoreState, attempts: readonly AttemptRecord[]): ReadonlySet<string> {
  const models = new Set<string>();
  for (const { workerId, allocation } of makersOf(attempts)) {
    const machine = state.ix.machines.get(workerId);
    if (machine !== undefined) for (const model of modelsOf(machine, allocation.gpuUuids)) models.add(model);
  }
  return models;
}

// ── Begin ──

function begin(
  state: CoreState,
  job: JobRecord,
  attempts: readonly AttemptRecord[],
  kind: VerificationRecord["kind"],
): void {
  const plan = planOf(state, job, attempts, kind);
  const own: CheckedRun = {
    jobId: job.id,
    fromSeq: plan.base?.seq ?? 0,
    endedAtMs: state.nowMs,
    workers: workersOf(attempts),
    isUndisturbed: isUndisturbed(attempts),
    result: { outputs: job.outputs, sum: job.outputsSum ?? null },
    lost: null,
  };
  const start = kind === "majority" ? wholeOf(plan) : drawStart(state, job, attempts, plan);
  const verification: VerificationRecord = {
    id: job.id,
    accountId: job.accountId,
    kind,
    phase: verificationTable.initial,
    message: null,
    startedAtMs: state.nowMs,
    decidedAtMs: null,
    currency: job.currency,
    frozen: freezePay(state, job),
    apart: [...new Set([job.accountId, ...attempts.map(({ providerId }) => providerId)])],
    runs: [own],
    compared: [],
    plan,
  };
  countUp(state, "verificationsBegun");
  emitJob(state, job, "verification_started", { kind, fromSeq: start.checkpoint?.seq ?? 0 });
  let called = verification;
  const runs = kind === "majority" ? job.spec.verification.replicas - 1 : 1;
  for (let n = 0; n < runs; n += 1) called = callRun(state, called, start);
  // A budget that was lowered while the first ran holds for the others too.
  if (kind === "majority") fitLiveJobs(state, job);
}

function planOf(
  state: CoreState,
  job: JobRecord,
  attempts: readonly AttemptRecord[],
  kind: VerificationRecord["kind"],
): CheckPlan {
  const { name: _, fromCheckpoint: __, budgetMax: ___, ...spec } = job.spec;
  const dearest = job.rateMax * RATE_TIMES;
  const most = runPriceMax(job.spec);
  const [first] = job.checkpoints;
  const isForked = job.fromCheckpoint !== null;
  const base = isForked && first?.seq === 1 ? first : null;
  return {
    spec: { ...spec, standby: "cold", queueS: state.config.checkQueueS },
    inputs: job.inputs,
    imageTree: job.imageTree,
    imageDigest: job.imageDigest,
    gpuModel: [...gpuModelsOf(state, attempts)][0] ?? null,
    rateMax: kind === "spot-check" && dearest < most ? dearest : most,
    payer: kind === "spot-check" ? CHECKS_ACCOUNT : `customer:${job.accountId}`,
    base,
    hasBase: !isForked || base !== null,
  };
}

// ── From where ──

export interface Start {
  /** Null for the beginning. */
  readonly checkpoint: CheckpointRecord | null;
  readonly durationMaxS: number;
}

/** Where the whole job began. */
export function wholeOf({ base, spec }: CheckPlan): Start {
  return { checkpoint: base, durationMaxS: spec.durationMaxS };
}

/**
 * The whole job, or a part: then a moment of its work is drawn, each as likely as any other, and the run begins from the newest checkpoint before it. What was forged
 * before that checkpoint shows in no such part; that is why most checks are whole, and why only those count as a confirmed result.
 */
function drawStart(state: CoreState, job: JobRecord, attempts: readonly AttemptRecord[], plan: CheckPlan): Start {
  const chances = historiesOf(state, workersOf(attempts)).map(wholeChance);
  const isWhole = nextRandom(state.meta) / RANDOM_RANGE < Math.max(0, ...chances);
  if (isWhole && plan.hasBase) return wholeOf(plan);
  const drawnMs = (nextRandom(state.meta) / RANDOM_RANGE) * job.creditedMs;
  const at = job.checkpoints.map((checkpoint) => ({ checkpoint, ms: positionOf(checkpoint, job, attempts) }));
  const before = at.findLast(({ ms }) => ms <= drawnMs) ?? (plan.hasBase ? undefined : at[0]);
  if (before === undefined || before.checkpoint === plan.base) return wholeOf(plan);
  const restS = Math.ceil((job.creditedMs - before.ms) / MS_PER_S);
  return {
    checkpoint: before.checkpoint,
    durationMaxS: Math.min(plan.spec.durationMaxS, restS * SLICE_TIMES + SLICE_SLACK_S),
  };
}

/** How much of the job's work lies before a checkpoint. */
function positionOf(
  { seq, epoch, ranMs }: CheckpointRecord,
  job: JobRecord,
  attempts: readonly AttemptRecord[],
): number {
  if (job.fromCheckpoint !== null && seq === 1) return 0;
  let ms = 0;
  for (const attempt of attempts) {
    if (attempt.epoch < epoch) ms += attempt.creditedMs;
    else if (attempt.epoch === epoch) ms += Math.max(0, Math.min(ranMs - attempt.baseRanMs, attempt.creditedMs));
  }
  return ms;
}

// ── The run ──

/** Makes the next run and queues it. The caller has seen to it that no more are needed at once. */
export function callRun(
  state: CoreState,
  verification: VerificationRecord,
  start: Start,
  decides = false,
): VerificationRecord {
  const { plan, runs, id } = verification;
  const run = runs.length;
  const fromSeq = start.checkpoint?.seq ?? 0;
  const check = makeRun(state, verification, start, decides);
  const called: VerificationRecord = {
    ...verification,
    runs: [
      ...runs,
      { jobId: check.id, fromSeq, endedAtMs: null, workers: [], isUndisturbed: false, result: null, lost: null },
    ],
  };
  put(state, "verifications", id, called);
  put(state, "jobs", check.id, check);
  armQueue(state, check);
  holdForCheck(state, check, plan.payer);
  emitJob(state, check, "queued", { checks: id });
  tellOf(state, called, "verification_run", { run, checkJobId: check.id, fromSeq });
  return called;
}

/** A line in the timeline of the job that is checked. It has ended: its record is in the store. */
export function tellOf(
  state: CoreState,
  { id, accountId }: VerificationRecord,
  kind: string,
  data: Readonly<Record<string, unknown>>,
): void {
  emit(state, { channel: "jobs", kind, accountId, jobId: id, data });
}

function makeRun(state: CoreState, verification: VerificationRecord, start: Start, decides: boolean): JobRecord {
  const { plan, runs, id: of, accountId, apart, currency } = verification;
  const id = newJobId(state.meta);
  const { checkpoint, durationMaxS } = start;
  const isOperators = plan.payer === CHECKS_ACCOUNT;
  const spec: JobRecord["spec"] = {
    ...plan.spec,
    durationMaxS,
    priceMaxPerHour: { amount: plan.rateMax, currency },
    verification: { mode: "none", replicas: plan.spec.verification.replicas },
  };
  // The runs of a majority share one hold: rounded up each, they would come to more.
  const hold = isOperators ? holdFor(plan.rateMax, durationMaxS) : chargeFor(plan.rateMax, durationMaxS * MS_PER_S);
  const made: JobRecord = {
    ...newJobRecord(state, { id, accountId, spec, hold }),
    checkpoints: checkpoint === null ? [] : [firstCheckpoint({ id }, checkpoint, state.nowMs)],
    inputs: plan.inputs,
    imageTree: plan.imageTree,
    imageDigest: plan.imageDigest,
    check: { of, run: runs.length, payer: plan.payer, gpuModel: plan.gpuModel, decides, apart },
  };
  assert(made.phase === jobTable.initial, `${id} begins as ${made.phase}`);
  return made;
}
