// All state machines: whoever documents, tests or simulates them goes through this list.
import { attemptTable } from "./attempt.ts";
import { capTable } from "./cap.ts";
import { chainPayTable } from "./chain-pay.ts";
import { disputeTable } from "./dispute.ts";
import { jobTable } from "./job.ts";
import { leaseTable } from "./lease.ts";
import { moveTable } from "./move.ts";
import { payoutTable } from "./payout.ts";
import { settlementTable } from "./settlement.ts";
import { slashTable } from "./slash.ts";
import { standbyTable } from "./standby.ts";
import type { StateTable } from "./table.ts";
import { unstakeTable } from "./unstake.ts";
import { verificationTable } from "./verification.ts";
import { workerSessionTable } from "./worker-session.ts";

export const STATE_TABLES: readonly StateTable<string, string>[] = [
  jobTable,
  attemptTable,
  standbyTable,
  leaseTable,
  workerSessionTable,
  settlementTable,
  capTable,
  moveTable,
  chainPayTable,
  payoutTable,
  verificationTable,
  disputeTable,
  slashTable,
  unstakeTable,
];
