// Accounts over time, of the store in memory.
import { assert } from "@qubix/shared/runtime";
import type { SettledRecord, TickRecord } from "../core/model.ts";
import type {
  AccountReads,
  PostingSum,
  SettledSum,
  ShareSum,
  StoredShare,
  WallCursor,
  WallRange,
} from "./accounts-port.ts";
import { hasStatements, utcDay } from "./checks.ts";
import type { Store, StoredTick, StoredTransfer } from "./port.ts";

interface Kept extends SettledRecord {
  readonly seq: number;
  readonly wallMs: number;
}

export interface MemoryAccounts {
  readonly reads: AccountReads & Pick<Store, "ticks" | "tick">;
  checkTicks(ticks: readonly TickRecord[]): void;
  addTick(tick: TickRecord, wallMs: number): void;
  addSettled(settled: SettledRecord, wallMs: number): void;
}

/** `nameOf`: of a job, as its specification has it. */
export function createMemoryAccounts(
  transfers: readonly StoredTransfer[],
  nameOf: (jobId: SettledRecord["jobId"]) => string | null,
): MemoryAccounts {
  const ticks: StoredTick[] = [];
  const tickKeys = new Set<string>();
  const settled: Kept[] = [];
  const shares: (StoredShare & { readonly providerId: string })[] = [];
  return {
    checkTicks(added) {
      if (added.length === 0) return;
      const keys = new Set<string>();
      for (const tick of added) {
        assert(!tickKeys.has(keyOf(tick)) && !keys.has(keyOf(tick)), () => `tick ${keyOf(tick)} repeats`);
        keys.add(keyOf(tick));
      }
    },
    addTick(tick, wallMs) {
      tickKeys.add(keyOf(tick));
      ticks.push({ ...tick, seq: ticks.length + 1, wallMs });
    },
    addSettled(record, wallMs) {
      const { jobId, currency } = record;
      settled.push({ ...record, seq: settled.length + 1, wallMs });
      for (const share of record.shares) shares.push({ ...share, jobId, currency, seq: shares.length + 1, wallMs });
    },
    reads: {
      ticks: ({ jobId, after, limit }) =>
        ticks.filter((tick) => tick.jobId === jobId && tick.seq > after).slice(0, limit),
      tick: ({ jobId, replica, epoch, n }) =>
        ticks.find((tick) => tick.jobId === jobId && tick.replica === replica && tick.epoch === epoch && tick.n === n),
      postingSums: ({ accounts, byDay, fromDay, toDay }) => {
        const groups = new Groups<PostingSum>();
        for (const { wallMs, kind, currency, postings } of transfers) {
          const postedOn = utcDay(wallMs);
          if (postedOn < fromDay || postedOn > toDay) continue;
          const day = byDay ? postedOn : null;
          for (const { account, amount } of postings) {
            if (!accounts.includes(account) || !hasStatements(account)) continue;
            groups.add([day ?? "", account, kind, currency], { day, account, kind, currency, amount }, (sum) => ({
              ...sum,
              amount: sum.amount + amount,
            }));
          }
        }
        return groups.sorted();
      },
      settled: ({ payer, after, limit, ...range }) =>
        settled
          .filter(within(range))
          .filter((row) => row.payer === payer && isAfter(row, after))
          .toSorted(byWall)
          .slice(0, limit)
          .map((row) => ({ ...withoutShares(row), name: nameOf(row.jobId) })),
      settledSums: ({ payer, ...range }) => {
        const groups = new Groups<SettledSum>();
        for (const row of settled.filter(within(range))) {
          if (row.payer !== payer) continue;
          const { currency, gross } = row;
          const day = utcDay(row.wallMs);
          groups.add([day, currency], { day, currency, jobs: 1, gross }, (sum) => ({
            ...sum,
            jobs: sum.jobs + 1,
            gross: sum.gross + gross,
          }));
        }
        return groups.sorted();
      },
      shares: ({ provider, after, limit, ...range }) =>
        shares
          .filter(within(range))
          .filter((row) => row.providerId === provider && isAfter(row, after))
          .toSorted(byWall)
          .slice(0, limit)
          .map(withoutProvider),
      shareSums: ({ provider, by, ...range }) => {
        const groups = new Groups<ShareSum & { readonly seen: ReadonlySet<string> }>();
        for (const row of shares.filter(within(range))) {
          if (row.providerId !== provider) continue;
          const { currency, amount, ms, jobId } = row;
          const key = by === "day" ? utcDay(row.wallMs) : row.workerId;
          const first = { key, currency, jobs: 1, amount, ms, seen: new Set<string>([jobId]) };
          groups.add([key, currency], first, (sum) => {
            const seen = new Set([...sum.seen, jobId]);
            return { ...sum, seen, jobs: seen.size, amount: sum.amount + amount, ms: sum.ms + ms };
          });
        }
        return groups.sorted().map((group) => {
          const { seen: _, ...sum } = group;
          return sum;
        });
      },
    },
  };
}

class Groups<T> {
  private readonly rows = new Map<string, T>();

  add(key: readonly string[], first: T, more: (sum: T) => T): void {
    const text = key.join(" ");
    const sum = this.rows.get(text);
    this.rows.set(text, sum === undefined ? first : more(sum));
  }

  sorted(): readonly T[] {
    return [...this.rows].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
  }
}

function withoutShares(row: Kept): Omit<Kept, "shares"> {
  const { shares: _, ...rest } = row;
  return rest;
}

function withoutProvider(row: StoredShare & { readonly providerId: string }): StoredShare {
  const { providerId: _, ...share } = row;
  return share;
}

function keyOf({ jobId, replica, epoch, n, hash }: TickRecord): string {
  return `${jobId}/${replica}/${epoch}/${n}/${hash}`;
}

function within({ fromWallMs, toWallMs }: WallRange): (row: { readonly wallMs: number }) => boolean {
  return ({ wallMs }) => wallMs >= fromWallMs && wallMs < toWallMs;
}

function byWall(a: WallCursor, b: WallCursor): number {
  return a.wallMs - b.wallMs || a.seq - b.seq;
}

function isAfter(row: WallCursor, cursor: WallCursor | null): boolean {
  return cursor === null || byWall(row, cursor) > 0;
}
