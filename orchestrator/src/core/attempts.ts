// What workers say of their attempts. Each word is checked for worker, epoch and phase; a stale one is refused and its container fenced.
import { armBudget } from "./budget-deadline.ts";
import { noteDamage } from "./checkpoints.ts";
import { attemptId, type AttemptRef, attemptTable, jobTable } from "@qubix/shared/domain";
import { type EndOutcome, parseImageRef, type WorkerMessage } from "@qubix/shared/protocol";
import { unreachable } from "@qubix/shared/runtime";
import { carryOn, closeAttempt, endByIntent, fenceAttempt, type Setback } from "./failover.ts";
import { isActiveAttempt } from "./indexes.ts";
import { endJob } from "./job-end.ts";
import { leaseEnd } from "./leases.ts";
import type { Machine } from "./machine.ts";
import { credit } from "./metering.ts";
import { acceptResult, compareCheckpoint } from "./mirror-results.ts";
import { checkpointsOf, epochOf, hasActiveReplica, replicaIn, withCheckpoints } from "./mirror-state.ts";
import { activeAttempts } from "./mirror.ts";
import type { AttemptRecord, CheckpointRecord, JobRecord, StopIntent, TreeContent } from "./model.ts";
import { dropMove, finishMove, leaveIfLeaving } from "./moves.ts";
import { newestCheckpoint } from "./placing.ts";
import { noteStep, startedAgain } from "./recovery.ts";
import { armDuration, deadlineKey } from "./silence.ts";
import { blame } from "./standing.ts";
import { fetchedSeq, forgetStandbyFailure, sendPrepare, sendStandbyCheckpoint } from "./standbys.ts";
import type { CoreState } from "./state.ts";
import {
  attemptsOf,
  countUp,
  effect,
  emitJob,
  fire,
  jobOf,
  liveStandby,
  machineOf,
  noteIncident,
  patchJob,
  put,
  refOf,
  send,
} from "./tables.ts";

type Message<Kind extends WorkerMessage["kind"]> = Extract<WorkerMessage, { kind: Kind }>;

export interface Current {
  readonly job: JobRecord;
  readonly attempt: AttemptRecord;
}

/** The attempt that a message speaks of, if it is this worker's, of the job's current epoch, and not over. */
export function currentOf(state: CoreState, machine: Machine, ref: AttemptRef): Current | undefined {
  const job = state.rows.jobs.get(ref.jobId);
  const attempt = state.rows.attempts.get(attemptId(ref));
  if (job === undefined || attempt === undefined || attempt.workerId !== machine.id) return undefined;
  if (!isCurrent(job, attempt)) return undefined;
  return { job, attempt };
}

/** Fencing: only the newest epoch of a job (of each replica), while it is active, may commit anything. */
function isCurrent(job: JobRecord, attempt: AttemptRecord): boolean {
  return attempt.epoch === epochOf(job, attempt.replica) && isActiveAttempt(attempt);
}

/** Durable: the worker may forget it. */
export function ack(state: CoreState, machine: Machine, message: WorkerMessage): void {
  send(state, machine.id, { kind: "ack", re: message.msg });
}

/** Says no to a word of a stale attempt, and fences it. */
export function refuseStale(state: CoreState, machine: Machine, message: WorkerMessage, ref: AttemptRef): void {
  countUp(state, "staleRefused");
  noteIncident(state, "stale_refused", ref);
  send(state, machine.id, {
    kind: "refused",
    re: message.msg,
    code: "stale_epoch",
    message: `attempt ${attemptId(ref)} is not the current one of its job: stop it and forget it`,
  });
  send(state, machine.id, { kind: "fence", attempt: { ...ref } });
}

export function onStarted(state: CoreState, machine: Machine, message: Message<"started">): void {
  const current = currentOf(state, machine, message.attempt);
  if (current === undefined) return refuseStale(state, machine, message, message.attempt);
  ack(state, machine, message);
  const { job, attempt } = markStarted(state, current, message.fromSeq);
  if (isOtherImage(job, message.imageDigest)) return loseToOtherImage(state, attempt);
  pinImage(state, job, message.imageDigest);
}

