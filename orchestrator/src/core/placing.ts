// Makes attempts: on a matched offer, on a ready standby, or on a container that came back. The epoch rises in the same step.
import { attemptId, attemptTable, jobTable, type JobEvent, nextEpoch, type RatePart } from "@qubix/shared/domain";
import { type CheckpointRef, type RunSpec, transparentClassOf } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import { egressAccountFrom, egressTermsAt } from "./egress-offers.ts";
import { waitsForLease } from "./exclusive.ts";
import type { Machine } from "./machine.ts";
import { requestOf } from "./indexes.ts";
import { checkpointsOf, epochOf, openRuns, replicaIn, replicaOf } from "./mirror-state.ts";
import { placedMirror } from "./mirror.ts";
import type {
  Allocation,
  AttemptRecord,
  CheckpointRecord,
  EgressTerms,
  JobRecord,
  MirrorRun,
  StandbyRecord,
} from "./model.ts";
import { placedAgain } from "./recovery.ts";
import { keptParts, type Needs, pickGpus } from "./resources.ts";
import { deadlineKey, expectBusy, watch } from "./silence.ts";
import type { CoreState } from "./state.ts";
import { emitJob, fire, machineOf, patchJob, put, refOf, send } from "./tables.ts";

export interface Place {
  readonly machine: Machine;
  readonly allocation: Allocation;
  readonly ratePerHour: bigint;
  /** See {@link AttemptRecord.parts}. */
  readonly parts?: readonly RatePart[] | undefined;
  /** What is agreed on egress; of a container that runs on, what was. */
  readonly egress?: EgressTerms | undefined;
  /** The lost attempt whose container runs on. */
  readonly adopts?: AttemptRecord;
  /** Which run of a mirror job it is for. */
  readonly run?: MirrorRun;
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

/** A new attempt with the next epoch; the job moves by `event`, or not at all where its other replica runs on. Nothing is sent yet. */
export function newAttempt(state: CoreState, job: JobRecord, event: JobEvent | null, place: Place): Placed {
  const phase = event === null ? job.phase : fire(state, jobTable, job.phase, event);
  assert(phase !== undefined, `job ${job.id} cannot be placed in phase ${job.phase}`);
  const { machine, adopts } = place;
  expectBusy(state, machine);
  const run = place.run ?? 0;
  const replica = replicaOf(run);
  const epoch = nextEpoch(epochOf(job, replica));
  const ref = { jobId: job.id, replica, epoch };
  const attempt: AttemptRecord = {
    id: attemptId(ref),
    ...ref,
    workerId: machine.id,
    providerId: machine.worker.providerId,
    phase: attemptTable.initial,
    lease: "active",
    allocation: place.allocation,
    ratePerHour: place.ratePerHour,
    ...(place.parts === undefined ? {} : { parts: place.parts }),
    ...egressAccountFrom(place.egress, adopts),
    fromSeq: adopts === undefined ? (newestCheckpoint(job, replica)?.seq ?? 0) : adopts.fromSeq,
    adoptedEpoch: adopts?.epoch ?? 0,
    baseRanMs: adopts === undefined ? 0 : adopts.baseRanMs + adopts.creditedMs,
    creditedMs: 0,
    committed: false,
    outcome: null,
    ...(adopts?.ticks === undefined ? {} : { ticks: { ...adopts.ticks, kept: 0, unkept: 0 } }),
    workLostMs: 0,
    // The container's time counts from when its first attempt was assigned.
    assignedAtMs: adopts?.assignedAtMs ?? state.nowMs,
    startedAtMs: adopts?.startedAtMs ?? null,
    endedAtMs: null,
  };
  // The job first: what an attempt takes is counted for its job's owner.
  const nextJob = patchJob(state, job, {
    phase,
    ...(replica === 0 ? { epoch, rateMax: place.ratePerHour > job.rateMax ? place.ratePerHour : job.rateMax } : {}),
    // Another machine has another line.
    ...(adopts === undefined && replica === 0 ? { checkpointIntervalS: null } : {}),
    ...pinnedClass(job, machine),
    ...(job.mirror === undefined ? {} : { mirror: placedMirror(job, run, epoch, place) }),
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

/** What one class of workers has saved no other can restore: a job stays with the class of its first. */
function pinnedClass(job: JobRecord, machine: Machine): Pick<JobRecord, "memoryClass"> {
  if (job.memoryClass !== undefined || job.spec.checkpoint.transparent !== true) return {};
  const memoryClass = transparentClassOf(machine.features);
  return memoryClass === undefined ? {} : { memoryClass };
}

/** Sends the whole of what an attempt has to run. */
export function sendAssign(state: CoreState, job: JobRecord, attempt: AttemptRecord): void {
  send(state, attempt.workerId, {
    kind: "assign",
    attempt: refOf(attempt),
    run: runSpecOf(job, attempt.allocation, machineOf(state, attempt.workerId)),
    checkpoint: checkpointRefOf(newestCheckpoint(job, attempt.replica)),
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
  const { needs } = requestOf(job);
  const [run] = openRuns(job);
  const allocation = allocate(machine, needs);
  const event = job.phase === "queued" ? "placed" : null;
  const made = newAttempt(state, job, event, {
    machine,
    allocation,
    ratePerHour,
    parts: keptParts(machine, needs, job.currency),
    ...egressTermsAt(machine, job),
    ...(run === undefined ? {} : { run }),
  });
  const placed = placedAgain(state, made, "cold");
  reportMatched(state, placed);
  sendAssign(state, placed.job, placed.attempt);
  return placed;
}

export function reportMatched(state: CoreState, { job, attempt }: Placed): void {
  const { epoch, workerId, fromSeq } = attempt;
  const rate = { ratePerHour: attempt.ratePerHour.toString(), currency: job.currency };
  emitJob(state, job, "matched", { workerId, epoch, ...replicaIn(job, attempt), fromSeq, ...rate }, attempt);
}

/** The one that this replica of the job would go on from. */
export function newestCheckpoint(job: JobRecord, replica = 0): CheckpointRecord | undefined {
  return checkpointsOf(job, replica).at(-1);
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
    ...(spec.checkpoint.transparent === true ? { transparent: true as const } : {}),
    ...(spec.failover === "exclusive" ? { failover: spec.failover } : {}),
    ...(imageDigest !== null && machine.features.has("image-digest") ? { imageDigest } : {}),
    ...(machine.features.has("ticks") ? { ticks: true as const } : {}),
    ...(spec.stallAfterS > 0 && machine.features.has("stalls") ? { stallAfterS: spec.stallAfterS } : {}),
    ...(imageTree === null ? {} : { imageTree: { manifestCid: imageTree } }),
    ...(Object.keys(spec.secrets).length > 0 ? { secretNames: Object.keys(spec.secrets) } : {}),
    ...(spec.registryAuth === undefined ? {} : { registryAuth: true as const }),
  };
}
