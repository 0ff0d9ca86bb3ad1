// The one interface behind which outside value moves. The ledger is the authority on who is owed what; a driver only carries it out.
import type { Currency, JobId, TransferId } from "@qubix/shared/domain";

/** A posted transfer as a driver sees it. Amounts are micro-units; the sum over all postings is zero. */
export interface PostedTransfer {
  readonly id: TransferId;
  readonly kind: string;
  readonly jobId: JobId | null;
  readonly currency: Currency;
  readonly postings: readonly { readonly account: string; readonly amount: bigint }[];
}

/** What a driver guarantees; shown to users. */
export interface DriverCapabilities {
  readonly name: string;
  /** `custodial`: the operator's word. `contract`: enforced by a chain. */
  readonly enforced: "custodial" | "contract";
  /** Whether value outside of the ledger moves at all. */
  readonly movesValue: boolean;
}

export interface EscrowDriver {
  capabilities(): DriverCapabilities;
  /** Takes note of a posted transfer. Called at least once for each, after it is durable; the same id again must change nothing. */
  submit(transfer: PostedTransfer): Promise<void>;
}
export * from "./intents.ts";
