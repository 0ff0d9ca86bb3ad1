import type { StateTable } from "./table.ts";

export type StandbyPhase = "preparing" | "ready" | "promoted" | "released" | "lost";

/** prepared: image, container and newest checkpoint are in place. promoted: it becomes the next attempt. released: no longer needed. lost: its worker is gone or could not prepare. */
export type StandbyEvent = "prepared" | "promoted" | "released" | "lost";

const over = { prepared: "ignore", promoted: "illegal", released: "ignore", lost: "ignore" } as const;

export const standbyTable: StateTable<StandbyPhase, StandbyEvent> = {
  name: "standby",
  initial: "preparing",
  final: ["promoted", "released", "lost"],
  cells: {
    preparing: {
      prepared: { next: "ready", effects: "standby rate is due from here" },
      promoted: "illegal",
      released: { next: "released", effects: "release sent, capacity freed" },
      lost: { next: "lost", effects: "capacity freed, another is wanted" },
    },
    ready: {
      prepared: "ignore",
      promoted: { next: "promoted", effects: "standby rate ends, capacity goes over to the attempt" },
      released: { next: "released", effects: "release sent, standby rate ends, capacity freed" },
      lost: { next: "lost", effects: "standby rate ends at its last sign of life, capacity freed, another is wanted" },
    },
    promoted: over,
    released: over,
    lost: over,
  },
};
