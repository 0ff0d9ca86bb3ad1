import type { StateTable } from "./table.ts";

export type JobPhase = "queued" | "starting" | "running" | "finishing" | "succeeded" | "failed" | "cancelled";

/**
 * placed: an attempt is assigned. started: its container runs. interrupted: the attempt is gone and the job waits for another place.
 * promoted: a hot standby takes over. restored: a returning primary is leased again (undo). stopping: the container ended or is being stopped.
 * completed, failed, cancelled: the ends.
 */
export type JobEvent =
  | "placed"
  | "started"
  | "interrupted"
  | "promoted"
  | "restored"
  | "stopping"
  | "completed"
  | "failed"
  | "cancelled";

const ended = {
  placed: "illegal",
  started: "ignore",
  interrupted: "illegal",
  promoted: "illegal",
  restored: "illegal",
  stopping: "ignore",
  completed: "ignore",
  failed: "ignore",
  cancelled: "ignore",
} as const;

export const jobTable: StateTable<JobPhase, JobEvent> = {
  name: "job",
  initial: "queued",
  final: ["succeeded", "failed", "cancelled"],
  cells: {
    queued: {
      placed: { next: "starting", guard: "an offer fits", effects: "epoch + 1, capacity taken, assign sent" },
      started: "ignore",
      interrupted: "illegal",
      promoted: "illegal",
      restored: { next: "running", guard: "the lost attempt is back and still runs", effects: "epoch + 1, adopt sent" },
      stopping: "illegal",
      completed: "illegal",
      failed: { next: "failed", guard: "no offer within queueS", effects: "settle" },
      cancelled: { next: "cancelled", effects: "settle" },
    },
    starting: {
      placed: "illegal",
      started: { next: "running", effects: "deadline set" },
      interrupted: {
        next: "queued",
        guard: "retries or failovers left; no standby ready, or the lease of an exclusive attempt not over",
        effects: "capacity freed",
      },
      promoted: { next: "starting", guard: "failovers left, standby ready", effects: "epoch + 1, promote sent" },
      restored: {
        next: "running",
        guard: "the new attempt committed nothing",
        effects: "epoch + 1, adopt and fence sent",
      },
      stopping: { next: "finishing", effects: "stop sent, unless the container ended by itself" },
      completed: { next: "succeeded", guard: "result accepted", effects: "settle" },
      failed: { next: "failed", guard: "no retries or failovers left", effects: "settle" },
      cancelled: "illegal",
    },
    running: {
      placed: "illegal",
      started: "ignore",
      interrupted: {
        next: "queued",
        guard: "retries or failovers left; no standby ready, or the lease of an exclusive attempt not over",
        effects: "capacity freed",
      },
      promoted: { next: "starting", guard: "failovers left, standby ready", effects: "epoch + 1, promote sent" },
      restored: {
        next: "running",
        guard: "the new attempt committed nothing",
        effects: "epoch + 1, adopt and fence sent",
      },
      stopping: { next: "finishing", effects: "stop sent, unless the container ended by itself" },
      completed: { next: "succeeded", guard: "result accepted", effects: "settle" },
      failed: { next: "failed", guard: "no retries or failovers left", effects: "settle" },
      cancelled: "illegal",
    },
    finishing: {
      placed: "illegal",
      started: "ignore",
      interrupted: { next: "queued", guard: "outputs were not committed, failovers left", effects: "capacity freed" },
      promoted: {
        next: "starting",
        guard: "outputs were not committed, standby ready",
        effects: "epoch + 1, promote sent",
      },
      restored: "illegal",
      stopping: {
        next: "finishing",
        guard: "cancelled or past its deadline while outputs upload",
        effects: "stop sent",
      },
      completed: { next: "succeeded", guard: "result accepted", effects: "settle" },
      failed: { next: "failed", effects: "settle" },
      cancelled: { next: "cancelled", guard: "stop confirmed, or the worker lost", effects: "settle" },
    },
    succeeded: ended,
    failed: ended,
    cancelled: ended,
  },
};
