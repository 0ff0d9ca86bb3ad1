import type { StateTable } from "./table.ts";

export type PayoutPhase = "requested" | "completed" | "rejected";

/** complete: the money has left, by an admin's word and reference, or as the chain shows. reject: it does not leave. */
export type PayoutEvent = "complete" | "reject";

export const payoutTable: StateTable<PayoutPhase, PayoutEvent> = {
  name: "payout",
  initial: "requested",
  final: ["completed", "rejected"],
  cells: {
    requested: {
      complete: { next: "completed", effects: "reserved → external" },
      reject: { next: "rejected", effects: "reserved → payable" },
    },
    completed: { complete: "ignore", reject: "illegal" },
    rejected: { complete: "illegal", reject: "ignore" },
  },
};
