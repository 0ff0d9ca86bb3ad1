import type { StateTable } from "./table.ts";

export type LeasePhase = "active" | "expired" | "returned" | "revoked";

/** renewed: a heartbeat came. expired: none came in time. returned: the attempt or standby ended. revoked: a later epoch, a release or a fence took it. */
export type LeaseEvent = "renewed" | "expired" | "returned" | "revoked";

const over = { renewed: "ignore", expired: "ignore", returned: "ignore", revoked: "ignore" } as const;

export const leaseTable: StateTable<LeasePhase, LeaseEvent> = {
  name: "lease",
  initial: "active",
  final: ["returned", "revoked", "expired"],
  cells: {
    active: {
      renewed: { next: "active", effects: "volatile: the time moves, no row is written" },
      expired: { next: "expired", effects: "the attempt or standby is lost" },
      returned: { next: "returned" },
      revoked: { next: "revoked" },
    },
    expired: over,
    returned: over,
    revoked: over,
  },
};
