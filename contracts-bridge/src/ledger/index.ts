// The default driver: custodial. The ledger's own postings are all there is, no value moves outside.
import type { EscrowDriver } from "../port/index.ts";

/** Creates the driver behind which nothing stands but the ledger. */
export function createLedgerDriver(): EscrowDriver {
  return {
    capabilities: () => ({ name: "ledger", enforced: "custodial", movesValue: false }),
    submit: async () => {},
  };
}
