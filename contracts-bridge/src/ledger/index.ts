// The default driver: custodial. The ledger's own postings are all there is, no value moves outside.
import type { CustodialDriver } from "../port/index.ts";

/** Creates the driver behind which nothing stands but the ledger. */
export function createLedgerDriver(): CustodialDriver {
  return { caps: () => ({ name: "ledger", enforced: "custodial", payeesMax: Number.POSITIVE_INFINITY }) };
}
