// What of a container's time its worker has signed for.
import type { AttemptRecord } from "./model.ts";
import type { CoreState } from "./state.ts";

/** Container time up to which this attempt may be credited: what its worker has signed for, where it signs at all. */
export function signedMs(state: CoreState, attempt: AttemptRecord, ranMs: number): number {
  const { ticks } = attempt;
  if (ticks === undefined) return ranMs;
  // Its owner may have gone back to a version of the agent that does not sign.
  const signs = state.ix.machines.get(attempt.workerId)?.features.has("ticks") === true;
  return signs ? Math.min(ranMs, ticks.ranMs) : ranMs;
}
