import type { StateTable } from "./table.ts";

export type AttemptPhase = "assigned" | "running" | "exited" | "ended" | "lost" | "fenced";

/**
 * started: the container runs. exited: the container ended and its outputs are on their way.
 * ended: the worker's end is accepted (result, failure, stop). lost: its worker is gone. fenced: a later epoch replaced it.
 */
export type AttemptEvent = "started" | "exited" | "ended" | "lost" | "fenced";

const over = { started: "ignore", exited: "ignore", ended: "ignore", lost: "ignore", fenced: "ignore" } as const;

export const attemptTable: StateTable<AttemptPhase, AttemptEvent> = {
  name: "attempt",
  initial: "assigned",
  final: ["ended", "lost", "fenced"],
  cells: {
    assigned: {
      started: { next: "running", effects: "metering starts" },
      exited: { next: "exited", guard: "the word of its start was overtaken" },
      ended: { next: "ended", effects: "credited up to now, capacity freed" },
      lost: { next: "lost", effects: "capacity freed" },
      fenced: { next: "fenced", effects: "fence sent, not credited" },
    },
    running: {
      started: "ignore",
      exited: { next: "exited" },
      ended: { next: "ended", effects: "credited up to now, capacity freed" },
      lost: { next: "lost", effects: "credited up to the newest checkpoint, capacity freed" },
      fenced: { next: "fenced", effects: "fence sent, not credited" },
    },
    exited: {
      started: "ignore",
      exited: "ignore",
      ended: { next: "ended", effects: "credited up to the exit, capacity freed" },
      lost: { next: "lost", effects: "credited up to the newest checkpoint, capacity freed" },
      fenced: "illegal",
    },
    ended: over,
    lost: over,
    fenced: over,
  },
};
