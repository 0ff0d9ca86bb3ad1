// What a mirror job's own record says of its two replicas and of the runs whose results are compared. Functions of the record alone: the indexes use them.
// A run is one computation of the result, whatever machines it moves over: replica 0 is run 0, replica 1 is run 1, and once those two came to
// different results replica 1 computes again from the beginning as run 2, which decides. Runs share nothing, neither providers nor checkpoints.
import type { Epoch } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import type { AttemptRecord, CheckpointRecord, JobRecord, MirrorResult, MirrorRun, MirrorState } from "./model.ts";

export const FIRST_MIRROR: MirrorState = {
  epoch: 0,
  active: [false, false],
  results: [],
  thirdAfter: null,
  checkpoints: [],
  rateMax: [0n, 0n, 0n],
  gpuModel: null,
  compared: { same: 0, different: 0 },
  verified: false,
};

/** Of the newest attempt of this replica; 0 before its first. */
export function epochOf(job: JobRecord, replica: number): Epoch | 0 {
  return replica === 0 ? job.epoch : (job.mirror?.epoch ?? 0);
}

/** The checkpoints that this replica goes on from, oldest first: each has its own, so that what one spoils stays with it. */
export function checkpointsOf(job: JobRecord, replica: number): readonly CheckpointRecord[] {
  return replica === 0 ? job.checkpoints : (job.mirror?.checkpoints ?? []);
}

export function withCheckpoints(
  job: JobRecord,
  replica: number,
  checkpoints: readonly CheckpointRecord[],
): Partial<JobRecord> {
  return replica === 0 ? { checkpoints } : { mirror: { ...mirrorOf(job), checkpoints } };
}

export function mirrorOf(job: JobRecord): MirrorState {
  assert(job.mirror !== undefined, `job ${job.id} has no mirror`);
  return job.mirror;
}

export function replicaOf(run: MirrorRun): 0 | 1 {
  return run === 0 ? 0 : 1;
}

/** Names the replica in the timeline of a job that has two. */
export function replicaIn(job: JobRecord, { replica }: Pick<AttemptRecord, "replica">): { readonly replica?: number } {
  return job.mirror === undefined ? {} : { replica };
}

/** Which run the attempt is part of; 0 for a job without a mirror. */
export function runOf({ mirror }: JobRecord, { replica, epoch }: Pick<AttemptRecord, "replica" | "epoch">): MirrorRun {
  if (replica === 0) return 0;
  const after = mirror?.thirdAfter ?? null;
  return after !== null && epoch > after ? 2 : 1;
}

export function resultOf({ mirror }: JobRecord, run: MirrorRun): MirrorResult | undefined {
  return mirror?.results.find((result) => result.run === run);
}

/** Some replica has an active attempt. */
export function hasActiveReplica({ mirror }: JobRecord): boolean {
  return mirror !== undefined && mirror.active.includes(true);
}

/** The runs that are still to give a result and that no attempt works on: the one that has come further goes first. */
export function openRuns(job: JobRecord): readonly MirrorRun[] {
  const { mirror } = job;
  if (mirror === undefined) return [];
  const wanted: readonly MirrorRun[] = mirror.thirdAfter === null ? [0, 1] : [2];
  const open = wanted.filter((run) => resultOf(job, run) === undefined && !mirror.active[replicaOf(run)]);
  return open.toSorted((a, b) => savedAtMs(job, b) - savedAtMs(job, a) || a - b);
}

function savedAtMs(job: JobRecord, run: MirrorRun): number {
  return checkpointsOf(job, replicaOf(run)).at(-1)?.committedAtMs ?? 0;
}

/**
 * The most that an attempt of this run may cost an hour: beside the dearest of any other run it keeps within the cap, since any two runs may be the two that
 * agree and are paid. The first of all gets half: where the cheapest offer takes more, no second one fits beside it.
 */
export function runRateMax(job: JobRecord, run: MirrorRun): bigint {
  const cap = job.spec.priceMaxPerHour.amount;
  const others = mirrorOf(job).rateMax.filter((_, other) => other !== run);
  const dearest = others.reduce((most, rate) => (rate > most ? rate : most), 0n);
  return dearest === 0n ? cap / 2n : cap - dearest;
}

/** Two results are the same when their files are, byte for byte; or when both are the same failure. */
export function sameResult(a: MirrorResult, b: MirrorResult): boolean {
  if (a.failure !== null || b.failure !== null) {
    return a.failure?.code === b.failure?.code && a.failure?.exitCode === b.failure?.exitCode;
  }
  if (a.outputs === null || b.outputs === null) return a.outputs === b.outputs;
  // Equal trees have equal names; equal files may be packed in different ways, and have equal sums.
  return a.outputs.manifestCid === b.outputs.manifestCid || (a.sum !== null && a.sum === b.sum);
}

/** What a result is told by, as evidence. */
export function resultText({ outputs, sum, failure }: MirrorResult): string {
  if (failure !== null) return `${failure.code} ${failure.exitCode ?? ""}`.trim();
  return sum ?? outputs?.manifestCid ?? "no outputs";
}
