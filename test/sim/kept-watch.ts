// Watches the machines that are kept for jobs that have waited long: no other job that never had a place comes there, and no standby.
import type { JobId } from "@qubix/shared/domain";
import { check, type Counts } from "./counts.ts";

export interface KeptWatch {
  /** An event of a job was committed. */
  event(jobId: JobId, kind: string, data: Readonly<Record<string, unknown>>): void;
  /** The orchestrator began anew: it knows of none. */
  restarted(): void;
}

/** Then the job waits for no place, or not for that one. */
const FREED: ReadonlySet<string> = new Set(["place_freed", "matched", "promoted", "undone", "failed", "cancelled"]);

export function createKeptWatch(counts: Counts): KeptWatch {
  /** By job: the worker. */
  const kept = new Map<JobId, string>();
  /** They had a place once: another may be one that is kept. */
  const placed = new Set<JobId>();

  function checkTaken(jobId: JobId, workerId: string): void {
    for (const [other, at] of kept) {
      check(at !== workerId || other === jobId, () => `${jobId} came to ${at}, which was kept for ${other}`);
    }
  }

  return {
    event(jobId, kind, data) {
      const workerId = String(data["workerId"]);
      if ((kind === "matched" && !placed.has(jobId)) || kind === "standby_reserved") checkTaken(jobId, workerId);
      if (kind === "matched") placed.add(jobId);
      if (FREED.has(kind)) kept.delete(jobId);
      if (kind !== "place_kept") return;
      kept.set(jobId, workerId);
      counts.placesKept += 1;
    },
    restarted() {
      kept.clear();
    },
  };
}