/** Both replicas may have asked the registry before either had started: then the first to start decides. */
function isOtherImage({ mirror, check, imageDigest }: JobRecord, digest: string | undefined): boolean {
  return (
    (mirror !== undefined || check !== undefined) &&
    imageDigest !== null &&
    digest !== undefined &&
    digest !== imageDigest
  );
}

function loseToOtherImage(state: CoreState, attempt: AttemptRecord): void {
  fenceAttempt(state, attempt);
  const message = "the image's tag was moved while it was prepared there: that is another image than the job's.";
  carryOn(state, attempt, { budget: "failovers", why: "image_moved", message });
}

/** The first attempt that starts decides which image the job's reference stands for; a tag that moves later changes nothing for it. */
function pinImage(state: CoreState, job: JobRecord, digest: string | undefined): void {
  const isPinned = job.imageDigest !== null || job.imageTree !== null;
  if (digest === undefined || isPinned || !IMAGE_DIGEST.test(digest)) return;
  const ref = parseImageRef(job.spec.image);
  if (ref === undefined || ref.local || (ref.digest !== undefined && ref.digest !== digest)) return;
  const pinned = patchJob(state, job, { imageDigest: digest });
  // A standby that is being prepared may have asked the registry at another moment.
  const standby = liveStandby(state, pinned);
  if (standby !== undefined && machineOf(state, standby.workerId).features.has("image-digest")) {
    sendPrepare(state, pinned, standby);
  }
}

const IMAGE_DIGEST = /^sha256:[0-9a-f]{64}$/;

function markStarted(state: CoreState, { job, attempt }: Current, fromSeq: number): Current {
  const phase = fire(state, attemptTable, attempt.phase, "started");
  if (phase === undefined) return { job, attempt };
  const started = { ...attempt, phase, fromSeq, startedAtMs: state.nowMs };
  put(state, "attempts", attempt.id, started);
  const jobPhase = fire(state, jobTable, job.phase, "started") ?? job.phase;
  const startedAtMs = job.startedAtMs ?? state.nowMs;
  const running = patchJob(state, job, { phase: jobPhase, startedAtMs, ...startedAgain(state, job) });
  state.deadlines.clear(deadlineKey.attempt(attempt.id));
  armDuration(state, running, started);
  armBudget(state, running);
  if (running.mirror !== undefined) forgetStandbyFailure(state, running);
  const { epoch, workerId } = started;
  emitJob(state, running, "started", { epoch, ...replicaIn(running, started), workerId, fromSeq }, started);
  finishMove(state, running, started);
  leaveIfLeaving(state, started);
  return { job: state.rows.jobs.get(job.id) ?? running, attempt: started };
}

/** The container ended with success; its outputs are on their way. */
export function onExited(state: CoreState, machine: Machine, message: Message<"exited">): void {
  const current = currentOf(state, machine, message.attempt);
  if (current === undefined) return refuseStale(state, machine, message, message.attempt);
  ack(state, machine, message);
  const { attempt, job } = current;
  const phase = fire(state, attemptTable, attempt.phase, "exited");
  if (phase === undefined) return;
  const exited = {
    ...attempt,
    phase,
    committed: true,
    exitRanMs: message.ranMs,
    startedAtMs: attempt.startedAtMs ?? state.nowMs,
  };
  put(state, "attempts", attempt.id, exited);
  // A job whose other replica may still run, and which has its result only when both have ended, runs on.
  const jobPhase = fire(state, jobTable, job.phase, job.mirror === undefined ? "stopping" : "started") ?? job.phase;
  const finishing = patchJob(state, job, { phase: jobPhase, startedAtMs: job.startedAtMs ?? state.nowMs });
  state.deadlines.clear(deadlineKey.duration(attempt.id));
  state.deadlines.set(deadlineKey.attempt(attempt.id), state.nowMs + state.config.outputTimeoutMs);
  const { epoch } = attempt;
  const done = noteStep(state, finishing, exited);
  emitJob(state, done, "exited", { epoch, ...replicaIn(done, exited), ranMs: message.ranMs }, exited);
  dropMove(state, done, "finished");
}

