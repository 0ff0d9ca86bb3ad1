// What the name of a ledger account says of it, and what the transfers of a job are called.
import type { JobId, TransferId } from "@qubix/shared/domain";
import type { LedgerAccount } from "./model.ts";

const PASSING_ACCOUNT = /^(escrow|disputed|reserved):/;

const AMOUNT_64_MAX = 2n ** 63n - 1n;

/** The columns of amounts are 64 bits wide. The lowest number has no positive twin and is left out. */
export function fits64Bits(amount: bigint): boolean {
  return amount <= AMOUNT_64_MAX && amount >= -AMOUNT_64_MAX;
}

/** What the account was for is over: those of a job, a dispute, or a transfer in two phases are not kept when they are empty, else balances would grow with the jobs there ever were. */
export function isSpent(account: LedgerAccount, amount: bigint): boolean {
  return amount === 0n && PASSING_ACCOUNT.test(account);
}

/** A job's hold is a reservation whose account is `escrow:JOB`… */
export function holdId(jobId: JobId): TransferId {
  return `${jobId}/hold` as TransferId;
}

/** …and what ends it, posted or voided, has this id: the store itself takes it once. */
export function settlementId(jobId: JobId): TransferId {
  return `${jobId}/end` as TransferId;
}
