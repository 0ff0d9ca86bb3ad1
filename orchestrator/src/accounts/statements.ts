// A consumer's statement: what moved on the account by UTC day, or what each job cost. Every figure comes from the ledger's postings or the settlements' records.
import type { AccountId, Currency } from "@qubix/shared/domain";
import type { Statement } from "@qubix/shared/protocol";
import type { LedgerAccount } from "../core/index.ts";
import type { PostingSum, SettledSum, StoredSettled, WallCursor } from "../store/accounts-port.ts";
import type { Store } from "../store/port.ts";
import { type Days, timeOf } from "./days.ts";
import { type WallPage, wallPage } from "./wall-pages.ts";

export type StatementDay = Extract<Statement, { by: "day" }>["items"][number];
export type StatementJob = Extract<Statement, { by: "job" }>["items"][number];
export type StatementTotal = Statement["totals"][number];
type Source = Pick<Store, "balances" | "postingSums" | "settled" | "settledSums">;

const LAST_DAY = "9999-12-31";

/** Movements by what they are to a consumer. */
interface Moved {
  deposits: bigint;
  held: bigint;
  returned: bigint;
  other: bigint;
}

/** Days on which something moved or was settled, oldest first, by currency within a day; and the sums of all of them. */
export function statementDays(
  store: Source,
  accountId: AccountId,
  days: Days,
): { readonly items: readonly StatementDay[]; readonly totals: readonly StatementTotal[] } {
  const account = accountOf(accountId);
  const opening = openingOf(store, account, days);
  const sums = store.postingSums({ accounts: [account], fromDay: days.from, toDay: days.to, byDay: true });
  const settled = store.settledSums({ payer: account, ...days });
  const items: StatementDay[] = [];
  const totals = new Map<Currency, StatementTotal>();
  const balances = new Map(opening);
  for (const [day, currency] of activeDays(sums, settled)) {
    const own = sums.filter((sum) => sum.day === day && sum.currency === currency);
    const jobs = settled.find((sum) => sum.day === day && sum.currency === currency);
    const before = balances.get(currency) ?? 0n;
    const row = rowOf(currency, before, movedIn(own), jobs);
    balances.set(currency, BigInt(row.closing));
    items.push({ day, ...row });
    totals.set(currency, addTotal(totals.get(currency), row));
  }
  // What only lay there is part of the statement too.
  for (const [currency, amount] of opening) {
    if (amount !== 0n && !totals.has(currency)) totals.set(currency, rowOf(currency, amount, movedIn([]), undefined));
  }
  return { items, totals: [...totals].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, total]) => total) };
}

/** A page of the jobs that were settled in these days, oldest first. */
export function statementJobs(
  store: Source,
  accountId: AccountId,
  days: Days,
  { after, limit }: { readonly after: WallCursor | null; readonly limit: number },
): WallPage<StatementJob> {
  const { fromWallMs, toWallMs } = days;
  const rows = store.settled({ payer: accountOf(accountId), fromWallMs, toWallMs, after, limit: limit + 1 });
  return wallPage(rows, limit, jobOf);
}

function accountOf(accountId: AccountId): LedgerAccount {
  return `customer:${accountId}`;
}

/** What was there before the first day: what is there now, less all that moved since. */
function openingOf(store: Source, account: LedgerAccount, { from }: Days): ReadonlyMap<Currency, bigint> {
  const opening = new Map(store.balances([account]).map(({ currency, amount }) => [currency, amount]));
  for (const sum of store.postingSums({ accounts: [account], fromDay: from, toDay: LAST_DAY, byDay: false })) {
    opening.set(sum.currency, (opening.get(sum.currency) ?? 0n) - sum.amount);
  }
  return opening;
}

function activeDays(
  sums: readonly PostingSum[],
  settled: readonly SettledSum[],
): readonly (readonly [day: string, currency: Currency])[] {
  const keys = new Set([...sums, ...settled].map(({ day, currency }) => `${day} ${currency}`));
  return [...keys].toSorted().map((key) => {
    const [day = "", currency = ""] = key.split(" ");
    return [day, currency] as const;
  });
}

function movedIn(sums: readonly PostingSum[]): Moved {
  const moved: Moved = { deposits: 0n, held: 0n, returned: 0n, other: 0n };
  for (const { kind, amount } of sums) {
    if (kind === "deposit") moved.deposits += amount;
    else if (kind === "hold") moved.held += amount;
    else if (kind === "settlement") moved.returned += amount;
    else moved.other += amount;
  }
  return moved;
}

function rowOf(currency: Currency, opening: bigint, moved: Moved, jobs: SettledSum | undefined): StatementTotal {
  const { deposits, held, returned, other } = moved;
  return {
    currency,
    opening: opening.toString(),
    deposits: deposits.toString(),
    held: held.toString(),
    returned: returned.toString(),
    other: other.toString(),
    closing: (opening + deposits + held + returned + other).toString(),
    jobsSettled: jobs?.jobs ?? 0,
    charged: (jobs?.gross ?? 0n).toString(),
  };
}

function addTotal(total: StatementTotal | undefined, row: StatementTotal): StatementTotal {
  if (total === undefined) {
    const { currency, opening, deposits, held, returned, other, closing, jobsSettled, charged } = row;
    return { currency, opening, deposits, held, returned, other, closing, jobsSettled, charged };
  }
  const plus = (key: "deposits" | "held" | "returned" | "other" | "charged") =>
    (BigInt(total[key]) + BigInt(row[key])).toString();
  return {
    currency: row.currency,
    opening: total.opening,
    deposits: plus("deposits"),
    held: plus("held"),
    returned: plus("returned"),
    other: plus("other"),
    closing: row.closing,
    jobsSettled: total.jobsSettled + row.jobsSettled,
    charged: plus("charged"),
  };
}

function jobOf({ jobId, name, wallMs, currency, hold, gross, fee, refund }: StoredSettled): StatementJob {
  return {
    jobId,
    name,
    settledAt: timeOf(wallMs),
    currency,
    held: hold.toString(),
    charged: gross.toString(),
    fee: fee.toString(),
    returned: refund.toString(),
  };
}
