// When it was decided of the frozen pay of jobs: whoever read the store before that, and comes to the core after it, has read something that is so no more.
import type { JobId } from "@qubix/shared/domain";
import type { CoreState } from "./state.ts";

/** More decisions than can come between a look into the store and the step: as many as events may wait. */
const KEPT_MAX = 50_000;

/** Where the pay went is in the store from now on. */
export function notePayDecided({ meta, volatile: { payDecided } }: CoreState, jobId: JobId): void {
  payDecided.delete(jobId);
  payDecided.set(jobId, meta.eventSeq);
  if (payDecided.size <= KEPT_MAX) return;
  for (const oldest of payDecided.keys()) {
    payDecided.delete(oldest);
    return;
  }
}

/** `asOf`: the newest event there was when the store was read. */
export function wasDecidedSince({ volatile }: CoreState, jobId: JobId, asOf: number): boolean {
  return (volatile.payDecided.get(jobId) ?? -1) >= asOf;
}
