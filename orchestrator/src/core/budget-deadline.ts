// When a job with a cap is to be looked at: at 80% to warn, shortly before the end to have it save, at the end to stop it.
import { msUntil } from "@qubix/shared/domain";
import { accruedSoFar, accruingPerHour } from "./charges.ts";
import type { JobCap, JobRecord } from "./model.ts";
import { answerMsOf } from "./saving.ts";
import { deadlineKey } from "./silence.ts";
import type { CoreState } from "./state.ts";

/** On the orchestrator's clock, as far as what runs now runs on; infinite where nothing runs. */
export interface CapPoints {
  readonly warnAtMs: number;
  readonly saveAtMs: number;
  readonly stopAtMs: number;
}

const WARN_PERCENT = 80n;
/** It is asked to save no sooner: a job of a few minutes must not lose half of them. */
const SAVE_PERCENT = 90n;

export function pointsOf(state: CoreState, job: JobRecord, { amount }: JobCap, used: bigint): CapPoints {
  const perHour = accruingPerHour(state, job);
  const atMs = (of: bigint): number =>
    perHour === 0n && of > used ? Infinity : state.nowMs + msUntil(perHour, of - used);
  const stopAtMs = atMs(amount);
  const saveAtMs = Math.max(atMs(percentOf(amount, SAVE_PERCENT)), stopAtMs - answerMsOf(state, job));
  return { warnAtMs: atMs(percentOf(amount, WARN_PERCENT)), saveAtMs, stopAtMs };
}

function percentOf(amount: bigint, percent: bigint): bigint {
  return (amount * percent + 99n) / 100n;
}

/** Looks at the job's cap when the next point may be reached. Whatever changes what it costs an hour, or its cap, arms anew. */
export function armBudget(state: CoreState, job: JobRecord, notBeforeMs = 0): void {
  const { cap } = job;
  if (cap === undefined || (job.intent !== null && cap.phase !== "saving")) return;
  const atMs = nextPointMs(state, job, cap);
  if (atMs !== Infinity) state.deadlines.set(deadlineKey.budget(job.id), Math.max(atMs, notBeforeMs));
}

function nextPointMs(state: CoreState, job: JobRecord, cap: JobCap): number {
  const used = accruedSoFar(state, job);
  // What waits costs nothing more: it is only looked at where nothing is left.
  if (used >= cap.amount) return state.nowMs;
  const { warnAtMs, saveAtMs, stopAtMs } = pointsOf(state, job, cap, used);
  if (cap.phase === "saving") return Math.min(stopAtMs, cap.savingUntilMs ?? stopAtMs);
  if (cap.phase === "open") return Math.max(warnAtMs, state.nowMs + 1);
  // A point that is past, because nobody can be asked to save, is not looked at again.
  return Math.max(saveAtMs > state.nowMs ? saveAtMs : stopAtMs, state.nowMs + 1);
}
