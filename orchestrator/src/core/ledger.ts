// Double-entry bookkeeping. Money moves only here, by transfers whose postings sum to zero; no account but the outside world goes below zero.
import type { Currency, JobId, TransferId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { fits64Bits, isSpent } from "./ledger-accounts.ts";
import type { LedgerAccount, Posting, TransferRecord, TransferStep } from "./model.ts";
import type { CoreState } from "./state.ts";
import { put } from "./tables.ts";
import { newTransferId } from "./random.ts";

export interface TransferInput {
  /** Where the caller names it: never used before. Else one is made. */
  readonly id?: TransferId;
  readonly kind: TransferRecord["kind"];
  readonly step?: TransferStep;
  readonly jobId: JobId | null;
  readonly currency: Currency;
  /** Of zero ones nothing is written. */
  readonly postings: readonly Posting[];
  readonly memo: string;
}

/** Posts a transfer and moves the balances. Throws, and so undoes the step, when it does not sum to zero or would overdraw. */
export function transfer(state: CoreState, input: TransferInput): TransferId | null {
  const postings = input.postings.filter((posting) => posting.amount !== 0n);
  if (postings.length === 0) return null;
  let sum = 0n;
  for (const { account, amount } of postings) {
    sum += amount;
    moveBalance(state, account, input.currency, amount);
  }
  assert(sum === 0n, () => `the postings of a ${input.kind} sum to ${sum}`);
  const record: TransferRecord = {
    id: input.id ?? newTransferId(state.meta),
    kind: input.kind,
    ...(input.step === undefined ? {} : { step: input.step }),
    jobId: input.jobId,
    currency: input.currency,
    postings,
    memo: input.memo,
    atMs: state.nowMs,
  };
  state.step.transfers.push(record);
  return record.id;
}

/** Micro-units on an account; zero where nothing was ever posted. */
export function balanceOf(state: CoreState, account: LedgerAccount, currency: Currency): bigint {
  return balanceAt(state, balanceKey(account, currency));
}

/** …by its {@link balanceKey}, where that is at hand. */
export function balanceAt(state: CoreState, key: string): bigint {
  return state.rows.balances.get(key)?.amount ?? 0n;
}

export function balanceKey(account: LedgerAccount, currency: Currency): string {
  return `${account} ${currency}`;
}

function moveBalance(state: CoreState, account: LedgerAccount, currency: Currency, by: bigint): void {
  const key = balanceKey(account, currency);
  const amount = balanceAt(state, key) + by;
  assert(fits64Bits(amount), () => `${account} would hold ${amount} ${currency}, beyond 64 bits`);
  assert(
    amount >= 0n || account.startsWith("external:"),
    () => `${account} would be overdrawn by ${-amount} ${currency}`,
  );
  const record = isSpent(account, amount) ? null : { account, currency, amount };
  put(state, "balances", key, record);
}
