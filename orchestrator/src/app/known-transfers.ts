// What an event names and the store may have: looked up in the moment it is stepped, so that nothing can come between.
import { type CoreEvent, type CoreState, idsOf } from "../core/index.ts";
import type { TransferId } from "@qubix/shared/domain";
import type { Store, StoredTransfer } from "../store/port.ts";

/** The event with the transfers that it names, as far as they are in the store; most events name none and stay as they are. */
export function withKnown(store: Pick<Store, "transfer">, state: CoreState, event: CoreEvent): CoreEvent {
  if (event.kind === "deposit") return event.id === undefined ? event : { ...event, known: lookUp(store, [event.id]) };
  if (event.kind !== "ledger.apply") return event;
  return { ...event, known: lookUp(store, idsOf(event.entries, state.rows.reservations)) };
}

function lookUp(store: Pick<Store, "transfer">, ids: readonly TransferId[]): ReadonlyMap<TransferId, StoredTransfer> {
  const known = new Map<TransferId, StoredTransfer>();
  for (const id of ids) {
    const transfer = store.transfer(id);
    if (transfer !== undefined) known.set(id, transfer);
  }
  return known;
}
