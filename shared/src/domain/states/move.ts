import type { StateTable } from "./table.ts";

export type MovePhase = "preparing" | "saving" | "placing" | "moved" | "dropped";

/**
 * A planned move of a running job. ready: the target stands by, or there is none to wait for. stopped: the container has saved and ended in good order.
 * started: its successor runs. dropped: the move is over without it (no answer, no target, the attempt was lost or ended, a cancel).
 */
export type MoveEvent = "ready" | "stopped" | "started" | "dropped";

const over = { ready: "ignore", stopped: "ignore", started: "ignore", dropped: "ignore" } as const;

export const moveTable: StateTable<MovePhase, MoveEvent> = {
  name: "move",
  initial: "preparing",
  final: ["moved", "dropped"],
  cells: {
    preparing: {
      ready: { next: "saving", effects: "the job is asked to save" },
      stopped: { next: "placing", guard: "its worker stopped it by itself", effects: "promoted or placed elsewhere" },
      started: "ignore",
      dropped: { next: "dropped", effects: "the target is released, unless the job keeps a standby anyway" },
    },
    saving: {
      ready: "ignore",
      stopped: { next: "placing", effects: "the target is promoted, or another place is sought" },
      started: "ignore",
      dropped: { next: "dropped", effects: "the target is released, unless the job keeps a standby anyway" },
    },
    placing: {
      ready: "ignore",
      stopped: "ignore",
      started: { next: "moved", effects: "downtime and work lost are told" },
      dropped: { next: "dropped" },
    },
    moved: over,
    dropped: over,
  },
};
