// What must hold of a job's row each time it is written, judged against the row before.
import { checkpointsOf, epochOf, type JobRecord } from "@qubix/orchestrator/core";
import { check, type Counts } from "./counts.ts";
import type { Trees } from "./trees.ts";

/** Workers that may find one checkpoint damaged before it is given up. */
const DAMAGE_REPORTS_MAX = 2;

/** No budget is used beyond what the consumer gave. */
export function checkBudgets(job: JobRecord): void {
  const { id, spec, failoversUsed, retriesUsed } = job;
  check(failoversUsed <= spec.failoversMax, () => `invariant 7: ${id} was moved ${failoversUsed} times`);
  check(retriesUsed <= spec.retries, () => `invariant 7: ${id} was tried again ${retriesUsed} times`);
}

/** What two workers could not restore is given up, unless a standby has it on its disk, which may have taken over in the same step. */
export function checkDamage(before: JobRecord | undefined, { id, damage, standbyId }: JobRecord): void {
  if (damage === undefined || damage === before?.damage) return;
  const isHeld = standbyId !== null || (before !== undefined && before.standbyId !== null);
  check(damage.reports < DAMAGE_REPORTS_MAX || isHeld, () => {
    return `invariant 3: checkpoint ${damage.seq} of ${id} was found damaged ${damage.reports} times, and is still kept`;
  });
}

/** Checkpoints follow one another, of the epoch that counts, and what is newest is only ever given up as damaged. */
export function checkCheckpoints(
  trees: Trees,
  counts: Counts,
  before: JobRecord | undefined,
  job: JobRecord,
  replica: number,
): void {
  const kept = checkpointsOf(job, replica);
  const keptBefore = before === undefined ? undefined : checkpointsOf(before, replica);
  if (keptBefore === kept || isThrown(before, job)) return;
  const old = keptBefore?.at(-1);
  const newest = kept.at(-1);
  const seqs = kept.map(({ seq }) => seq);
  check(
    seqs.every((seq, at) => at === 0 || seq > (seqs[at - 1] ?? 0)),
    () => `invariant 3: the checkpoints of ${job.id} are ${seqs.join(", ")}`,
  );
  if (before === undefined) {
    if (job.fromCheckpoint !== null) counts.forks += 1;
    return;
  }
  if ((newest?.seq ?? 0) < (old?.seq ?? 0)) {
    const { damage } = before;
    const isDamaged = damage !== undefined && damage.seq === old?.seq && (damage.replica ?? 0) === replica;
    check(isDamaged, () => `invariant 3: checkpoint ${old?.seq} of ${job.id}, its newest, is gone`);
    counts.checkpointsGivenUp += 1;
    return;
  }
  if (newest === undefined || newest === old) return;
  const epoch = epochOf(job, replica);
  check(newest.epoch === epoch, () => {
    return `invariant 2: a checkpoint of epoch ${newest.epoch} of ${job.id} was taken at epoch ${epoch}`;
  });
  const isNext = newest.parentSeq === (old?.seq ?? 0) || newest.parentSeq === 0;
  check(
    isNext,
    () => `invariant 3: checkpoint ${newest.seq} of ${job.id} follows ${newest.parentSeq}, not ${old?.seq}`,
  );
  const [from, to] = [old, newest].map((row) => (row === undefined ? 0 : stepOf(trees, row)));
  check((to ?? 0) >= (from ?? 0), () => {
    return `invariant 3: checkpoint ${newest.seq} of ${job.id} is at step ${to}, the one before it at ${from}`;
  });
}

/** What two runs of a mirror job disagree on, and what only their comparison needed, is thrown away, the whole of it. */
function isThrown(before: JobRecord | undefined, { mirror, check: of, endedAtMs }: JobRecord): boolean {
  if (of !== undefined && endedAtMs !== null) return true;
  if (mirror === undefined || before === undefined) return false;
  return endedAtMs !== null || (mirror.thirdAfter !== null && before.mirror?.thirdAfter === null);
}

function stepOf(trees: Trees, { tree }: JobRecord["checkpoints"][number]): number {
  return trees.stateOf(tree.manifestCid)?.step ?? 0;
}
