// What an account has spent, and what of its budgets is left. A budget counts what is settled and what the jobs that are not may still cost:
// so that whatever they do, no sum of settlements ever comes to more than it.
import type { AccountId, Currency } from "@qubix/shared/domain";
import type { BudgetRecord, CapSource, JobRecord, SpendingRecord } from "./model.ts";
import type { CoreState } from "./state.ts";
import { put } from "./tables.ts";

export function spendingOf(state: CoreState, accountId: AccountId, currency: Currency): SpendingRecord {
  const id = `${accountId} ${currency}`;
  return state.rows.spending.get(id) ?? { id, accountId, currency, total: 0n, month: "", monthTotal: 0n };
}

/** A job counts in the month in which it is settled. Before the shell has told the month, and should the wall clock be set back, it is the newest known. */
export function noteSpent(state: CoreState, { accountId, currency }: JobRecord, gross: bigint): void {
  if (gross === 0n) return;
  const before = spendingOf(state, accountId, currency);
  const month = laterOf(before.month, state.volatile.month);
  const monthTotal = (month === before.month ? before.monthTotal : 0n) + gross;
  put(state, "spending", before.id, { ...before, total: before.total + gross, month, monthTotal });
}

function laterOf(a: string, b: string): string {
  return a > b ? a : b;
}

/** Settled, as this budget counts it. */
export function spentOf(state: CoreState, budget: BudgetRecord): bigint {
  const spending = spendingOf(state, budget.accountId, budget.currency);
  if (budget.period === "total") return spending.total - budget.spentBefore;
  return laterOf(spending.month, state.volatile.month) === spending.month ? spending.monthTotal : 0n;
}

/** What jobs that are not settled may come to in all. */
export function reservedOf(state: CoreState, accountId: AccountId, currency: Currency): bigint {
  return state.ix.mayCost.get(`${accountId} ${currency}`) ?? 0n;
}

/** Never below zero: of a budget that was set too late, or lowered, nothing is left. */
export function leftOf(state: CoreState, budget: BudgetRecord): bigint {
  const left = budget.amount - spentOf(state, budget) - reservedOf(state, budget.accountId, budget.currency);
  return left > 0n ? left : 0n;
}

/** In a fixed order. An account has at most one of each period and owner, in each currency. */
export function budgetsOf(state: CoreState, accountId: AccountId, currency?: Currency): readonly BudgetRecord[] {
  const currencies = currency === undefined ? currenciesOf(state, accountId) : [currency];
  return currencies.flatMap((one) =>
    KINDS.flatMap((kind) => state.rows.budgets.get(`${accountId} ${one} ${kind}`) ?? []),
  );
}

const KINDS = ["total account", "total admin", "month account", "month admin"] as const;

function currenciesOf(state: CoreState, accountId: AccountId): readonly Currency[] {
  const own = [...state.rows.budgets.values()].filter((budget) => budget.accountId === accountId);
  return [...new Set(own.map(({ currency }) => currency))].toSorted();
}

export interface Tightest {
  readonly left: bigint;
  readonly source: CapSource;
  /** Missing for the job's own. */
  readonly budget?: BudgetRecord;
}

/** The budget of the account with the least left; undefined without any. */
export function tightestOf(state: CoreState, accountId: AccountId, currency: Currency): Tightest | undefined {
  let tightest: Tightest | undefined;
  for (const budget of budgetsOf(state, accountId, currency)) {
    const left = leftOf(state, budget);
    if (tightest === undefined || left < tightest.left) tightest = { left, source: sourceOf(budget), budget };
  }
  return tightest;
}

export function sourceOf({ period, owner }: BudgetRecord): CapSource {
  return owner === "admin" ? `admin_${period}` : period;
}
