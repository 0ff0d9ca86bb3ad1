// By when a job that waits for a place must have one; and that it is looked at who waits long, as long as anybody waits.
import { MS_PER_S } from "./metering.ts";
import type { JobRecord } from "./model.ts";
import { deadlineKey } from "./silence.ts";
import type { CoreState } from "./state.ts";

/** Sets the deadline by which a waiting job must have found an offer. */
export function armQueue(state: CoreState, job: JobRecord, notBeforeMs = 0): void {
  const atMs = Math.max(notBeforeMs, job.queuedAtMs + job.spec.queueS * MS_PER_S);
  state.deadlines.set(deadlineKey.queue(job.id), atMs);
  watchLongWaits(state);
}

/** Makes sure that it is looked at soon who has waited long. */
export function watchLongWaits(state: CoreState): void {
  state.deadlines.setNoLater(deadlineKey.longWaits, state.nowMs + state.config.longWaitLookMs);
}
