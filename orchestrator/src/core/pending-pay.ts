// Where the pay of a settled job lies while its dispute window is open.
import type { AccountId, Currency } from "@qubix/shared/domain";
import type { Posting } from "./model.ts";
import type { CoreState } from "./state.ts";

export interface PendingPay {
  readonly providerId: AccountId;
  readonly currency: Currency;
  readonly amount: bigint;
  /** When the job was settled: its window counts from there. */
  readonly settledAtMs: number;
}

/** The postings that take a job's pay back out of it. */
export function pendingPay(_state: CoreState, { providerId, amount }: PendingPay): readonly Posting[] {
  return [{ account: `provider:${providerId}`, amount: -amount }];
}
