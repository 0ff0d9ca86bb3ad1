// What is due by time. Deadlines are only hints to look: each handler judges by the state as it is now.
import type { AttemptId, JobId, WorkerId } from "@qubix/shared/domain";
import { dueAtMs } from "./case-rows.ts";
import { onCaseDue } from "./cases.ts";
import { armEnrolment } from "./accounts.ts";
import { armChainPay, onChainPayDue } from "./chain.ts";
import { armStop, stopAttempt } from "./attempts.ts";
import { armBudget } from "./budget-deadline.ts";
import { onBudgetDue } from "./budget-watch.ts";
import { putBack } from "./dispatch.ts";
import type { AttemptRecord } from "./model.ts";
import type { Deadline } from "./deadline-heap.ts";
import { explainOnce } from "./explain.ts";
import { carryOn, endByIntent, fenceAttempt, fenceRest } from "./failover.ts";
import { isActiveAttempt } from "./indexes.ts";
import { endJob } from "./job-end.ts";
import { epochOf } from "./mirror-state.ts";
import { activeAttempts } from "./mirror.ts";
import { armMove, onMoveDue } from "./moves.ts";
import { onLeaseDue } from "./lease-over.ts";
import { onLongWaitsDue } from "./long-waits.ts";
import { armLeaseWait } from "./lease-wait.ts";
import { armRelease, onReleaseDue } from "./pending-pay.ts";
import { onChallengeDue, seekProof } from "./proofs.ts";
import { armQueue } from "./queue-deadline.ts";
import { fleetHeldUntilMs, heldUntilMs, onHoldDue } from "./mass-silence.ts";
import { waitsForWorker } from "./not-heard.ts";
import { armDuration, deadlineKey } from "./silence.ts";
import type { CoreState } from "./state.ts";
import { put } from "./tables.ts";
import { onRestart, onSilenceDue } from "./workers.ts";

/** Handles what is due, up to a bound per step. */
export function onTimer(state: CoreState): void {
  for (let handled = 0; handled < state.config.deadlinesPerStepMax; handled += 1) {
    const due = state.deadlines.pop(state.nowMs);
    if (due === undefined) return;
    state.step.handling = due.key;
    handle(state, due);
  }
  state.step.handling = null;
}

function handle(state: CoreState, due: Deadline): void {
  const id = due.key.slice(2);
  switch (due.key.charAt(0)) {
    case "w": {
      const machine = state.ix.machines.get(id as WorkerId);
      return machine === undefined ? undefined : onSilenceDue(state, machine, due);
    }
    case "q":
      return onQueueDue(state, id as JobId);
    case "a":
      return onAttemptDue(state, id as AttemptId);
    case "d":
      return onDurationDue(state, id as AttemptId);
    case "s":
      return onStopDue(state, id as JobId);
    case "l":
      return onLeaseDue(state, id as JobId);
    case "b":
      return onStandbyRetryDue(state, id as JobId);
    case "m":
      return onMoveDue(state, id as JobId);
    case "u":
      return onBudgetDue(state, id as JobId);
    case "v":
      return onLongWaitsDue(state);
    case "r":
      return putBack(state, id as JobId);
    case "i":
      return removeRow(state, "idempotency", id);
    case "p": {
      const machine = state.ix.machines.get(id as WorkerId);
      return machine === undefined ? undefined : seekProof(state, machine);
    }
    case "c": {
      const machine = state.ix.machines.get(id as WorkerId);
      return machine === undefined ? undefined : onChallengeDue(state, machine);
    }
    case "x":
      return onChainPayDue(state, id as JobId);
    case "h":
      return onHoldDue(state, id);
    case "k":
      return onCaseDue(state, id);
    case "y":
      return onReleaseDue(state, id);
    case "e":
      return removeRow(state, "enrolments", id);
    default:
  }
}

/** A job that waited for `queueS` ends, and is told why there was nothing. */
function onQueueDue(state: CoreState, id: JobId): void {
  const job = state.rows.jobs.get(id);
  if (job?.phase !== "queued") return;
  // While much of the fleet is silent at once, that there is no offer says nothing.
  const heldMs = fleetHeldUntilMs(state);
  if (heldMs !== undefined) return state.deadlines.set(deadlineKey.queue(id), heldMs);
  const alone = job.mirror === undefined || job.mirror.results.length === 0 ? "" : ` ${RESULT_ALONE}`;
  const message = `No offer fitted within queueS (${job.spec.queueS} s).${alone} ${explainOnce(state, job)}`;
  endJob(state, job, { event: "failed", reason: "no_offer", message });
}

const RESULT_ALONE =
  "There is a result, but no other provider's that agrees with it, and standby: mirror accepts none alone. An offer of yet another provider was needed.";

