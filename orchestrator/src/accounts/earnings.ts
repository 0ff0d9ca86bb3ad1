// A provider's earnings: what was earned, is pending, payable and paid out; by UTC day, worker, or job.
import type { AccountId, Currency } from "@qubix/shared/domain";
import type { Earnings } from "@qubix/shared/protocol";
import type { LedgerAccount } from "../core/index.ts";
import type { ShareSum, StoredShare, WallCursor } from "../store/accounts-port.ts";
import type { Store } from "../store/port.ts";
import { type Days, timeOf } from "./days.ts";
import { type WallPage, wallPage } from "./wall-pages.ts";

export type EarningsTotal = Earnings["totals"][number];
export type EarningsJob = Extract<Earnings, { by: "job" }>["items"][number];
type Source = Pick<Store, "balances" | "postingSums" | "shares" | "shareSums">;

const EVER = { fromDay: "0000-01-01", toDay: "9999-12-31", byDay: false } as const;

/** Of all time, from the ledger, with what was earned in these days. */
export function earningsTotals(store: Source, accountId: AccountId, days: Days): readonly EarningsTotal[] {
  const pending: LedgerAccount = `pending:${accountId}`;
  const payable: LedgerAccount = `provider:${accountId}`;
  const rows = new Map<
    Currency,
    { earned: bigint; pending: bigint; payable: bigint; paidOut: bigint; other: bigint; inRange: bigint }
  >();
  const row = (currency: Currency) => {
    const found = rows.get(currency) ?? { earned: 0n, pending: 0n, payable: 0n, paidOut: 0n, other: 0n, inRange: 0n };
    rows.set(currency, found);
    return found;
  };
  for (const { account, currency, amount } of store.balances([pending, payable])) {
    if (account === pending) row(currency).pending += amount;
    else row(currency).payable += amount;
  }
  for (const { kind, currency, amount } of store.postingSums({ ...EVER, accounts: [pending, payable] })) {
    if (kind === "settlement") row(currency).earned += amount;
    else if (kind === "payout") row(currency).paidOut -= amount;
    else row(currency).other += amount;
  }
  for (const { currency, amount } of earningsBy(store, accountId, days, "day")) row(currency).inRange += amount;
  return [...rows]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([currency, sums]) => ({
      currency,
      earned: sums.earned.toString(),
      pending: sums.pending.toString(),
      payable: sums.payable.toString(),
      paidOut: sums.paidOut.toString(),
      other: sums.other.toString(),
      earnedInRange: sums.inRange.toString(),
    }));
}

export function earningsBy(
  store: Pick<Store, "shareSums">,
  accountId: AccountId,
  { fromWallMs, toWallMs }: Days,
  by: "day" | "worker",
): readonly ShareSum[] {
  return store.shareSums({ provider: accountId, fromWallMs, toWallMs, by });
}

/** A page of the shares of these days, oldest first. */
export function earningsJobs(
  store: Pick<Store, "shares">,
  accountId: AccountId,
  { fromWallMs, toWallMs }: Days,
  { after, limit }: { readonly after: WallCursor | null; readonly limit: number },
): WallPage<EarningsJob> {
  const rows = store.shares({ provider: accountId, fromWallMs, toWallMs, after, limit: limit + 1 });
  return wallPage(rows, limit, shareOf);
}

function shareOf({ jobId, workerId, role, wallMs, currency, ms, amount }: StoredShare): EarningsJob {
  return { jobId, workerId, role, settledAt: timeOf(wallMs), currency, ms, amount: amount.toString() };
}
