// Cases by time: what comes of an open one when the time of its phase is over.
import { unreachable } from "@qubix/shared/runtime";
import { onDisputeDue } from "./disputes.ts";
import { onSlashDue } from "./slashes.ts";
import { onUnstakeDue } from "./stakes.ts";
import type { CoreState } from "./state.ts";

/** The time that its phase had is over. */
export function onCaseDue(state: CoreState, id: string): void {
  const found = state.rows.cases.get(id);
  if (found === undefined || found.endedAtMs !== null) return;
  switch (found.kind) {
    case "dispute":
      return onDisputeDue(state, found);
    case "slash":
      return onSlashDue(state, found);
    case "unstake":
      return onUnstakeDue(state, found);
    case "rating":
      return;
    default:
      unreachable(found);
  }
}