/** `content`: of its outputs, where the gateway read them. */
export function onEnded(state: CoreState, machine: Machine, message: Message<"ended">, content?: TreeContent): void {
  const current = currentOf(state, machine, message.attempt);
  if (current === undefined) {
    if (endedBefore(state, machine, message.attempt)) return ack(state, machine, message);
    return refuseStale(state, machine, message, message.attempt);
  }
  ack(state, machine, message);
  const { outcome } = message;
  // Work that its worker spoiled is paid up to the newest checkpoint only.
  const { attempt } =
    outcome.kind === "worker_failed" ? current : credit(state, current.job, current.attempt, message.ranMs);
  const phase = fire(state, attemptTable, attempt.phase, "ended") ?? attempt.phase;
  const lease = leaseEnd(state, attempt.lease, "returned");
  const ended = closeAttempt(state, attempt, { phase, lease, outcome, committed: true });
  follow(state, jobOf(state, attempt.jobId), ended, outcome, { ranMs: message.ranMs, sum: content?.sum ?? null });
}

function endedBefore(state: CoreState, machine: Machine, ref: AttemptRef): boolean {
  const attempt = state.rows.attempts.get(attemptId(ref));
  return attempt?.phase === "ended" && attempt.workerId === machine.id;
}

function follow(
  state: CoreState,
  job: JobRecord,
  ended: AttemptRecord,
  outcome: EndOutcome,
  { ranMs, sum }: { readonly ranMs: number; readonly sum: string | null },
): void {
  switch (outcome.kind) {
    case "succeeded": {
      const stepped = noteStep(state, job, ended);
      if (job.mirror !== undefined) return acceptResult(state, stepped, ended, { outputs: outcome.outputs, sum });
      const done = patchJob(state, stepped, { outputs: outcome.outputs, ...(sum === null ? {} : { outputsSum: sum }) });
      return endJob(state, done, { event: "completed", reason: "completed", message: null });
    }
    case "failed": {
      const setback = ownFailure(state, job, ended, outcome);
      if (job.mirror === undefined || hasRetry(job, setback)) return carryOn(state, ended, setback);
      const { code, exitCode } = outcome;
      return acceptResult(state, job, ended, { failure: { code, exitCode, message: setback.message } });
    }
    case "worker_failed":
      if (outcome.code === "checkpoint_damaged") noteDamage(state, job, ended);
      blame(state, machineOf(state, ended.workerId), outcome.code);
      if (outcome.code === "owner_reclaimed") return carryOn(state, ended, movedBy(state, job, ended, outcome, ranMs));
      return carryOn(state, ended, { budget: "failovers", why: outcome.code, message: outcome.message });
    case "stopped":
      if (job.intent !== null) return hasActiveReplica(job) ? undefined : endByIntent(state, job);
      return carryOn(state, ended, movedBy(state, job, ended, outcome, ranMs));
    default:
      unreachable(outcome);
  }
}

function hasRetry({ spec, retriesUsed }: JobRecord, { final }: Setback): boolean {
  return final !== true && retriesUsed < spec.retries;
}

/** It left in good order: a planned move, its own or its worker's. */
function movedBy(
  state: CoreState,
  job: JobRecord,
  ended: AttemptRecord,
  outcome: Extract<EndOutcome, { kind: "stopped" | "worker_failed" }>,
  ranMs: number,
): Setback {
  const why = outcome.kind === "stopped" ? "stopped" : "owner_reclaimed";
  const message = outcome.kind === "stopped" ? "its worker stopped it." : outcome.message;
  // When the container ended, not when its last checkpoint had been shipped.
  const stoppedAtMs = ended.startedAtMs === null ? state.nowMs : Math.min(state.nowMs, ended.startedAtMs + ranMs);
  return {
    budget: "moves",
    why: job.move === undefined ? why : "moved",
    message,
    move: { why, stoppedAtMs, saved: outcome.saved === true },
  };
}

