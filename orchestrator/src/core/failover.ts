// What becomes of a job when its attempt is gone: its ready standby is promoted, or it waits for another place, or it ends. And the way back:
// an attempt that was given up too early goes on, as long as its successor has committed nothing.
import { attemptTable, jobTable, standbyId as standbyIdOf } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { armBudget } from "./budget-deadline.ts";
import { chargedSoFar } from "./charges.ts";
import { isPartOfOtherRun } from "./check-places.ts";
import { isExclusive } from "./exclusive.ts";
import { isActiveAttempt, waitsForPlace } from "./indexes.ts";
import { exhaustedText } from "./job-cap.ts";
import { endJob, type JobEnd } from "./job-end.ts";
import { leaseWaitOf, waitForLease } from "./lease-wait.ts";
import { leaseEnd, type LeaseEnd } from "./leases.ts";
import type { Machine } from "./machine.ts";
import { hasActiveReplica, openRuns, replicaIn, replicaOf, runOf } from "./mirror-state.ts";
import { activeAttempts, mayReturn, noteReplicaOver, reportReplicaLost } from "./mirror.ts";
import type { AttemptRecord, JobRecord, MoveReason, RecoveryRecord, StandbyRecord } from "./model.ts";
import { dropMove, noteMoveStopped, placeAsAsked } from "./moves.ts";
import { newAttempt, newestCheckpoint, type Placed, reportMatched, sendPromote } from "./placing.ts";
import { armQueue } from "./queue-deadline.ts";
import { interrupted, placedAgain, undone } from "./recovery.ts";
import { allocationFree } from "./resources.ts";
import { armDuration, deadlineKey } from "./silence.ts";
import { blame } from "./standing.ts";
import { consumeStandby, deferStandby, loseStandby, noteStandbyFailure } from "./standbys.ts";
import type { CoreState } from "./state.ts";
import { workAtRiskMs } from "./work-at-risk.ts";
import {
  attemptsOf,
  countUp,
  emitJob,
  fire,
  jobOf,
  liveStandby,
  machineOf,
  markLog,
  noteIncident,
  patchJob,
  put,
  refOf,
  send,
} from "./tables.ts";

/** What went wrong, and which budget it uses. */
export interface Setback {
  readonly budget: "retries" | "failovers" | "moves";
  /** For the timeline, and the job's reason when its budget is used up. */
  readonly why: string;
  /** For people. */
  readonly message: string;
  /** Over at once, whatever the budget says. */
  readonly final?: boolean;
  /** Of a move: when its container ended, and whether what it saved last is all that it did. */
  readonly move?: { readonly why: MoveReason; readonly stoppedAtMs: number; readonly saved: boolean };
}

/** Gives an attempt up because its worker is gone, and carries on without it. Until a successor commits something it may be undone. */
export function loseAttempt(state: CoreState, attempt: AttemptRecord, lease: LeaseEnd, setback: Setback): void {
  const phase = fire(state, attemptTable, attempt.phase, "lost");
  if (phase === undefined) return;
  closeAttempt(state, attempt, { phase, lease: leaseEnd(state, attempt.lease, lease) });
  carryOn(state, attempt, setback);
}

/** Withdraws an attempt for good: nothing of it is accepted any more. */
export function fenceAttempt(state: CoreState, attempt: AttemptRecord): void {
  // After its exit the table knows no fence: it is lost then, and fenced on the wire all the same.
  const event = attempt.phase === "exited" ? "lost" : "fenced";
  const phase = fire(state, attemptTable, attempt.phase, event);
  assert(phase !== undefined, `attempt ${attempt.id} ended twice`);
  closeAttempt(state, attempt, { phase, lease: leaseEnd(state, attempt.lease, "revoked") });
  send(state, attempt.workerId, { kind: "fence", attempt: refOf(attempt) });
}

/** Puts the attempt's last row and forgets its deadlines. */
export function closeAttempt(state: CoreState, attempt: AttemptRecord, patch: Partial<AttemptRecord>): AttemptRecord {
  const closed = { ...attempt, ...patch, endedAtMs: state.nowMs };
  put(state, "attempts", attempt.id, closed);
  state.deadlines.clear(deadlineKey.attempt(attempt.id));
  state.deadlines.clear(deadlineKey.duration(attempt.id));
  noteReplicaOver(state, attempt);
  return closed;
}

