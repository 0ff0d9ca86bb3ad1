// How steady a worker has been: a score that rises with each time it let somebody down and halves every few hours. Who is unsteady is chosen last, and so is
// nobody for long. It is kept in the worker's row: a restart of ours, or a new connection, washes nobody clean, and costs nobody a second time.
import type { Machine } from "./machine.ts";
import type { WorkerRecord } from "./model.ts";
import { recordFailed } from "./reputation.ts";
import type { CoreState } from "./state.ts";
import { put } from "./tables.ts";

/** A machine that had a bad evening has half of it forgotten by the morning, and nearly all by the next. */
export const STANDING_HALF_LIFE_MS = 6 * 3_600_000;
/** One loss is nobody's habit; a second one within a few hours is. */
export const UNSTEADY_SCORE = 1.5;
/** Whatever was amiss, within a day of quiet a worker is like any other again. */
const SCORE_MAX = 16;

/**
 * What weighs how much. Only what happened to a worker or its machine is here, or what it did: a consumer's image that cannot be pulled, or a checkpoint that cannot be
 * unpacked, is not its doing, and nor is a move that was planned.
 */
const WEIGHTS: ReadonlyMap<string, number> = new Map([
  /** Silent, or its connection closed, with somebody's work on it. */
  ["worker_lost", 1],
  ["worker_closed", 1],
  /** …with nothing on it: it will do the same with work. */
  ["worker_gone", 0.25],
  /** It came back after it had been given up: each time costs two moves. */
  ["undone", 0.5],
  ["lost_container", 1],
  ["gpu_lost", 1],
  ["docker_error", 1],
  ["isolation_failed", 1],
  ["secrets_lost", 1],
  ["contact_loss", 1],
  ["upload_failed", 0.5],
  ["owner_reclaimed", 0.5],
  /** Two other providers came to another result. No more than a loss: a program that is not deterministic may have done it, and its consumer pays for that. */
  ["worker_disagreed", 1],
]);

/** The worker let somebody down. Nothing is held against it while we suspect ourselves. */
export function blame(state: CoreState, machine: Machine, why: string): void {
  const weight = WEIGHTS.get(why);
  if (weight === undefined || machine.blameless) return;
  const { worker } = machine;
  const score = Math.min(SCORE_MAX, scoreOf(worker, state.nowMs) + weight);
  put(state, "workers", worker.id, { ...worker, trouble: { score, atMs: state.nowMs } });
  // Who went with nothing on it failed nobody.
  if (why !== "worker_gone") recordFailed(state, worker.id, weight);
}

/** From 1, nothing is held against it, towards 0. */
export function standingOf(worker: WorkerRecord, nowMs: number): number {
  return 2 ** -scoreOf(worker, nowMs);
}

export function isUnsteady(state: CoreState, { worker }: Machine): boolean {
  return worker.trouble !== undefined && scoreOf(worker, state.nowMs) >= UNSTEADY_SCORE;
}

function scoreOf({ trouble }: WorkerRecord, nowMs: number): number {
  if (trouble === undefined) return 0;
  return trouble.score * 2 ** (-Math.max(0, nowMs - trouble.atMs) / STANDING_HALF_LIFE_MS);
}
