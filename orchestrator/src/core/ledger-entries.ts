// What a caller may ask of the ledger by transfers that he names, and what becomes of it.
import type { Currency, JobId, TransferId } from "@qubix/shared/domain";
import type { LedgerAccount, Posting, TransferKind } from "./model.ts";

export type LedgerEntry =
  /** Moves money at once. */
  | {
      readonly do: "transfer";
      readonly id: TransferId;
      readonly kind: TransferKind;
      readonly jobId: JobId | null;
      readonly currency: Currency;
      readonly postings: readonly Posting[];
      readonly memo: string;
    }
  /** Sets money aside on `reserved:ID`. */
  | {
      readonly do: "reserve";
      readonly id: TransferId;
      readonly kind: TransferKind;
      readonly jobId: JobId | null;
      readonly currency: Currency;
      readonly from: LedgerAccount;
      readonly amount: bigint;
      readonly memo: string;
    }
  /** What was reserved goes to these accounts; what they do not take goes back. */
  | {
      readonly do: "post";
      readonly reservation: TransferId;
      readonly to: readonly Posting[];
      readonly memo: string;
    }
  /** All that was reserved goes back. */
  | { readonly do: "void"; readonly reservation: TransferId; readonly memo: string };

export type LedgerRefusal =
  | "account_not_allowed"
  | "amount_not_positive"
  | "amount_out_of_range"
  | "insufficient_funds"
  | "linked_size"
  | "reservation_exceeded"
  | "reservation_unknown"
  | "transfer_differs"
  | "transfer_id_invalid"
  | "transfer_unbalanced";

export type LinkedOutcome =
  /** In the order of the entries. `repeated`: it had been posted before, and nothing moved now. */
  | {
      readonly kind: "posted";
      readonly transfers: readonly { readonly id: TransferId; readonly repeated: boolean }[];
    }
  /** Nothing was posted. `at`: which entry, from 0. */
  | { readonly kind: "refused"; readonly at: number; readonly code: LedgerRefusal; readonly message: string };

/** Linked transfers of one call: a payment run of a few legs, and a step that stays short. */
export const LINKED_ENTRIES_MAX = 32;
/** As many as one tick of the writer can post (512 events): what is older is in the store, and comes with the event. */
export const NAMED_RECENT_MAX = 512 * LINKED_ENTRIES_MAX;

/** The transfers whose ids have to be looked for in the store before the entries are applied. One whose reservation is open has not been made. */
export function idsOf(
  entries: readonly LedgerEntry[],
  open: { has(reservation: TransferId): boolean },
): readonly TransferId[] {
  return entries.flatMap((entry) => {
    if (entry.do === "transfer" || entry.do === "reserve") return [entry.id];
    return open.has(entry.reservation) ? [] : [entry.reservation, endOf(entry.reservation)];
  });
}

/** Posting and voiding share the id, so that a reservation ends once, whatever happens. */
export function endOf(id: string): TransferId {
  return `${id}/end` as TransferId;
}