/** The job's next step after `gone`, its current attempt, ended without a result. */
export function carryOn(state: CoreState, gone: AttemptRecord, setback: Setback): void {
  const job = state.rows.jobs.get(gone.jobId);
  assert(job !== undefined, `job ${gone.jobId} is not in memory`);
  if (job.intent !== null) return hasActiveReplica(job) ? undefined : endByIntent(state, job);
  if (isUsedUp(state, job)) return endJob(state, fenceRest(state, job), outOfBudget(job));
  const { retriesUsed, failoversUsed, movesUsed = 0, spec } = job;
  const movesLeft = state.config.movesPerJobMax - movesUsed;
  // Who moves a job for ever does it no favour.
  const budget = setback.budget === "moves" && movesLeft <= 0 ? "failovers" : setback.budget;
  const left = { retries: spec.retries - retriesUsed, failovers: spec.failoversMax - failoversUsed, moves: movesLeft };
  if (setback.final === true || left[budget] <= 0) return endJob(state, fenceRest(state, job), exhausted(job, setback));
  const workLostMs = setback.move?.saved === true ? 0 : workAtRiskMs(state, job, gone);
  const row = state.rows.attempts.get(gone.id);
  if (row !== undefined && workLostMs > 0) put(state, "attempts", gone.id, { ...row, workLostMs });
  const used = {
    retries: { retriesUsed: retriesUsed + 1 },
    failovers: { failoversUsed: failoversUsed + 1 },
    moves: { movesUsed: movesUsed + 1 },
  };
  const next = patchJob(state, job, {
    workLostMs: job.workLostMs + workLostMs,
    troubledWorkers: withTroubled(state, job, gone),
    // While the other replica works nothing is interrupted.
    ...(hasActiveReplica(job)
      ? {}
      : { recovery: interrupted(state, job, gone, { cause: causeOf(setback), why: setback.why, workLostMs }) }),
    ...used[budget],
  });
  countUp(state, budget);
  if (budget === "failovers") noteIncident(state, "failover", refOf(gone));
  if (hasActiveReplica(next)) {
    // Where it went wrong before it goes again only after a while: what fails at once must not use up the job while its other replica works.
    if (job.troubledWorkers.includes(gone.workerId)) noteStandbyFailure(state, next);
    const fromSeq = newestCheckpoint(next, gone.replica)?.seq ?? 0;
    return reportReplicaLost(state, next, gone, { why: setback.why, workLostMs, fromSeq });
  }
  const standby = liveStandby(state, next);
  const takesOver = standby !== undefined && canPromote(state, standby);
  const { move } = setback;
  const going =
    move === undefined
      ? dropMove(state, next, setback.why, takesOver)
      : noteMoveStopped(state, next, gone, { ...move, workLostMs });
  const wait = leaseWaitOf(state, going, gone, setback.why);
  if (wait !== null) return waitForLease(state, going, gone, wait);
  const what = { why: setback.why, workLostMs, from: gone };
  if (takesOver) return void promote(state, going, standby, "promoted", what);
  requeue(state, going, liveStandby(state, going), what);
  placeAsAsked(state, going.id);
}

/** A job that ends takes the replica that still works with it. */
export function fenceRest(state: CoreState, job: JobRecord): JobRecord {
  for (const attempt of activeAttempts(state, job)) fenceAttempt(state, attempt);
  return jobOf(state, job.id);
}

function causeOf({ budget }: Setback): RecoveryRecord["cause"] {
  if (budget === "retries") return "retry";
  return budget === "moves" ? "move" : "failover";
}

export function canPromote(state: CoreState, standby: StandbyRecord): boolean {
  return standby.phase === "ready" && machineOf(state, standby.workerId).worker.phase === "online";
}

export interface Interruption {
  readonly why: string;
  readonly workLostMs: number;
  readonly from: AttemptRecord | null;
}