function ownFailure(
  state: CoreState,
  job: JobRecord,
  ended: AttemptRecord,
  outcome: Extract<EndOutcome, { kind: "failed" }>,
): Setback {
  const neverRan = outcome.code === "start_failed" || outcome.code === "image_not_found";
  const before = attemptsOf(state, job.id).some(
    (attempt) => attempt.id !== ended.id && attempt.outcome?.kind === "failed" && attempt.outcome.code === outcome.code,
  );
  return {
    budget: "retries",
    why: outcome.code,
    message: `${FAILURE_TEXT[outcome.code](outcome)}${outcome.message === "" ? "" : ` (${outcome.message})`}.`,
    // What cannot start on two machines will not start on a third.
    final: neverRan && before,
  };
}

const FAILURE_TEXT: {
  readonly [Code in Extract<EndOutcome, { kind: "failed" }>["code"]]: (outcome: {
    readonly exitCode: number | null;
  }) => string;
} = {
  exit_code: ({ exitCode }) => `The container ended with exit code ${exitCode ?? "unknown"}: its logs say why`,
  oom: () => "The container used more memory than memoryMiB allows and was killed: ask for more, or use less",
  disk_exceeded: () => "The container wrote more than diskMiB allows and was stopped: ask for more, or write less",
  output_exceeded: () =>
    "Its outputs are not what the network takes: write less or otherwise, or narrow the output patterns",
  start_failed: () => "The container could not be started: check the command and the image",
  image_not_found: () => "The image was not found: check its name and tag, and that it is public",
};

// ── Checkpoints ──

/** `content`: of its tree, where the gateway read it. */
export function onCheckpoint(
  state: CoreState,
  machine: Machine,
  message: Message<"checkpoint">,
  content?: TreeContent,
): void {
  if (committedBefore(state, machine, message)) return ack(state, machine, message);
  const current = currentOf(state, machine, message.attempt);
  if (current === undefined) return refuseStale(state, machine, message, message.attempt);
  const newest = newestCheckpoint(current.job, message.attempt.replica)?.seq ?? 0;
  if (message.seq <= newest || (message.parentSeq !== newest && message.parentSeq !== 0)) {
    return refuseOrder(state, machine, message, newest);
  }
  ack(state, machine, message);
  const credited = credit(state, ...creditArgs(markStarted(state, current, current.attempt.fromSeq), message.ranMs));
  commitCheckpoint(state, machine, credited, message, content);
}

function creditArgs({ job, attempt }: Current, ranMs: number): [JobRecord, AttemptRecord, number] {
  return [job, attempt, ranMs];
}

function commitCheckpoint(
  state: CoreState,
  machine: Machine,
  { job, attempt }: Current,
  message: Message<"checkpoint">,
  content?: TreeContent,
): void {
  const checkpoint: CheckpointRecord = {
    jobId: job.id,
    seq: message.seq,
    parentSeq: message.parentSeq,
    epoch: attempt.epoch,
    workerId: machine.id,
    tree: message.tree,
    ranMs: message.ranMs,
    progress: message.progress,
    signature: message.signature,
    ...(message.shipMs === undefined ? {} : { shipMs: message.shipMs }),
    ...(content === undefined || job.mirror === undefined ? {} : { content }),
    committedAtMs: state.nowMs,
  };
  const all = [...checkpointsOf(job, attempt.replica), checkpoint];
  const standby = liveStandby(state, job);
  const fetched = standby === undefined ? undefined : fetchedSeq(standby, all);
  const from = all.length - job.spec.checkpoint.keep;
  const isKept = ({ seq }: CheckpointRecord, index: number) => index >= from || seq === fetched;
  const kept = all.filter(isKept);
  const dropped = all.filter((old, index) => !isKept(old, index));
  const saved = patchJob(state, job, withCheckpoints(job, attempt.replica, kept));
  state.volatile.storageNoted.delete(job.id);
  if (!attempt.committed) put(state, "attempts", attempt.id, { ...attempt, committed: true });
  if (dropped.length > 0) {
    const trees = dropped.map((old) => old.tree);
    effect(state, { kind: "collect", accountId: job.accountId, jobId: job.id, trees });
  }
  const { seq, epoch, ranMs, progress, tree } = checkpoint;
  const { bytes, bytesMoved } = tree;
  const shipMs = checkpoint.shipMs ?? null;
  const of = { epoch, ...replicaIn(saved, attempt) };
  emitJob(state, saved, "checkpoint", { seq, ...of, ranMs, progress, bytes, bytesMoved, shipMs }, attempt);
  const stepped = noteStep(state, saved, attempt);
  const compared = stepped.mirror === undefined ? stepped : compareCheckpoint(state, stepped, attempt, checkpoint);
  if (attempt.replica !== 0) return;
  const spaced = noteInterval(state, compared, attempt, checkpoint, message.intervalS);
  sendStandbyCheckpoint(state, spaced);
}

