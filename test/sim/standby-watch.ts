// Watches that a hot job which runs is not left without a standby, after a promotion or after its standby was lost: within a bounded time there is one, or it
// is said that there is no place for it.
import type { JobRecord } from "@qubix/orchestrator/core";
import type { JobId } from "@qubix/shared/domain";
import { check, type Counts } from "./counts.ts";
import type { World } from "./world.ts";

export interface StandbyWatch {
  /** A line of a job's timeline was committed; `job` as it is then. */
  event(job: JobRecord | undefined, kind: string, data: Readonly<Record<string, unknown>>): void;
  reserved(jobId: JobId): void;
  /** The orchestrator began anew, or does nothing for so long: the time counts from then. */
  disturbed(ms: number): void;
}

/** A while after a promotion, and more than any tick or stall of a calm orchestrator takes. The product promises 30 s. */
const REFILL_MS_MAX = 6_000;

export function createStandbyWatch(world: World, counts: Counts): StandbyWatch {
  /** Hot jobs whose attempt runs without a standby, and since when that was undisturbed. */
  const since = new Map<JobId, number>();
  let disturbedAtMs = 0;

  function settle(jobId: JobId): void {
    const fromMs = since.get(jobId);
    if (fromMs === undefined) return;
    since.delete(jobId);
    const waitedMs = world.nowMs() - Math.max(fromMs, disturbedAtMs);
    check(waitedMs <= REFILL_MS_MAX, () => `${jobId} ran for ${waitedMs} ms without a standby, and none was sought`);
  }

  return {
    event(job, kind, data) {
      if (job?.spec.standby !== "hot") return;
      const isLost = kind === "standby_lost" && LOST_AT_ONCE.has(String(data["why"])) && RUNNING.has(job.phase);
      if (kind === "promoted" || isLost) since.set(job.id, world.nowMs());
      // What is said, and what ends the run, ends the waiting.
      else if (ENDS_WAITING.has(kind)) settle(job.id);
    },
    reserved(jobId) {
      if (since.has(jobId)) counts.standbyRefills += 1;
      settle(jobId);
    },
    disturbed(ms) {
      disturbedAtMs = Math.max(disturbedAtMs, world.nowMs() + ms);
    },
  };
}

/** After other losses the next one is tried later and later. */
const LOST_AT_ONCE: ReadonlySet<string> = new Set(["worker_lost", "lost_container"]);
const RUNNING: ReadonlySet<string> = new Set(["starting", "running"]);

const ENDS_WAITING: ReadonlySet<string> = new Set([
  "standby_unavailable",
  "requeued",
  "lease_wait",
  "undone",
  "exited",
  "stopping",
  "completed",
  "failed",
  "cancelled",
]);
