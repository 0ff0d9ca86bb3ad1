// An account's money as its owner sees it: what he can spend, what is held for his jobs, what he earned (pending, payable) and staked, and each movement with the balance after it.
import type { AccountId, Currency, TransferId } from "@qubix/shared/domain";
import { toWireMoney, type walletEntrySchema, type walletSchema } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import type { z } from "zod";
import type { CoreState, LedgerAccount } from "../core/index.ts";
import type { Backing } from "../settlement/chains.ts";
import type { Store, StoredTransfer } from "../store/port.ts";

export type Wallet = z.output<typeof walletSchema>;
export type WalletEntry = z.output<typeof walletEntrySchema>;

/** Where a page of entries ended: the transfer, and what the balances were before it. */
export interface WalletCursor {
  readonly before: TransferId;
  /** `ACCOUNT CURRENCY` → micro-units as a decimal string. */
  readonly balances: Readonly<Record<string, string>>;
}

/** `backing`: what stands behind a currency. */
export function walletOf(
  state: CoreState,
  store: Store,
  accountId: AccountId,
  backing: (currency: string) => Backing,
): Wallet {
  const rows = new Map<Currency, Record<BalanceName | "held", bigint>>();
  const row = (currency: Currency) => {
    const found = rows.get(currency) ?? { available: 0n, held: 0n, pending: 0n, payable: 0n, staked: 0n };
    rows.set(currency, found);
    return found;
  };
  for (const { account, currency, amount } of store.balances(ledgerAccountsOf(accountId))) {
    row(currency)[balanceName(account)] += amount;
  }
  for (const [currency, amount] of heldOf(state, accountId)) row(currency).held += amount;
  const balances = [...rows]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([currency, { available, held, pending, payable, staked }]) => ({
      currency,
      available: available.toString(),
      held: held.toString(),
      earned: (pending + payable).toString(),
      pending: pending.toString(),
      payable: payable.toString(),
      staked: staked.toString(),
      settledBy: backing(currency),
    }));
  return { accountId, balances };
}

/** The newest `limit` transfers before the cursor, one entry for each posting that touches the account. */
export function walletEntries(
  store: Store,
  accountId: AccountId,
  cursor: WalletCursor | undefined,
  limit: number,
): { readonly items: readonly WalletEntry[]; readonly next: WalletCursor | null } {
  const accounts = ledgerAccountsOf(accountId);
  const transfers = store.transfers({
    accounts,
    ...(cursor === undefined ? {} : { before: cursor.before }),
    limit: limit + 1,
  });
  const balances = cursor === undefined ? currentBalances(store, accounts) : readBalances(cursor);
  const page = transfers.slice(0, limit);
  const items = page.flatMap((transfer) => entriesOf(transfer, accounts, balances));
  const last = page.at(-1);
  if (last === undefined || transfers.length <= limit) return { items, next: null };
  const left = Object.fromEntries([...balances].map(([key, amount]) => [key, amount.toString()]));
  return { items, next: { before: last.id, balances: left } };
}

/** Newest first: each entry takes its amount off the running balance, so that the next one finds what was before. */
function entriesOf(
  transfer: StoredTransfer,
  accounts: readonly LedgerAccount[],
  balances: Map<string, bigint>,
): readonly WalletEntry[] {
  const mine = transfer.postings.filter((posting) => accounts.includes(posting.account));
  return mine
    .map((posting, index) => ({ posting, index }))
    .toReversed()
    .map(({ posting, index }) => {
      const key = `${posting.account} ${transfer.currency}`;
      const after = balances.get(key) ?? 0n;
      balances.set(key, after - posting.amount);
      return {
        id: mine.length === 1 ? transfer.id : `${transfer.id}/${index + 1}`,
        time: new Date(transfer.wallMs).toISOString(),
        kind: transfer.kind,
        balance: balanceName(posting.account),
        jobId: transfer.jobId,
        amount: toWireMoney(posting.amount, transfer.currency),
        balanceAfter: after.toString(),
        memo: transfer.memo,
      };
    });
}

/** What is locked for the jobs of an account that have not ended. */
function heldOf(state: CoreState, accountId: AccountId): ReadonlyMap<Currency, bigint> {
  const held = new Map<Currency, bigint>();
  for (const job of state.rows.jobs.values()) {
    if (job.accountId !== accountId || job.settlement.phase !== "held") continue;
    held.set(job.currency, (held.get(job.currency) ?? 0n) + job.settlement.hold);
  }
  return held;
}

function currentBalances(store: Store, accounts: readonly LedgerAccount[]): Map<string, bigint> {
  return new Map(store.balances(accounts).map((row) => [`${row.account} ${row.currency}`, row.amount]));
}

function readBalances(cursor: WalletCursor): Map<string, bigint> {
  return new Map(Object.entries(cursor.balances).map(([key, amount]) => [key, BigInt(amount)]));
}

type BalanceName = WalletEntry["balance"];

/** As the owner of an account calls what the ledger keeps for him. */
const BALANCE_NAMES: Readonly<Record<string, BalanceName>> = {
  customer: "available",
  pending: "pending",
  provider: "payable",
  stake: "staked",
};

function balanceName(account: LedgerAccount): BalanceName {
  const name = BALANCE_NAMES[account.slice(0, account.indexOf(":"))];
  assert(name !== undefined, `${account} is nobody's wallet`);
  return name;
}

function ledgerAccountsOf(accountId: AccountId): readonly LedgerAccount[] {
  return Object.keys(BALANCE_NAMES).map((name) => `${name}:${accountId}` as LedgerAccount);
}
