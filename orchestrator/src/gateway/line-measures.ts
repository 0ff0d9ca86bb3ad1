// How often workers may measure their lines: what they send for it is thrown away, so each may ask only now and then.
import type { WorkerId } from "@qubix/shared/domain";
import { LINE_MEASURE_PERIOD_MS, LINE_MEASURES_MAX } from "./limits.ts";

export type LineWay = "up" | "down";

export interface LineMeasures {
  /** Counts one try; false when there were too many. */
  take(workerId: WorkerId, way: LineWay, nowMs: number): boolean;
}

/** Shared by all bulk sockets; forgets workers that have not measured for a period. */
export function createLineMeasures(): LineMeasures {
  const taken = new Map<string, readonly number[]>();
  let sweptAtMs = Number.NEGATIVE_INFINITY;

  function sweep(nowMs: number): void {
    if (nowMs - sweptAtMs < LINE_MEASURE_PERIOD_MS) return;
    sweptAtMs = nowMs;
    for (const [key, times] of taken) if (recent(times, nowMs).length === 0) taken.delete(key);
  }

  return {
    take(workerId, way, nowMs) {
      sweep(nowMs);
      const key = `${way} ${workerId}`;
      const times = recent(taken.get(key) ?? [], nowMs);
      if (times.length >= LINE_MEASURES_MAX) return false;
      taken.set(key, [...times, nowMs]);
      return true;
    },
  };
}

function recent(times: readonly number[], nowMs: number): readonly number[] {
  return times.filter((time) => nowMs - time < LINE_MEASURE_PERIOD_MS);
}
