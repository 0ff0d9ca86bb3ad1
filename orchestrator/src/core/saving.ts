// How long a job has that is asked to save for the last time.
import type { JobRecord } from "./model.ts";
import type { CoreState } from "./state.ts";

/** A job that saves by the clock alone answers by its next checkpoint. */
export function answerMsOf({ config }: CoreState, { spec }: JobRecord): number {
  return Math.min(config.moveAnswerMsMax, Math.max(config.moveAnswerMs, 2 * spec.checkpoint.intervalS * 1_000));
}
