import type { StateTable } from "./table.ts";

/** What becomes of an ended job's escrow in a chain's contract. */
export type ChainPayPhase = "waiting" | "frozen" | "paying" | "refused" | "paid" | "released";

/**
 * due: its dispute window is over, or there is nothing to dispute. freeze, resolve: a dispute, and its end. final: the chain shows it. refuse: the chain
 * refused it. retry: an admin asked for it once more. release: he will pay by hand.
 */
export type ChainPayEvent = "due" | "freeze" | "resolve" | "final" | "refuse" | "retry" | "release";

export const chainPayTable: StateTable<ChainPayPhase, ChainPayEvent> = {
  name: "chain pay",
  initial: "waiting",
  final: ["paid", "released"],
  cells: {
    waiting: {
      due: { next: "paying", effects: "pending → reserved; settle or refund goes to the outbox" },
      freeze: { next: "frozen", effects: "nothing is sent to the chain until it is resolved" },
      resolve: "illegal",
      final: "ignore",
      refuse: "ignore",
      retry: "ignore",
      release: "ignore",
    },
    frozen: {
      due: "ignore",
      freeze: "ignore",
      resolve: { next: "waiting", effects: "the shares are those of the resolution; due at once" },
      final: "ignore",
      refuse: "ignore",
      retry: "ignore",
      release: "ignore",
    },
    paying: {
      due: "ignore",
      freeze: "illegal",
      resolve: "illegal",
      final: { next: "paid", effects: "reserved → external, once; the row goes" },
      refuse: { next: "refused", effects: "the money stays reserved; an event tells admins" },
      retry: "ignore",
      release: "ignore",
    },
    refused: {
      due: "ignore",
      freeze: "illegal",
      resolve: "illegal",
      final: "ignore",
      refuse: "ignore",
      retry: { next: "paying", effects: "the same again, as a new intent" },
      release: { next: "released", effects: "reserved → payable, to be paid out by hand; the row goes" },
    },
    paid: {
      due: "ignore",
      freeze: "illegal",
      resolve: "illegal",
      final: "ignore",
      refuse: "ignore",
      retry: "ignore",
      release: "ignore",
    },
    released: {
      due: "ignore",
      freeze: "illegal",
      resolve: "illegal",
      final: "ignore",
      refuse: "ignore",
      retry: "ignore",
      release: "ignore",
    },
  },
};