/** It did not start, or its outputs did not arrive, in all that time. */
function onAttemptDue(state: CoreState, id: AttemptId): void {
  const attempt = state.rows.attempts.get(id);
  if (attempt === undefined || !isActiveAttempt(attempt) || attempt.phase === "running") return;
  if (waitsForHold(state, attempt, deadlineKey.attempt(id))) return;
  const uploading = attempt.phase === "exited";
  fenceAttempt(state, attempt);
  carryOn(state, attempt, {
    budget: "failovers",
    why: uploading ? "output_timeout" : "start_timeout",
    message: uploading ? "its outputs were not uploaded in time." : "its container did not start in time.",
  });
}

function onDurationDue(state: CoreState, id: AttemptId): void {
  const attempt = state.rows.attempts.get(id);
  const job = attempt === undefined ? undefined : state.rows.jobs.get(attempt.jobId);
  if (
    attempt?.phase !== "running" ||
    job === undefined ||
    epochOf(job, attempt.replica) !== attempt.epoch ||
    job.intent !== null
  )
    return;
  if (waitsForWorker(state, attempt, deadlineKey.duration(attempt.id))) return;
  stopAttempt(state, job, "deadline");
}

/** The stop was not confirmed: the attempt is fenced and the job ends without it. */
function onStopDue(state: CoreState, id: JobId): void {
  const job = state.rows.jobs.get(id);
  if (job === undefined || job.intent === null) return;
  if (activeAttempts(state, job).some((attempt) => waitsForHold(state, attempt, deadlineKey.stop(id)))) return;
  endByIntent(state, fenceRest(state, job));
}

/** Its worker is silent together with many: what it may have done or said in time is waited for. Moves the deadline then. */
function waitsForHold(state: CoreState, attempt: AttemptRecord, key: string): boolean {
  const machine = state.ix.machines.get(attempt.workerId);
  if (machine === undefined || machine.worker.phase !== "suspect" || machine.cut) return false;
  const untilMs = heldUntilMs(state, machine);
  if (untilMs === undefined) return false;
  state.deadlines.set(key, untilMs);
  return true;
}

function onStandbyRetryDue(state: CoreState, id: JobId): void {
  if (!state.volatile.blockedStandbys.delete(id)) return;
  state.volatile.openStandbys.set(id, null);
  state.volatile.dispatchPending = true;
}

function removeRow(state: CoreState, table: "idempotency" | "enrolments", id: string): void {
  if (state.rows[table].has(id)) put(state, table, id, null);
}

/** After a start: every deadline anew from the rows. What would be due already gets the grace in which workers come back. */
export function armAll(state: CoreState): void {
  const { restartGraceMs, closeGraceMs } = state.config;
  const notBeforeMs = state.nowMs + restartGraceMs;
  for (const job of state.rows.jobs.values()) {
    if (job.leaseWait !== undefined && job.leaseWait !== null) armLeaseWait(state, job, job.leaseWait);
    else if (job.phase === "queued") armQueue(state, job, notBeforeMs);
    else if (job.intent !== null) armStop(state, job);
    armMove(state, job, notBeforeMs);
    // As with durations: later than its worker may be lost.
    armBudget(state, job, notBeforeMs + closeGraceMs);
  }
  for (const attempt of state.rows.attempts.values()) {
    const job = state.rows.jobs.get(attempt.jobId);
    if (job === undefined || !isActiveAttempt(attempt)) continue;
    // Later than its worker may be lost: time that nobody worked must not end a job.
    if (attempt.phase === "running") armDuration(state, job, attempt, notBeforeMs + closeGraceMs);
    else armAttempt(state, attempt.id, attempt.phase === "exited");
  }
  for (const { id, expiresAtMs } of state.rows.idempotency.values()) {
    state.deadlines.set(deadlineKey.idempotency(id), expiresAtMs);
  }
  for (const release of state.rows.releases.values()) armRelease(state, release);
  for (const enrolment of state.rows.enrolments.values()) armEnrolment(state, enrolment);
  for (const pay of state.rows.chainPays.values()) armChainPay(state, pay);
  for (const each of state.rows.cases.values()) {
    const dueMs = dueAtMs(each);
    if (dueMs !== null) state.deadlines.set(deadlineKey.case(each.id), dueMs);
  }
  for (const machine of state.ix.machines.values()) onRestart(state, machine);
}

function armAttempt(state: CoreState, id: AttemptId, exited: boolean): void {
  const { outputTimeoutMs, startTimeoutMs } = state.config;
  state.deadlines.set(deadlineKey.attempt(id), state.nowMs + (exited ? outputTimeoutMs : startTimeoutMs));
}