/** A ready standby takes the job over, under the next epoch. */
export function promote(
  state: CoreState,
  job: JobRecord,
  standby: StandbyRecord,
  event: "promoted" | "placed",
  { why, workLostMs, from }: Interruption,
): Placed {
  const machine = machineOf(state, standby.workerId);
  const freed = consumeStandby(state, job, standby);
  const { allocation, fullRatePerHour: ratePerHour, parts, egress } = standby;
  const place = { machine, allocation, ratePerHour, parts, egress };
  const placed = placedAgain(state, newAttempt(state, freed, event, place), "hot");
  deferStandby(state, placed.job);
  const { epoch, workerId, fromSeq } = placed.attempt;
  countUp(state, "promotions");
  noteIncident(state, "promotion", refOf(placed.attempt));
  emitJob(
    state,
    placed.job,
    "promoted",
    { epoch, workerId, fromSeq, workLostMs, why, fromWorkerId: from?.workerId ?? null, standbyId: standby.id },
    placed.attempt,
  );
  markLog(state, placed.job, `-- attempt ${epoch} on ${workerId}, from ${checkpointName(fromSeq)} (${why}) --`);
  sendPromote(state, placed.job, placed.attempt, standby);
  return placed;
}

/** A job that waits, and whose standby became ready meanwhile, is placed on it. */
export function placeOnStandby(state: CoreState, job: JobRecord): void {
  const standby = liveStandby(state, job);
  if (!waitsForPlace(job) || standby === undefined || !canPromote(state, standby)) return;
  const placed = promote(state, job, standby, "placed", { why: "standby_ready", workLostMs: 0, from: null });
  reportMatched(state, placed);
}

/** The job waits for another place. */
export function requeue(
  state: CoreState,
  job: JobRecord,
  standby: StandbyRecord | undefined,
  what: Interruption,
): void {
  // A standby that is ready on a worker we do not hear is no help, and is not paid while nothing runs.
  const kept =
    standby !== undefined && standby.phase === "ready" ? loseStandby(state, job, standby, "revoked", "not_heard") : job;
  const phase = fire(state, jobTable, kept.phase, "interrupted");
  assert(phase !== undefined, `job ${job.id} cannot wait again in phase ${kept.phase}`);
  const waiting = patchJob(state, kept, { phase, queuedAtMs: state.nowMs });
  const [run = 0] = openRuns(waiting);
  const fromSeq = newestCheckpoint(waiting, replicaOf(run))?.seq ?? 0;
  armQueue(state, waiting);
  const { why, workLostMs, from } = what;
  emitJob(
    state,
    waiting,
    "requeued",
    { why, workLostMs, fromSeq, fromWorkerId: from?.workerId ?? null },
    from ?? undefined,
  );
  markLog(state, waiting, `-- attempt ${waiting.epoch} is over (${why}), to go on from ${checkpointName(fromSeq)} --`);
}

/** Ends a job that was being stopped by us. */
export function endByIntent(state: CoreState, job: JobRecord): void {
  if (job.intent === "deadline") {
    const message = `It used up its durationMaxS of ${job.spec.durationMaxS} s of running time. Give it more, or resume from its newest checkpoint.`;
    return endJob(state, job, { event: "failed", reason: "deadline", message });
  }
  if (job.intent === "budget") return endJob(state, job, outOfBudget(job));
  endJob(state, job, { event: "cancelled", reason: "cancelled", message: "It was cancelled on request." });
}

/** Nothing is left to pay anybody else with. */
function isUsedUp(state: CoreState, job: JobRecord): boolean {
  return job.cap !== undefined && job.mirror === undefined && chargedSoFar(state, job) >= job.cap.amount;
}

function outOfBudget(job: JobRecord): JobEnd {
  return { event: "failed", reason: "budget_exhausted", message: exhaustedText(job) };
}

function exhausted(job: JobRecord, setback: Setback): { event: "failed"; reason: string; message: string } {
  if (setback.budget === "retries" || setback.final === true) {
    const tried = job.retriesUsed > 0 ? ` It was tried ${job.retriesUsed + 1} times.` : "";
    return { event: "failed", reason: setback.why, message: `${setback.message}${tried}` };
  }
  const message = `It was moved ${job.failoversUsed} times, as often as failoversMax allows, and lost its worker again: ${setback.message}`;
  return { event: "failed", reason: "failovers_exhausted", message };
}

// ── Undo ──

