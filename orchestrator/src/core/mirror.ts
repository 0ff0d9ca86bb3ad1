// The two replicas of a mirror job as they are placed, given up and metered. What their results are compared by is in `mirror-results.ts`.
import type { AccountId, Epoch, WorkerId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { isActiveAttempt, requestOf } from "./indexes.ts";
import type { Machine } from "./machine.ts";
import { mirrorOf, openRuns, replicaOf, resultOf, runOf } from "./mirror-state.ts";
import type { Allocation, AttemptRecord, JobRecord, MirrorRun, MirrorState } from "./model.ts";
import { pickGpus } from "./resources.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, emitJob, markLog, patchJob } from "./tables.ts";

interface Taken {
  readonly machine: Machine;
  readonly allocation: Allocation;
  readonly ratePerHour: bigint;
}

/** The mirror after a new attempt of `run`. Asserts that this run and any other together keep within the job's cap. */
export function placedMirror(job: JobRecord, run: MirrorRun, epoch: Epoch, taken: Taken): MirrorState {
  const mirror = mirrorOf(job);
  const replica = replicaOf(run);
  const rateMax = mirror.rateMax.map((rate, at) =>
    at === run && taken.ratePerHour > rate ? taken.ratePerHour : rate,
  ) as unknown as MirrorState["rateMax"];
  const dearest = rateMax.toSorted((a, b) => (a > b ? -1 : a < b ? 1 : 0));
  assert(
    (dearest[0] ?? 0n) + (dearest[1] ?? 0n) <= job.spec.priceMaxPerHour.amount,
    `two replicas of ${job.id} would cost more than its cap`,
  );
  return {
    ...mirror,
    ...(replica === 1 ? { epoch } : {}),
    active: replica === 0 ? [true, mirror.active[1]] : [mirror.active[0], true],
    rateMax,
    gpuModel: mirror.gpuModel ?? modelsOf(taken.machine, taken.allocation.gpuUuids)[0] ?? null,
  };
}

/** An attempt is over: its replica is open to another one. */
export function noteReplicaOver(state: CoreState, { jobId, replica }: AttemptRecord): void {
  const job = state.rows.jobs.get(jobId);
  if (job?.mirror === undefined) return;
  const { mirror } = job;
  const active = replica === 0 ? ([false, mirror.active[1]] as const) : ([mirror.active[0], false] as const);
  patchJob(state, job, { mirror: { ...mirror, active } });
}

export function activeAttempts(state: CoreState, job: JobRecord): readonly AttemptRecord[] {
  return attemptsOf(state, job.id).filter(isActiveAttempt);
}

/** The attempt that stands for the whole job where one has to: replica 0's, unless only replica 1 is at work, or is further on. */
export function leadingAttempt(attempts: readonly AttemptRecord[]): AttemptRecord | undefined {
  const [first, second] = [0, 1].map((replica) => attempts.findLast((attempt) => attempt.replica === replica));
  return second !== undefined && (first === undefined || standing(second) > standing(first)) ? second : first;
}

function standing(attempt: AttemptRecord): number {
  if (!isActiveAttempt(attempt)) return 0;
  return hasStarted(attempt) ? 2 : 1;
}

function hasStarted({ phase }: AttemptRecord): boolean {
  return phase === "running" || phase === "exited";
}

/** Whatever becomes of one, the other goes on. */
export function bothWork(attempts: readonly AttemptRecord[]): boolean {
  return attempts.filter((attempt) => isActiveAttempt(attempt) && hasStarted(attempt)).length > 1;
}

// ── Placing ──

/** Who has worked on a run, or does: no other run may come to any of them. One that was lost before it committed anything left no trace. */
function providersOf(state: CoreState, job: JobRecord, isMeant: (run: MirrorRun) => boolean): ReadonlySet<AccountId> {
  const providers = new Set<AccountId>();
  for (const attempt of attemptsOf(state, job.id)) {
    if (!isMeant(runOf(job, attempt))) continue;
    if (attempt.committed || isActiveAttempt(attempt)) providers.add(attempt.providerId);
  }
  return providers;
}

/**
 * Which machines the job's next attempt must not come to: those of other runs' providers, and those whose GPUs are not of the same model. `pick`: the GPUs
 * that it would take there.
 */
export function refusedByMirror(state: CoreState, job: JobRecord, pick = pickGpus): (machine: Machine) => boolean {
  const { mirror } = job;
  const [run] = openRuns(job);
  if (mirror === undefined || run === undefined) return () => false;
  const others = providersOf(state, job, (other) => other !== run);
  const { needs } = requestOf(job);
  return (machine) => {
    if (others.has(machine.worker.providerId)) return true;
    const models = new Set(modelsOf(machine, pick(machine, needs) ?? []));
    return mirror.gpuModel === null ? models.size > 1 : models.size !== 1 || !models.has(mirror.gpuModel);
  };
}

function modelsOf({ worker }: Machine, gpuUuids: readonly string[]): readonly string[] {
  return gpuUuids.flatMap((uuid) => worker.offer?.gpus.find((gpu) => gpu.uuid === uuid)?.model ?? []);
}

/** Whether a lost attempt may go on as part of its run: that has no result yet, and no other run has come to its provider meanwhile. */
export function mayReturn(state: CoreState, job: JobRecord, lost: AttemptRecord): boolean {
  if (job.mirror === undefined) return true;
  const run = runOf(job, lost);
  if (resultOf(job, run) !== undefined || (run === 1 && job.mirror.thirdAfter !== null)) return false;
  return !providersOf(state, job, (other) => other !== run).has(lost.providerId);
}

/** One replica is gone and the other works on, as if nothing had happened. */
export function reportReplicaLost(
  state: CoreState,
  job: JobRecord,
  gone: AttemptRecord,
  what: { readonly why: string; readonly workLostMs: number; readonly fromSeq: number },
): void {
  const { replica, epoch, workerId } = gone;
  const others = activeAttempts(state, job).map((attempt): WorkerId => attempt.workerId);
  const from = what.fromSeq === 0 ? "the beginning" : `checkpoint ${what.fromSeq}`;
  markLog(
    state,
    job,
    `-- replica ${replica} is gone with attempt ${epoch} (${what.why}), to go on from ${from}; the other works on --`,
  );
  emitJob(state, job, "replica_lost", { replica, epoch, workerId, ...what, worksOn: others }, gone);
}

// ── Metering ──

/** Credited time that counts against the same `durationMaxS` as this attempt's: of all other attempts of the job, or of its run where there are several. */
export function creditedBesideMs(state: CoreState, job: JobRecord, attempt: AttemptRecord): number {
  if (job.mirror === undefined) return job.creditedMs - attempt.creditedMs;
  const run = runOf(job, attempt);
  return creditedIn(state, job, run) - (state.rows.attempts.get(attempt.id)?.creditedMs ?? 0);
}

export function creditedIn(state: CoreState, job: JobRecord, run: MirrorRun): number {
  return attemptsOf(state, job.id)
    .filter((attempt) => runOf(job, attempt) === run)
    .reduce((sum, { creditedMs }) => sum + creditedMs, 0);
}