/** The worker takes checkpoints less often than was asked for, because its line does not keep up; or as asked again. */
function noteInterval(
  state: CoreState,
  job: JobRecord,
  attempt: AttemptRecord,
  { seq, epoch, shipMs, tree }: CheckpointRecord,
  said: number | undefined,
): JobRecord {
  const askedS = job.spec.checkpoint.intervalS;
  const intervalS = said === undefined || said <= askedS ? null : said;
  if (intervalS === job.checkpointIntervalS) return job;
  const effectiveS = intervalS ?? askedS;
  const why = effectiveS > (job.checkpointIntervalS ?? askedS) ? "uplink_slow" : "uplink_quick";
  const { bytesMoved } = tree;
  emitJob(
    state,
    job,
    "checkpoint_interval",
    { askedS, effectiveS, why, seq, epoch, shipMs: shipMs ?? null, bytesMoved },
    attempt,
  );
  return patchJob(state, job, { checkpointIntervalS: intervalS });
}

/** The same checkpoint came again: its acknowledgement was lost. */
function committedBefore(state: CoreState, machine: Machine, message: Message<"checkpoint">): boolean {
  const job = state.rows.jobs.get(message.attempt.jobId);
  if (job === undefined) return false;
  return checkpointsOf(job, message.attempt.replica).some(
    ({ seq, workerId, tree }) =>
      seq === message.seq && workerId === machine.id && tree.manifestCid === message.tree.manifestCid,
  );
}

function refuseOrder(state: CoreState, machine: Machine, message: Message<"checkpoint">, newest: number): void {
  send(state, machine.id, {
    kind: "refused",
    re: message.msg,
    code: "checkpoint_out_of_order",
    message: `checkpoint ${message.seq} with parent ${message.parentSeq} does not follow ${newest}, the newest that is committed`,
  });
}

// ── Stopping ──

/** Asks for a running attempt to be stopped; by the stop deadline the job ends with or without an answer. */
export function stopAttempt(state: CoreState, job: JobRecord, intent: StopIntent): void {
  const phase = fire(state, jobTable, job.phase, "stopping");
  const stopping = patchJob(state, job, { intent, ...(phase === undefined ? {} : { phase }) });
  emitJob(state, stopping, "stopping", { reason: intent });
  armStop(state, stopping);
  sendStop(state, stopping);
}

export function armStop(state: CoreState, job: JobRecord): void {
  const stopAtMs = Math.max(state.nowMs, savingUntilMs(job) ?? 0);
  state.deadlines.set(deadlineKey.stop(job.id), stopAtMs + job.spec.stopGraceS * 1_000 + state.config.stopMarginMs);
}

/** Until when a job that has nearly used up its budget may still work and save. */
function savingUntilMs({ intent, cap }: JobRecord): number | null {
  return intent === "budget" && cap?.phase === "saving" ? (cap.savingUntilMs ?? null) : null;
}

/** Tells the job's worker (of each replica) to stop, again if need be. */
export function sendStop(state: CoreState, job: JobRecord): void {
  const { intent } = job;
  // Who was asked to save for the last time is stopped when that time is over.
  if (intent === null || savingUntilMs(job) !== null) return;
  // Workers know of no budgets, and it is the same to them.
  const reason = intent === "budget" ? "deadline" : intent;
  for (const attempt of activeAttempts(state, job)) {
    send(state, attempt.workerId, { kind: "stop", attempt: refOf(attempt), reason });
  }
}
