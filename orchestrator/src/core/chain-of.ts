// Which currencies lie on a chain.
import type { ChainSetting } from "./config.ts";
import type { LedgerAccount } from "./model.ts";
import type { CoreState } from "./state.ts";

/** The driver of a currency; `undefined` for one that is the ledger's alone. */
export function chainOf({ config }: CoreState, currency: string): ChainSetting | undefined {
  return config.chains[currency];
}

/** What the outside world of a currency is called. */
export function externalOf(state: CoreState, currency: string): LedgerAccount {
  return `external:${chainOf(state, currency)?.driver ?? "ledger"}`;
}
