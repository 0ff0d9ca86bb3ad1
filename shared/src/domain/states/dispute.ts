import type { StateTable } from "./table.ts";

export type DisputePhase = "open" | "resolved" | "lapsed";

/** resolve: an admin decides how the frozen pay is split. lapse: nobody did in all the time there was. */
export type DisputeEvent = "resolve" | "lapse";

const over = { resolve: "ignore", lapse: "ignore" } as const;

export const disputeTable: StateTable<DisputePhase, DisputeEvent> = {
  name: "dispute",
  initial: "open",
  final: ["resolved", "lapsed"],
  cells: {
    open: {
      resolve: {
        next: "resolved",
        guard: "an admin, with a part for the consumer from none to all",
        effects: "frozen pay → consumer, providers, fee; what went back is held against the workers",
      },
      lapse: { next: "lapsed", guard: "the time to decide is over", effects: "frozen pay → providers, fee" },
    },
    resolved: over,
    lapsed: over,
  },
};
