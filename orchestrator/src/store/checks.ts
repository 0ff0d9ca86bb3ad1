// What every store refuses, whatever the core says: the last line of defence of the books. Part of the commit's transaction.
import { assert } from "@qubix/shared/runtime";
import type { BalanceRecord, LedgerAccount, LogRecord, TransferRecord } from "../core/model.ts";

/** Throws unless the transfer has postings and they sum to zero. */
export function checkTransfer(transfer: TransferRecord): void {
  let sum = 0n;
  for (const posting of transfer.postings) sum += posting.amount;
  assert(transfer.postings.length >= 2, `transfer ${transfer.id} has fewer than two postings`);
  assert(sum === 0n, `the postings of transfer ${transfer.id} sum to ${sum}, not zero`);
}

/** Throws when an account other than an external one would be below zero. */
export function checkBalance(balance: BalanceRecord): void {
  assert(
    balance.amount >= 0n || balance.account.startsWith("external:"),
    `the balance of ${balance.account} would be ${balance.amount} ${balance.currency}, below zero`,
  );
}

/** Escrow accounts live as long as their job: an empty one is not kept. */
export function isSpentEscrow(account: LedgerAccount, amount: bigint): boolean {
  return amount === 0n && account.startsWith("escrow:");
}

/** Bytes of the log's text as the worker counts them. */
export function logTextBytes(log: LogRecord): number {
  return Buffer.byteLength(log.text, "utf8");
}

/** Whether the attempts and standbys of a job in this phase are needed in memory. */
export function hasEnded(phase: string): boolean {
  return phase === "succeeded" || phase === "failed" || phase === "cancelled";
}
