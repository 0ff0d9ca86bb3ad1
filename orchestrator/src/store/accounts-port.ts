// What the store tells of accounts over time: sums of postings, settled jobs, shares of workers. Days are UTC, by the wall time of the commit.
import type { AccountId, Currency, JobId, WorkerId } from "@qubix/shared/domain";
import type { LedgerAccount, SettledRecord, TransferKind } from "../core/model.ts";

/** Wall times: from inclusive, to exclusive. */
export interface WallRange {
  readonly fromWallMs: number;
  readonly toWallMs: number;
}

/** UTC days, both inclusive. */
export interface DayRange {
  readonly fromDay: string;
  readonly toDay: string;
}

/** Where a page of rows in the order of their wall time ended. */
export interface WallCursor {
  readonly wallMs: number;
  readonly seq: number;
}

/** All postings of one kind on one account, of one day where days were asked for. */
export interface PostingSum {
  /** `2026-11-27`; null where days were not asked for. */
  readonly day: string | null;
  readonly account: LedgerAccount;
  readonly kind: TransferKind;
  readonly currency: Currency;
  readonly amount: bigint;
}

export interface StoredSettled extends Omit<SettledRecord, "shares"> {
  readonly seq: number;
  readonly wallMs: number;
  /** The job's own name; null for none. */
  readonly name: string | null;
}

/** What one worker earned by one job in one role. */
export interface StoredShare {
  readonly seq: number;
  readonly wallMs: number;
  readonly jobId: JobId;
  readonly workerId: WorkerId;
  readonly role: "primary" | "standby";
  readonly currency: Currency;
  readonly amount: bigint;
  readonly ms: number;
}

/** Jobs that were settled on one day. */
export interface SettledSum {
  readonly day: string;
  readonly currency: Currency;
  readonly jobs: number;
  readonly gross: bigint;
}

export interface ShareSum {
  /** The day or the worker. */
  readonly key: string;
  readonly currency: Currency;
  readonly jobs: number;
  readonly amount: bigint;
  readonly ms: number;
}

export interface AccountReads {
  /** Of accounts that belong to somebody (`customer:`, `pending:`, `provider:`, `stake:`), by day, account, kind, currency. */
  postingSums(
    filter: DayRange & { readonly accounts: readonly LedgerAccount[]; readonly byDay: boolean },
  ): readonly PostingSum[];
  /** Jobs that this account paid, by the wall time at which they were settled. */
  settled(
    filter: WallRange & { readonly payer: LedgerAccount; readonly after: WallCursor | null; readonly limit: number },
  ): readonly StoredSettled[];
  /** By day and currency. */
  settledSums(filter: WallRange & { readonly payer: LedgerAccount }): readonly SettledSum[];
  /** By the wall time at which they were earned. */
  shares(
    filter: WallRange & { readonly provider: AccountId; readonly after: WallCursor | null; readonly limit: number },
  ): readonly StoredShare[];
  /** By key and currency. */
  shareSums(filter: WallRange & { readonly provider: AccountId; readonly by: "day" | "worker" }): readonly ShareSum[];
}
