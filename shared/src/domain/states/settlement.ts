import type { StateTable } from "./table.ts";

export type SettlementPhase = "held" | "settled";

/** settle: shares, fee and refund are posted. */
export type SettlementEvent = "settle";

export const settlementTable: StateTable<SettlementPhase, SettlementEvent> = {
  name: "settlement",
  initial: "held",
  final: ["settled"],
  cells: {
    held: { settle: { next: "settled", effects: "escrow → shares + fee + refund, in the job's own transaction" } },
    settled: { settle: "ignore" },
  },
};
