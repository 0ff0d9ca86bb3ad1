// The one interface behind which outside value moves. The ledger is the authority on who is owed what; a driver only carries it out.
import type { ChainDriver } from "./intents.ts";

/** Where nothing outside stands behind a balance: the ledger's own postings are all there is, no value moves and no outbox is needed. */
export interface CustodialDriver {
  caps(): { readonly name: string; readonly enforced: "custodial"; readonly payeesMax: number };
}

/** What stands behind a currency. `caps().enforced` is shown to users: `custodial`, the operator's word, or `contract`, a chain's rules. */
export type EscrowDriver = CustodialDriver | ChainDriver;

export * from "./intents.ts";
export { compare, type ChainReading } from "./reconcile.ts";
