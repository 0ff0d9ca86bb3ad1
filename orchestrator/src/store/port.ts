// The store's one port: domain operations, synchronous on the writer's side. One conformance suite runs over every implementation.
import type { AccountId, Currency, JobId, TransferId } from "@qubix/shared/domain";
import type { JobPhase } from "@qubix/shared/domain";
import type { CaseKind, CaseRecord } from "../core/case-records.ts";
import type {
  AttemptRecord,
  BalanceRecord,
  Changes,
  EventChannel,
  EventRecord,
  JobRecord,
  LedgerAccount,
  LogRecord,
  MetaRecord,
  PayoutRecord,
  StandbyRecord,
  Tables,
  TickRecord,
  TransferRecord,
} from "../core/model.ts";

import type { AccountReads } from "./accounts-port.ts";

/** Everything the core needs in memory: all accounts, keys, workers, open enrolments, live idempotency, balances, uploads, payouts that wait; jobs that have not ended with their attempts and standbys. */
export interface Snapshot {
  readonly meta: MetaRecord | null;
  readonly rows: { readonly [T in keyof Tables]: readonly Tables[T][] };
  /** Per `ATTEMPT_ID STREAM` of the attempts of live jobs: the offset at which the next log text is expected. Markers have none. */
  readonly logCursors: ReadonlyMap<string, number>;
  /** Per live job: bytes (UTF-8) of log text kept; markers are not counted. */
  readonly logBytes: ReadonlyMap<JobId, number>;
}

/** An event with the wall time at which its transaction was committed; for people. */
export interface StoredEvent extends EventRecord {
  readonly wallMs: number;
}
export interface StoredTransfer extends TransferRecord {
  readonly wallMs: number;
}
export interface StoredLog extends LogRecord {
  /** Rises over all logs; the cursor of `GET /v1/jobs/{id}/logs?after=`. */
  readonly id: number;
}
export interface StoredTick extends TickRecord {
  /** Rises over all ticks; the cursor of their pages. */
  readonly seq: number;
  readonly wallMs: number;
}
export interface StoredJob {
  readonly job: JobRecord;
  readonly attempts: readonly AttemptRecord[];
  readonly standbys: readonly StandbyRecord[];
}

/** Who may see what: an admin sees everything (null), others what is theirs as consumer or provider. */
export interface EventFilter {
  readonly after: number;
  readonly limit: number;
  readonly jobId?: JobId;
  readonly account?: AccountId;
  readonly channels?: readonly EventChannel[];
}

/**
 * Where the orchestrator's clock stands against the machine's boot-time clock: `clockMs - uptimeMs` of one boot. Written once per start;
 * on the same boot the clock is `offsetMs` + uptime, on another it goes on from the newest commit.
 */
export interface ClockRecord {
  readonly bootId: string;
  readonly offsetMs: number;
}

export interface CaseFilter {
  readonly kind: CaseKind;
  readonly account?: AccountId;
  readonly open?: boolean;
  readonly before?: string;
  readonly limit: number;
}

export interface AuditSum {
  readonly postings: bigint;
  readonly balances: bigint;
  /** Accounts whose balance is not the sum of their postings. */
  readonly mismatches: number;
}

export interface Store extends AccountReads {
  /** Reads the snapshot. Called at start and after a failed commit. */
  load(): Snapshot;
  /** As of the newest commit; null before the first. */
  meta(): MetaRecord | null;
  /** One transaction for all changes of a tick, in order; durable when it returns. Throws when it did not happen, and then nothing of it did. `wallMs` stamps events and transfers. */
  commit(batch: readonly Changes[], wallMs: number): void;

  job(id: JobId): StoredJob | undefined;
  /** Newest first; `before` is the id after which the last page ended. */
  jobs(filter: {
    readonly account?: AccountId;
    readonly phase?: JobPhase;
    readonly before?: JobId;
    readonly limit: number;
  }): readonly JobRecord[];
  events(filter: EventFilter): readonly StoredEvent[];
  /** Events `resumed` stamped at `sinceWallMs` or later, newest first; of one consumer's jobs or of all. */
  recoveries(filter: {
    readonly account?: AccountId;
    readonly sinceWallMs: number;
    readonly limit: number;
  }): readonly StoredEvent[];
  logs(filter: { readonly jobId: JobId; readonly after: number; readonly limit: number }): readonly StoredLog[];
  /** In the order in which they came. */
  ticks(filter: { readonly jobId: JobId; readonly after: number; readonly limit: number }): readonly StoredTick[];
  /** The first that came under this number, if any. */
  tick(key: Pick<TickRecord, "jobId" | "replica" | "epoch" | "n">): StoredTick | undefined;
  /** Newest first; `before` is the id after which the last page ended. */
  transfers(filter: {
    /** Not what is set aside (`escrow:`, `reserved:`): that is found by job or id. */
    readonly accounts?: readonly LedgerAccount[];
    readonly jobId?: JobId;
    readonly before?: TransferId;
    readonly limit: number;
  }): readonly StoredTransfer[];
  /** A rating, dispute, slash or unstake, open or ended. */
  case(id: string): CaseRecord | undefined;
  /** Newest first; `before` is the id after which the last page ended. `account`: only those it is a party to. `open`: only those that have not ended. */
  cases(filter: CaseFilter): readonly CaseRecord[];
  transfer(id: TransferId): StoredTransfer | undefined;
  payout(id: string): PayoutRecord | undefined;
  /** Newest first; `before` is the id after which the last page ended. */
  payouts(filter: {
    readonly account?: AccountId;
    readonly before?: string;
    readonly limit: number;
  }): readonly PayoutRecord[];
  /** Those that exist, in the order asked for. An escrow account that is empty again does not exist. */
  balances(accounts: readonly LedgerAccount[], currency?: Currency): readonly BalanceRecord[];
  /** The clock of the last start; null before the first. */
  clock(): ClockRecord | null;
  /** Durable when it returns. */
  saveClock(clock: ClockRecord): void;
  /** Sums every posting ever made and every balance, per currency; for audits. All three must be zero. */
  audit(): ReadonlyMap<Currency, AuditSum>;
  /** Called again: does nothing. */
  close(): void;
}