/** Whether a lost attempt whose container still runs, or has its result, can go on in place of what followed it. */
export function canUndo(state: CoreState, job: JobRecord, lost: AttemptRecord): boolean {
  if (lost.phase !== "lost" || job.intent !== null) return false;
  if (job.phase !== "queued" && job.phase !== "starting" && job.phase !== "running") return false;
  const successors = attemptsOf(state, job.id).filter(
    ({ replica, epoch }) => replica === lost.replica && epoch > lost.epoch,
  );
  if (!mayReturn(state, job, lost) || successors.some((attempt) => attempt.committed)) return false;
  if (isPartOfOtherRun(state, job, lost.providerId)) return false;
  // A successor of an exclusive attempt runs, or is about to: it cannot be taken back in no time.
  if (isExclusive(job) && successors.length > 0) return false;
  const machine = state.ix.machines.get(lost.workerId);
  return machine !== undefined && allocationFree(machine, lost.allocation);
}

/** The returning container gets the next epoch and the one that replaced it is fenced, unpaid, in one step. The caller sends `adopt`. */
export function undo(state: CoreState, job: JobRecord, lost: AttemptRecord): void {
  const successor = attemptsOf(state, job.id).findLast(({ replica }) => replica === lost.replica);
  if (successor !== undefined && isActiveAttempt(successor)) fenceAttempt(state, successor);
  // A false alarm costs nothing: neither the work nor the failover counts.
  const restored = patchJob(state, jobOf(state, job.id), {
    workLostMs: Math.max(0, job.workLostMs - lost.workLostMs),
    failoversUsed: Math.max(0, job.failoversUsed - 1),
    // Where the other replica worked meanwhile nothing was interrupted.
    ...(hasActiveReplica(job) && job.mirror !== undefined ? {} : { recovery: undone(state, job, lost) }),
  });
  const machine = machineOf(state, lost.workerId);
  const { attempt, job: running } = newAttempt(state, restored, "restored", {
    machine,
    allocation: lost.allocation,
    ratePerHour: lost.ratePerHour,
    parts: lost.parts,
    adopts: lost,
    run: runOf(job, lost),
  });
  put(state, "attempts", lost.id, { ...lost, workLostMs: 0 });
  const phase = fire(state, attemptTable, attempt.phase, "started");
  assert(phase !== undefined, `attempt ${attempt.id} cannot start`);
  const started = { ...attempt, phase, startedAtMs: attempt.startedAtMs ?? state.nowMs };
  put(state, "attempts", attempt.id, started);
  state.deadlines.clear(deadlineKey.attempt(attempt.id));
  if (running.startedAtMs === null) patchJob(state, running, { startedAtMs: started.startedAtMs });
  armDuration(state, running, started);
  armBudget(state, jobOf(state, job.id));
  blame(state, machine, "undone");
  countUp(state, "undos");
  noteIncident(state, "undo", refOf(started));
  const { epoch, workerId } = started;
  const fencedEpoch = successor !== undefined && successor.id !== lost.id ? successor.epoch : null;
  const of = { epoch, ...replicaIn(running, started), workerId };
  emitJob(state, running, "undone", { ...of, adoptedEpoch: lost.epoch, fencedEpoch }, started);
  markLog(state, running, `-- attempt ${lost.epoch} is back on ${workerId} and goes on as attempt ${epoch} --`);
}

/** The standby of this job, on this machine, that an attempt was made from; `undefined` for none. */
export function promotedStandbyOn(state: CoreState, job: JobRecord, machine: Machine): StandbyRecord | undefined {
  for (let n = job.standbysMade; n >= 1; n -= 1) {
    const standby = state.rows.standbys.get(standbyIdOf(job.id, n));
    if (standby?.phase === "promoted" && standby.workerId === machine.id) return standby;
  }
  return undefined;
}

function withTroubled(state: CoreState, job: JobRecord, gone: AttemptRecord): JobRecord["troubledWorkers"] {
  const others = job.troubledWorkers.filter((id) => id !== gone.workerId);
  return [...others, gone.workerId].slice(-state.config.troubledWorkersMax);
}

function checkpointName(seq: number): string {
  return seq === 0 ? "the beginning" : `checkpoint ${seq}`;
}
