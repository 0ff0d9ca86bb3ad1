// Hot standbys: reserved on another worker, prepared there, kept at the newest checkpoint, and paid from ready until they are promoted, released or lost.
import { standbyId, standbyTable, type StandbyEvent } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { armBudget } from "./budget-deadline.ts";
import { egressTermsAt } from "./egress-offers.ts";
import { leaseEnd, type LeaseEnd } from "./leases.ts";
import type { Machine } from "./machine.ts";
import { presentUntilMs, standbyCreditMs } from "./metering.ts";
import type { JobRecord, StandbyRecord } from "./model.ts";
import { allocate, checkpointRefOf, newestCheckpoint, runSpecOf } from "./placing.ts";
import { keptParts, needsOf, type StandbyRates } from "./resources.ts";
import { deadlineKey, expectBusy, watch } from "./silence.ts";
import type { CoreState, StandbyFailure } from "./state.ts";
import { emitJob, fire, liveStandby, machineOf, patchJob, put, send } from "./tables.ts";

/** Reserves a machine that fits for a hot job. */
export function reserveStandby(state: CoreState, job: JobRecord, machineId: Machine["id"], rates: StandbyRates): void {
  const machine = machineOf(state, machineId);
  expectBusy(state, machine);
  const made = job.standbysMade + 1;
  const newest = newestCheckpoint(job);
  const standby: StandbyRecord = {
    id: standbyId(job.id, made),
    jobId: job.id,
    workerId: machine.id,
    providerId: machine.worker.providerId,
    phase: standbyTable.initial,
    lease: "active",
    allocation: allocate(machine, needsOf(job.spec)),
    ...rates,
    ...partsKept(machine, job),
    ...egressTermsAt(machine, job),
    checkpointSeq: 0,
    ...(newest === undefined ? {} : { fetchingSeq: newest.seq }),
    reservedAtMs: state.nowMs,
    readyAtMs: null,
    endedAtMs: null,
    creditedMs: 0,
  };
  const { standbyRateMax } = job;
  const nextJob = patchJob(state, job, {
    standbyId: standby.id,
    standbysMade: made,
    standbyRateMax: rates.ratePerHour > standbyRateMax ? rates.ratePerHour : standbyRateMax,
  });
  assert(
    nextJob.rateMax + nextJob.standbyRateMax <= job.spec.priceMaxPerHour.amount,
    `job ${job.id} with its standby would cost more than its cap`,
  );
  put(state, "standbys", standby.id, standby);
  watch(state, machine);
  const rate = { ratePerHour: rates.ratePerHour.toString(), currency: job.currency };
  emitJob(state, job, "standby_reserved", { standbyId: standby.id, workerId: machine.id, ...rate }, standby);
  sendPrepare(state, nextJob, standby);
}

function partsKept(machine: Machine, job: JobRecord): Pick<StandbyRecord, "parts"> {
  const parts = keptParts(machine, needsOf(job.spec), job.currency);
  return parts === undefined ? {} : { parts };
}

export function sendPrepare(state: CoreState, job: JobRecord, standby: StandbyRecord): void {
  send(state, standby.workerId, {
    kind: "prepare",
    standbyId: standby.id,
    jobId: job.id,
    run: runSpecOf(job, standby.allocation, machineOf(state, standby.workerId)),
    checkpoint: checkpointRefOf(newestCheckpoint(job)),
  });
}

/** Tells the job's standby of the newest checkpoint. */
export function sendStandbyCheckpoint(state: CoreState, job: JobRecord): void {
  const standby = liveStandby(state, job);
  const checkpoint = checkpointRefOf(newestCheckpoint(job));
  if (standby === undefined || checkpoint === null) return;
  send(state, standby.workerId, { kind: "standby.checkpoint", standbyId: standby.id, checkpoint });
}

/** The worker says that image, container and this checkpoint are in place. */
export function standbyPrepared(state: CoreState, job: JobRecord, standby: StandbyRecord, checkpointSeq: number): void {
  const phase = fire(state, standbyTable, standby.phase, "prepared");
  const newest = newestCheckpoint(job)?.seq ?? 0;
  const seq = Math.max(standby.checkpointSeq, Math.min(checkpointSeq, newest));
  if (phase === undefined) {
    if (seq === standby.checkpointSeq) return;
    const behindMs = behind(job, standby, state.nowMs).behindMs;
    put(state, "standbys", standby.id, arrivedAt(standby, seq, newest));
    const { id, workerId } = standby;
    emitJob(state, job, "standby_checkpoint", { standbyId: id, workerId, seq, newestSeq: newest, behindMs }, standby);
    return;
  }
  put(state, "standbys", standby.id, { ...arrivedAt(standby, seq, newest), phase, readyAtMs: state.nowMs });
  armBudget(state, job);
  setFailure(state, job, undefined);
  emitJob(
    state,
    job,
    "standby_ready",
    { standbyId: standby.id, workerId: standby.workerId, checkpointSeq: seq },
    standby,
  );
}

