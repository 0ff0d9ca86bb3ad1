// What this worker earned, as the orchestrator last told it: totals, and the part that came on each day of the machine's calendar. Kept in the journal,
// so that `status` knows it without a connection.
import type { Money } from "@qubix/shared/domain";
import { toWireMoney, type WireMoney } from "@qubix/shared/protocol";
import type { Journal } from "../../journal/journal.ts";

/** More than a year, for those who reckon by it; a day is a few dozen bytes. */
const DAYS_MAX = 400;
const KEY_EARNINGS = "earnings";

type Amounts = Readonly<Record<string, string>>;

interface Kept {
  readonly totals: Amounts;
  /** By day, `2026-11-27`. */
  readonly days: Readonly<Record<string, Amounts>>;
}

export interface EarningsView {
  /** Null before the orchestrator has told any. */
  readonly total: readonly WireMoney[] | null;
  readonly today: readonly WireMoney[];
  /** Oldest first; days without earnings are left out. */
  readonly days: readonly { readonly day: string; readonly earned: readonly WireMoney[] }[];
}

export interface Earnings {
  /** The orchestrator's word: all that was settled so far. */
  note(totals: readonly Money[], at: Date): void;
  view(at: Date): EarningsView;
}

export function createEarnings(journal: Pick<Journal, "get" | "set">): Earnings {
  let kept = (journal.get(KEY_EARNINGS) ?? null) as Kept | null;
  return {
    note(totals, at) {
      const next = withTotals(kept, totals, dayOf(at));
      if (JSON.stringify(next) === JSON.stringify(kept)) return;
      kept = next;
      journal.set(KEY_EARNINGS, kept);
    },
    view: (at) => ({
      total: kept === null ? null : wireOf(kept.totals),
      today: wireOf(kept?.days[dayOf(at)] ?? {}),
      days: Object.entries(kept?.days ?? {}).map(([day, earned]) => ({ day, earned: wireOf(earned) })),
    }),
  };
}

/** What is more than was known counts as the day's. The first word of all is where counting begins: when that was earned is not known. */
function withTotals(kept: Kept | null, totals: readonly Money[], day: string): Kept {
  const before = kept?.totals ?? {};
  const today: Record<string, string> = { ...kept?.days[day] };
  for (const { amount, currency } of totals) {
    const more = amount - BigInt(before[currency] ?? 0);
    if (kept !== null && more > 0n) today[currency] = (BigInt(today[currency] ?? 0) + more).toString();
  }
  const days = { ...kept?.days, ...(Object.keys(today).length === 0 ? {} : { [day]: today }) };
  return {
    totals: Object.fromEntries(totals.map(({ amount, currency }) => [currency, amount.toString()])),
    days: Object.fromEntries(
      Object.entries(days)
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .slice(-DAYS_MAX),
    ),
  };
}

function wireOf(amounts: Amounts): readonly WireMoney[] {
  return Object.entries(amounts).map(([currency, amount]) => toWireMoney(BigInt(amount), currency));
}

/** The machine's own calendar: it is for its owner to read. */
function dayOf(at: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}
