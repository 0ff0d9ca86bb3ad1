// What every store refuses, whatever the core says: the last line of defence of the books. Part of the commit's transaction.
import type { Currency } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { fits64Bits } from "../core/ledger-accounts.ts";
import type { BalanceRecord, LedgerAccount, LogRecord, TransferRecord } from "../core/model.ts";
import type { AuditSum } from "./port.ts";

/** Throws unless the transfer has postings, none of zero or beyond 64 bits, and they sum to zero. */
export function checkTransfer(transfer: TransferRecord): void {
  let sum = 0n;
  for (const { amount } of transfer.postings) {
    assert(amount !== 0n && fits64Bits(amount), () => `transfer ${transfer.id} has a posting of ${amount}`);
    sum += amount;
  }
  assert(transfer.postings.length >= 2, () => `transfer ${transfer.id} has fewer than two postings`);
  assert(sum === 0n, () => `the postings of transfer ${transfer.id} sum to ${sum}, not zero`);
}

/** Throws when an account other than an external one would be below zero, or any beyond 64 bits. */
export function checkBalance(balance: BalanceRecord): void {
  assert(
    fits64Bits(balance.amount),
    () => `the balance of ${balance.account} would be beyond 64 bits: ${balance.amount}`,
  );
  assert(
    balance.amount >= 0n || balance.account.startsWith("external:"),
    () => `the balance of ${balance.account} would be ${balance.amount} ${balance.currency}, below zero`,
  );
}

/** Bytes of the log's text as the worker counts them. */
export function logTextBytes(log: LogRecord): number {
  return Buffer.byteLength(log.text, "utf8");
}

/** Whether the attempts and standbys of a job in this phase are needed in memory. */
export function hasEnded(phase: string): boolean {
  return phase === "succeeded" || phase === "failed" || phase === "cancelled";
}

export interface AmountRow {
  readonly account: LedgerAccount;
  readonly currency: Currency;
  readonly amount: bigint;
}

/** Sums per currency, and how many accounts have a balance other than their postings' sum. */
export function auditSums(posted: readonly AmountRow[], kept: readonly AmountRow[]): ReadonlyMap<Currency, AuditSum> {
  const sums = new Map<Currency, { postings: bigint; balances: bigint; mismatches: number }>();
  const differences = new Map<string, { readonly currency: Currency; amount: bigint }>();
  const add = (row: AmountRow, field: "postings" | "balances", sign: bigint) => {
    const sum = sums.get(row.currency) ?? { postings: 0n, balances: 0n, mismatches: 0 };
    sums.set(row.currency, sum);
    sum[field] += row.amount;
    const key = `${row.account} ${row.currency}`;
    const difference = differences.get(key) ?? { currency: row.currency, amount: 0n };
    differences.set(key, difference);
    difference.amount += sign * row.amount;
  };
  for (const row of posted) add(row, "postings", 1n);
  for (const row of kept) add(row, "balances", -1n);
  for (const { currency, amount } of differences.values()) {
    const sum = sums.get(currency);
    if (sum && amount !== 0n) sum.mismatches += 1;
  }
  return sums;
}

/** The UTC day of a wall time, e.g. `2026-11-27`. */
export function utcDay(wallMs: number): string {
  return new Date(wallMs).toISOString().slice(0, 10);
}

/** Whether statements are made of this account: it belongs to somebody, and is not one of a job, which would grow with the jobs there ever were. */
export function hasStatements(account: LedgerAccount): boolean {
  return /^(customer|pending|provider|stake):/.test(account);
}
