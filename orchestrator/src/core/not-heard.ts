// Looking again later at an attempt whose worker is not heard: time that nobody worked must not end a job.
import { heldUntilMs } from "./mass-silence.ts";
import type { AttemptRecord } from "./model.ts";
import { silenceDueMs } from "./silence.ts";
import type { CoreState } from "./state.ts";

/** True where its worker is not heard; then the deadline `key` comes again when the worker is back, or lost. */
export function waitsForWorker(state: CoreState, attempt: AttemptRecord, key: string): boolean {
  const machine = state.ix.machines.get(attempt.workerId);
  if (machine?.worker.phase !== "suspect") return false;
  const untilMs = Math.max(state.nowMs, heldUntilMs(state, machine) ?? 0, silenceDueMs(state, machine));
  state.deadlines.set(key, untilMs + state.config.closeGraceMs);
  return true;
}