/** It has a checkpoint, and goes for the newest if that is another one. */
function arrivedAt(standby: StandbyRecord, seq: number, newest: number): StandbyRecord {
  const { fetchingSeq: _, ...rest } = standby;
  return { ...rest, checkpointSeq: seq, ...(newest > seq ? { fetchingSeq: newest } : {}) };
}

/**
 * The checkpoint that the job's standby is perhaps fetching now: it is kept until it has it, or a standby on a slow line would never see the end of one.
 * One that had the newest goes for the first that comes after it.
 */
export function fetchedSeq(standby: StandbyRecord, checkpoints: JobRecord["checkpoints"]): number | undefined {
  return standby.fetchingSeq ?? checkpoints.find(({ seq }) => seq > standby.checkpointSeq)?.seq;
}

/** How many committed checkpoints a standby has not unpacked yet, and for how long it lacks the oldest of those that are kept. */
export function behind(
  job: JobRecord,
  standby: StandbyRecord,
  nowMs: number,
): { readonly checkpointsBehind: number; readonly behindMs: number } {
  const newest = newestCheckpoint(job)?.seq ?? 0;
  const lacking = job.checkpoints.find(({ seq }) => seq > standby.checkpointSeq);
  return {
    checkpointsBehind: Math.max(0, newest - standby.checkpointSeq),
    behindMs: lacking === undefined ? 0 : Math.max(0, nowMs - Math.max(lacking.committedAtMs, standby.reservedAtMs)),
  };
}

/** Nobody needs it any more. */
export function releaseStandby(state: CoreState, job: JobRecord): JobRecord {
  const standby = liveStandby(state, job);
  if (standby === undefined) return job;
  endStandby(state, job, standby, "released", "revoked");
  send(state, standby.workerId, { kind: "release", standbyId: standby.id });
  return patchJob(state, job, { standbyId: null });
}

/** Its worker is gone, not heard, or could not prepare it; another is wanted. A worker that is still there lets go of it. */
export function loseStandby(
  state: CoreState,
  job: JobRecord,
  standby: StandbyRecord,
  lease: LeaseEnd,
  why: string,
): JobRecord {
  endStandby(state, job, standby, "lost", lease);
  emitJob(state, job, "standby_lost", { standbyId: standby.id, workerId: standby.workerId, why }, standby);
  send(state, standby.workerId, { kind: "release", standbyId: standby.id });
  return patchJob(state, job, { standbyId: null });
}

/** It becomes an attempt; its capacity is free for that from here on. */
export function consumeStandby(state: CoreState, job: JobRecord, standby: StandbyRecord): JobRecord {
  endStandby(state, job, standby, "promoted", "returned");
  return patchJob(state, job, { standbyId: null });
}

/** After a standby could not be prepared, or a replica failed again where it failed before, the next is tried later and later. */
export function noteStandbyFailure(state: CoreState, job: JobRecord): void {
  const { standbyRetryMs, standbyRetryMsMax } = state.config;
  const count = (state.volatile.standbyFailures.get(job.id)?.count ?? 0) + 1;
  const retryAtMs = state.nowMs + Math.min(standbyRetryMsMax, standbyRetryMs * 2 ** Math.min(count - 1, 20));
  setFailure(state, job, { count, retryAtMs });
  state.deadlines.set(deadlineKey.standbyRetry(job.id), retryAtMs);
}

/** What was to stand by, or to be the second replica, runs. */
export function forgetStandbyFailure(state: CoreState, job: JobRecord): void {
  setFailure(state, job, undefined);
}

/** After a promotion: the new attempt gets machine and network to itself until its container runs. */
export function deferStandby(state: CoreState, job: JobRecord): void {
  const count = state.volatile.standbyFailures.get(job.id)?.count ?? 0;
  const retryAtMs = state.nowMs + state.config.standbyAfterPromotionMs;
  setFailure(state, job, { count, retryAtMs });
  state.deadlines.set(deadlineKey.standbyRetry(job.id), retryAtMs);
}

/** Undone with the step: without its deadline a failure would keep the job from a standby for ever. */
function setFailure(state: CoreState, { id }: JobRecord, failure: StandbyFailure | undefined): void {
  const { standbyFailures } = state.volatile;
  const before = standbyFailures.get(id);
  if (before === failure) return;
  state.step.undo.push(
    () => void (before === undefined ? standbyFailures.delete(id) : standbyFailures.set(id, before)),
  );
  if (failure === undefined) standbyFailures.delete(id);
  else standbyFailures.set(id, failure);
}

function endStandby(
  state: CoreState,
  job: JobRecord,
  standby: StandbyRecord,
  event: StandbyEvent,
  lease: LeaseEnd,
): void {
  const phase = fire(state, standbyTable, standby.phase, event);
  assert(phase !== undefined, `standby ${standby.id} ended twice`);
  const untilMs = presentUntilMs(state, machineOf(state, standby.workerId));
  put(state, "standbys", standby.id, {
    ...standby,
    phase,
    lease: leaseEnd(state, standby.lease, lease),
    endedAtMs: state.nowMs,
    creditedMs: standbyCreditMs(state, job, standby, untilMs),
  });
}
