// What the records say of checks: whose word counts, who did a run, and which runs came to the same. Functions of the records alone.
import type { CoreConfig } from "./config.ts";
import type { Machine } from "./machine.ts";
import type {
  AttemptRecord,
  CheckedRun,
  CheckHistory,
  JobRecord,
  RunWorker,
  VerificationRecord,
  WorkerRecord,
} from "./model.ts";

/** Confirmed results in a row after which a worker's word counts against another's: who lies does not get that far, unless nearly everybody lies alike. */
const TRUSTED_IN_A_ROW = 3;
/** Of each that is missing: who has fewer checks others only where nobody with more can. More than any other preference, less than being silent. */
const MISSING_RANK = 4;

const NO_HISTORY: CheckHistory = { inARow: 0, wrong: 0 };

export function historyOf(worker: WorkerRecord | undefined): CheckHistory {
  return worker?.checks ?? NO_HISTORY;
}

/** A run by which the network checks a job is nobody's to stop or to move. */
export function checkRunText({ id, check }: JobRecord): string {
  if (check?.canary !== undefined) return `Job ${id} is a canary of the network's. It ends by itself.`;
  return `Job ${id} is a run by which the network checks job ${check?.of}. It ends by itself, and cannot be cancelled or moved.`;
}

/** Whether its word counts where two runs differ. */
export function isTrusted({ checkReferees }: CoreConfig, worker: WorkerRecord | undefined): boolean {
  if (worker === undefined) return false;
  return historyOf(worker).inARow >= TRUSTED_IN_A_ROW || checkReferees.includes(worker.providerId);
}

/** Among those that may check a job, whose word counts most: 0 is welcome. */
export function checkerRank(config: CoreConfig, { check }: JobRecord, { worker }: Machine): number {
  if (check === undefined || isTrusted(config, worker)) return 0;
  return MISSING_RANK * (TRUSTED_IN_A_ROW - historyOf(worker).inARow);
}

export function modelsOf({ worker }: Machine, gpuUuids: readonly string[]): ReadonlySet<string> {
  return new Set(gpuUuids.flatMap((uuid) => worker.offer?.gpus.find((gpu) => gpu.uuid === uuid)?.model ?? []));
}

// ── Runs ──

/**
 * The attempts that the result came from: the one that gave it, and those from whose checkpoints it went on. One that failed, or whose checkpoints were all given
 * up, has no part in it. Of a job without a result all that was accepted.
 */
export function makersOf(attempts: readonly AttemptRecord[]): readonly AttemptRecord[] {
  const last = attempts.findLast(({ outcome }) => outcome?.kind === "succeeded");
  if (last === undefined) return attempts.filter(({ committed }) => committed);
  const makers = [last];
  let { fromSeq } = last;
  for (const attempt of attempts.toReversed()) {
    if (attempt.epoch >= last.epoch || !attempt.committed || attempt.fromSeq >= fromSeq) continue;
    makers.unshift(attempt);
    ({ fromSeq } = attempt);
  }
  return makers;
}

/** Who made the result of these attempts, each worker once. */
export function workersOf(attempts: readonly AttemptRecord[]): readonly RunWorker[] {
  const found = new Map<string, RunWorker>();
  for (const { workerId, providerId } of makersOf(attempts)) found.set(workerId, { workerId, providerId });
  return [...found.values()];
}

/** It was one container from its beginning to its end: what came of it depends on nothing that was saved and restored. */
export function isUndisturbed(attempts: readonly AttemptRecord[]): boolean {
  return makersOf(attempts).length === 1;
}

export type Sameness = "same" | "other" | "unread" | "unknown";

/** Equal files are the same; other ones may be, within the job's tolerance, once they were read (`unread` before). `unknown`: they could not be. */
export function samenessOf({ compared, plan, runs }: VerificationRecord, a: number, b: number): Sameness {
  const [one, other] = [runs[a]?.result ?? null, runs[b]?.result ?? null];
  if (one === null || other === null) return "unknown";
  if (one.outputs === null || other.outputs === null) return one.outputs === other.outputs ? "same" : "other";
  if (one.outputs.manifestCid === other.outputs.manifestCid) return "same";
  if (one.sum !== null && one.sum === other.sum) return "same";
  // Whoever leaves the sums out must not be better off for it.
  if (plan.spec.verification.tolerance === undefined) return "other";
  const read = compared.find((pair) => (pair.a === a && pair.b === b) || (pair.a === b && pair.b === a));
  if (read === undefined) return "unread";
  return read.isSame === null ? "unknown" : read.isSame ? "same" : "other";
}

/** It began where the whole job did. */
export function isWhole({ plan }: VerificationRecord, { fromSeq }: CheckedRun): boolean {
  return fromSeq === (plan.base?.seq ?? 0);
}
