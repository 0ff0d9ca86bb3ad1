import type { StateTable } from "./table.ts";

export type UnstakePhase = "waiting" | "paid" | "recalled";

/** due: the wait is over. recall: a slash needs it. */
export type UnstakeEvent = "due" | "recall";

const over = { due: "ignore", recall: "ignore" } as const;

export const unstakeTable: StateTable<UnstakePhase, UnstakeEvent> = {
  name: "unstake",
  initial: "waiting",
  final: ["paid", "recalled"],
  cells: {
    waiting: {
      due: { next: "paid", guard: "an appeal window has passed", effects: "reserved → payable" },
      recall: { next: "recalled", guard: "a slash takes more than the rest of the stake", effects: "reserved → stake" },
    },
    paid: over,
    recalled: over,
  },
};
