// Whether an escrow shows that an intent came true: the same on every chain.
import type { JobId } from "@qubix/shared/domain";
import { unreachable } from "@qubix/shared/runtime";
import type { EscrowState, Intent } from "./intents.ts";

/** `signer`: in the spelling in which `state` has its payer. */
export function hasHappened(
  intent: Extract<Intent, { readonly jobId: JobId }>,
  state: EscrowState,
  signer: string,
): boolean {
  switch (intent.kind) {
    case "deposit":
      return state.payer === signer && state.amount >= intent.amount;
    case "topUp":
      return state.amount >= intent.total;
    case "settle":
    case "resolve":
      return state.status === "settled" && state.paid === intent.shares.reduce((sum, { amount }) => sum + amount, 0n);
    case "refund":
      return state.status === "refunded";
    case "dispute":
      return state.status === "disputed";
    default:
      return unreachable(intent);
  }
}
