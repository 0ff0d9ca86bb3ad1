// How the leases of attempts and standbys end. Their renewal is a number that moves with each sign of life; no row is written for it.
import { leaseTable, type LeasePhase } from "@qubix/shared/domain";
import type { CoreState } from "./state.ts";
import { fire } from "./tables.ts";

/** expired: no sign of life in time. returned: it ended in order. revoked: a later epoch, a release or a fence. */
export type LeaseEnd = "expired" | "returned" | "revoked";

export function leaseEnd(state: CoreState, phase: LeasePhase, event: LeaseEnd): LeasePhase {
  return fire(state, leaseTable, phase, event) ?? phase;
}
