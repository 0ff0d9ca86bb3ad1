// An `exclusive` job waits: its attempt is gone, and the container may run on until its worker's guard pauses it.
//
// The guard does so `exclusiveLeaseMs` after the worker sent the last heartbeat that we answered. We know when we heard it, which is later, so that lease
// is surely over `exclusiveLeaseMs` after the last sign of life that came before the attempt was given up; the margin is for the pause to take effect.
// Heartbeats that come afterwards are answered too, but extend nothing: the fence that goes out before their answer takes the attempt off the worker's list.
// What an earlier life of ours heard and answered last, nobody knows; it was before our start.
import { jobTable } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { isExclusive } from "./exclusive.ts";
import type { AttemptRecord, JobRecord, LeaseWait } from "./model.ts";
import { newestCheckpoint } from "./placing.ts";
import { deadlineKey } from "./silence.ts";
import type { CoreState } from "./state.ts";
import { emitJob, fire, machineOf, markLog, patchJob } from "./tables.ts";

/** From when on a successor of `gone` may start, on the orchestrator's clock; null where it may at once. */
export function leaseWaitOf(state: CoreState, job: JobRecord, gone: AttemptRecord, why: string): LeaseWait | null {
  if (!isExclusive(job)) return null;
  const { stopped } = state.rows.attempts.get(gone.id) ?? gone;
  if (stopped !== undefined) return null;
  const untilMs = wholeLeaseFrom(state, machineOf(state, gone.workerId).heardMs);
  if (untilMs <= state.nowMs) return null;
  return { epoch: gone.epoch, workerId: gone.workerId, untilMs, why };
}

/** The job waits; a standby that it has is kept. The caller has counted the failover. */
export function waitForLease(state: CoreState, job: JobRecord, gone: AttemptRecord, wait: LeaseWait): void {
  const phase = fire(state, jobTable, job.phase, "interrupted");
  assert(phase !== undefined, `job ${job.id} cannot wait for a lease in phase ${job.phase}`);
  const waiting = patchJob(state, job, { phase, queuedAtMs: state.nowMs, leaseWait: wait });
  armLeaseWait(state, waiting, wait);
  const { epoch, workerId, untilMs, why } = wait;
  const fromSeq = newestCheckpoint(waiting)?.seq ?? 0;
  const workLostMs = state.rows.attempts.get(gone.id)?.workLostMs ?? 0;
  emitJob(
    state,
    waiting,
    "lease_wait",
    { epoch, workerId, waitMs: untilMs - state.nowMs, why, fromSeq, workLostMs },
    gone,
  );
  markLog(
    state,
    waiting,
    `-- attempt ${epoch} is out of sight (${why}): nobody else starts before its lease is over --`,
  );
}

/** Sets, after a start of ours again, the deadline by which the lease is over. */
export function armLeaseWait(state: CoreState, job: JobRecord, wait: LeaseWait): void {
  state.deadlines.set(deadlineKey.lease(job.id), leaseOverAtMs(state, wait));
}

/** A start of ours begins the wait anew: whatever the clock did meanwhile, a whole lease passes under our eyes. */
export function leaseOverAtMs(state: CoreState, wait: LeaseWait): number {
  return Math.max(wait.untilMs, wholeLeaseFrom(state, 0));
}

function wholeLeaseFrom(state: CoreState, heardMs: number): number {
  const { exclusiveLeaseMs, exclusiveMarginMs } = state.config;
  return Math.max(heardMs, state.volatile.bootedAtMs) + exclusiveLeaseMs + exclusiveMarginMs;
}
