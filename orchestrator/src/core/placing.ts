// Makes attempts: on a matched offer, on a ready standby, or on a container that came back. The epoch rises in the same step.
import { attemptId, attemptTable, jobTable, type JobEvent, nextEpoch } from "@qubix/shared/domain";
import type { CheckpointRef, RunSpec } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import { waitsForLease } from "./exclusive.ts";
import type { Machine } from "./machine.ts";
import type { Allocation, AttemptRecord, CheckpointRecord, JobRecord, StandbyRecord } from "./model.ts";
import { type Needs, needsOf, pickGpus } from "./resources.ts";
import { deadlineKey, expectBusy, watch } from "./silence.ts";
import type { CoreState } from "./state.ts";
import { emitJob, fire, machineOf, patchJob, put, refOf, send } from "./tables.ts";

export interface Place {
  readonly machine: Machine;
  readonly allocation: Allocation;
  readonly ratePerHour: bigint;
  /** The lost attempt whose container runs on. */
  readonly adopts?: AttemptRecord;
}

export interface Placed {
  readonly job: JobRecord;
  readonly attempt: AttemptRecord;
}

/** Takes what the job needs of the machine, which must have it. */
export function allocate(machine: Machine, needs: Needs): Allocation {
  const gpuUuids = pickGpus(machine, needs);
  assert(gpuUuids !== undefined, `worker ${machine.id} has too few GPUs`);
  return { gpuUuids, cpuMilli: needs.cpuMilli, memoryMiB: needs.memoryMiB, diskMiB: needs.diskMiB };
}

/** A new attempt with the next epoch; the job moves by `event`. Nothing is sent yet. */
export function newAttempt(state: CoreState, job: JobRecord, event: JobEvent, place: Place): Placed {
  const phase = fire(state, jobTable, job.phase, event);
  assert(phase !== undefined, `job ${job.id} cannot be placed in phase ${job.phase}`);
  const { machine, adopts } = place;
  expectBusy(state, machine);
  const epoch = nextEpoch(job.epoch);
  const ref = { jobId: job.id, replica: 0, epoch };
  const attempt: AttemptRecord = {
    id: attemptId(ref),
    ...ref,
    workerId: machine.id,
    providerId: machine.worker.providerId,
    phase: attemptTable.initial,
    lease: "active",
    allocation: place.allocation,
    ratePerHour: place.ratePerHour,
    fromSeq: adopts === undefined ? (newestCheckpoint(job)?.seq ?? 0) : adopts.fromSeq,
    adoptedEpoch: adopts?.epoch ?? 0,
    baseRanMs: adopts === undefined ? 0 : adopts.baseRanMs + adopts.creditedMs,
    creditedMs: 0,
    committed: false,
    outcome: null,
    workLostMs: 0,
    // The container's time counts from when its first attempt was assigned.
    assignedAtMs: adopts?.assignedAtMs ?? state.nowMs,
    startedAtMs: adopts?.startedAtMs ?? null,
    endedAtMs: null,
  };
  // The job first: what an attempt takes is counted for its job's owner.
  const nextJob = patchJob(state, job, {
    phase,
    epoch,
    rateMax: place.ratePerHour > job.rateMax ? place.ratePerHour : job.rateMax,
    // Another machine has another line.
    ...(adopts === undefined ? { checkpointIntervalS: null } : {}),
    ...(waitsForLease(job) ? { leaseWait: null } : {}),
  });
  const { spec } = nextJob;
  assert(
    nextJob.rateMax + nextJob.standbyRateMax <= spec.priceMaxPerHour.amount,
    `job ${job.id} would cost more than its cap`,
  );
  put(state, "attempts", attempt.id, attempt);
  state.deadlines.clear(deadlineKey.queue(job.id));
  state.deadlines.clear(deadlineKey.lease(job.id));
  state.deadlines.set(deadlineKey.attempt(attempt.id), state.nowMs + state.config.startTimeoutMs);
  watch(state, machine);
  return { job: nextJob, attempt };
}

/** Sends the whole of what an attempt has to run. */
export function sendAssign(state: CoreState, job: JobRecord, attempt: AttemptRecord): void {
  send(state, attempt.workerId, {
    kind: "assign",
    attempt: refOf(attempt),
    run: runSpecOf(job, attempt.allocation, machineOf(state, attempt.workerId)),
    checkpoint: checkpointRefOf(newestCheckpoint(job)),
  });
}

/** Starts a prepared standby as this attempt. */
export function sendPromote(state: CoreState, job: JobRecord, attempt: AttemptRecord, standby: StandbyRecord): void {
  send(state, attempt.workerId, {
    kind: "promote",
    standbyId: standby.id,
    attempt: refOf(attempt),
    checkpoint: checkpointRefOf(newestCheckpoint(job)),
  });
}

/** Places a waiting job on a matched machine. */
export function assignTo(state: CoreState, job: JobRecord, machineId: Machine["id"], ratePerHour: bigint): Placed {
  const machine = machineOf(state, machineId);
  const allocation = allocate(machine, needsOf(job.spec));
  const placed = newAttempt(state, job, "placed", { machine, allocation, ratePerHour });
  reportMatched(state, placed);
  sendAssign(state, placed.job, placed.attempt);
  return placed;
}

export function reportMatched(state: CoreState, { job, attempt }: Placed): void {
  const { epoch, workerId, fromSeq } = attempt;
  const rate = { ratePerHour: attempt.ratePerHour.toString(), currency: job.currency };
  emitJob(state, job, "matched", { workerId, epoch, fromSeq, ...rate }, attempt);
}

export function newestCheckpoint(job: JobRecord): CheckpointRecord | undefined {
  return job.checkpoints.at(-1);
}

export function checkpointRefOf(checkpoint: CheckpointRecord | undefined): CheckpointRef | null {
  if (checkpoint === undefined) return null;
  const { seq, epoch, tree } = checkpoint;
  return { seq, epoch, tree };
}

/** What a machine is told of a job. Fields that older workers do not know go only to machines that offer the feature of that name. */
export function runSpecOf(job: JobRecord, allocation: Allocation, machine: Machine): RunSpec {
  const { spec, imageDigest, imageTree } = job;
  return {
    image: spec.image,
    command: spec.command,
    env: spec.env,
    outputs: spec.outputs,
    inputs: [...job.inputs],
    gpuUuids: [...allocation.gpuUuids],
    cpus: spec.resources.cpus,
    memoryMiB: spec.resources.memoryMiB,
    diskMiB: spec.resources.diskMiB,
    shmMiB: spec.shmMiB,
    stopGraceS: spec.stopGraceS,
    checkpointIntervalS: spec.checkpoint.intervalS,
    ...(spec.isolation === "sandboxed" ? { isolation: spec.isolation } : {}),
    ...(spec.network === "egress" ? { network: spec.network } : {}),
    ...(spec.failover === "exclusive" ? { failover: spec.failover } : {}),
    ...(imageDigest !== null && machine.features.has("image-digest") ? { imageDigest } : {}),
    ...(imageTree === null ? {} : { imageTree: { manifestCid: imageTree } }),
    ...(Object.keys(spec.secrets).length > 0 ? { secretNames: Object.keys(spec.secrets) } : {}),
    ...(spec.registryAuth === undefined ? {} : { registryAuth: true as const }),
  };
}
