// What is known of how a worker, and its provider, did their work, kept in their rows. Standing (`standing.ts`) tells within hours who is unsteady now; reputation
// tells over weeks whose work was good. A worker is worth no more than its provider: a new key washes nobody clean.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import type { JobRecord, SettlementLine, WorkerRecord } from "./model.ts";
import { changed, decayed, type Reputation, scoreOf, type TallyChange, viewOf } from "./reputation-score.ts";
import type { CoreState } from "./state.ts";
import { emit, put } from "./tables.ts";

export interface Verdict {
  readonly workerId: WorkerId;
  readonly jobId: JobId;
  readonly kind: "verified" | "wrong";
  readonly evidence: Readonly<Record<string, unknown>>;
  /** Its provider is not told of which job. */
  readonly isQuiet?: boolean;
}

/** A check of a worker's result came to an end. The evidence is told in the worker's timeline; whether it costs stake is decided elsewhere. */
export function recordVerdict(state: CoreState, verdict: Verdict): void {
  const { workerId, jobId, kind, evidence } = verdict;
  const worker = state.rows.workers.get(workerId);
  if (worker === undefined) return;
  tally(state, workerId, { [kind]: 1 });
  const providerId = verdict.isQuiet === true ? null : worker.providerId;
  emit(state, { channel: "workers", kind: `work_${kind}`, providerId, workerId, data: { jobId, ...evidence } });
}

/** A worker let a job down; how much by `standing.ts`, which also knows when nothing is held against anybody. */
export function recordFailed(state: CoreState, workerId: WorkerId, weight: number): void {
  tally(state, workerId, { failed: weight });
}

/** The workers that are paid for a job which succeeded. Who works for himself gains nothing by it. */
export function recordCompleted(state: CoreState, job: JobRecord): void {
  for (const workerId of payeesOf(job, job.settlement.lines).keys()) tally(state, workerId, { completed: 1 });
}

/** Part of a job's pay went back to its consumer after a dispute: `share` from 0 to 1. */
export function recordDisputed(state: CoreState, workerIds: Iterable<WorkerId>, share: number): void {
  for (const workerId of workerIds) tally(state, workerId, { disputed: share });
}

/** Primary workers of other accounts than the consumer's, with what each was paid (micro-units). */
export function payeesOf(
  { accountId }: Pick<JobRecord, "accountId">,
  lines: readonly SettlementLine[],
): ReadonlyMap<WorkerId, bigint> {
  const paid = new Map<WorkerId, bigint>();
  for (const { role, workerId, amount, account } of lines) {
    if (role !== "primary" || workerId === undefined || account.slice(account.indexOf(":") + 1) === accountId) continue;
    paid.set(workerId, (paid.get(workerId) ?? 0n) + amount);
  }
  return paid;
}

/** Adds to the tallies of a worker and of its provider. Negative where something is taken back; no tally goes below zero. */
export function tally(state: CoreState, workerId: WorkerId, change: TallyChange): void {
  const worker = state.rows.workers.get(workerId);
  if (worker === undefined) return;
  put(state, "workers", workerId, { ...worker, reputation: changed(worker.reputation, change, state.nowMs) });
  const provider = state.rows.accounts.get(worker.providerId);
  if (provider === undefined) return;
  put(state, "accounts", provider.id, { ...provider, reputation: changed(provider.reputation, change, state.nowMs) });
}

/** Of a worker: no better than its provider's, where that is known at all. */
export function reputationOf(state: CoreState, worker: WorkerRecord): Reputation {
  const own = viewOf(worker.reputation, state.nowMs);
  const provider = state.rows.accounts.get(worker.providerId)?.reputation;
  if (provider === undefined) return own;
  return { ...own, score: Math.min(own.score, scoreOf(decayed(provider, state.nowMs))) };
}
