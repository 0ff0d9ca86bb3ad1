// Accounts over time, and metering ticks, of the SQLite store: their tables, what is written and what is asked.
import type BetterSqlite3 from "better-sqlite3";
import type { SettledRecord, TickRecord, TransferRecord } from "../../core/model.ts";
import type {
  AccountReads,
  PostingSum,
  SettledSum,
  ShareSum,
  StoredSettled,
  StoredShare,
  WallCursor,
} from "../accounts-port.ts";
import { hasStatements, utcDay } from "../checks.ts";
import type { Store, StoredTick } from "../port.ts";
import { decodePlain, encodePlain } from "./codec.ts";
import { inserter } from "./inserter.ts";

const SAME_TICK = ["job_id", "replica", "epoch", "n", "hash"]
  .map((column) => `${column} = NEW.${column}`)
  .join(" AND ");

/** `appendOnly` and `onceOnly` make the triggers of a table: no row of it is changed, deleted, or replaced. */
export const accountTables = (
  appendOnly: (table: string) => string,
  onceOnly: (table: string, same: string) => string,
) => `
CREATE TABLE ticks (
  seq INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL,
  replica INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  n INTEGER NOT NULL CHECK (n >= 1),
  hash TEXT NOT NULL,
  -- All of it, with what is above.
  data TEXT NOT NULL CHECK (json_valid(data)),
  wall_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX ticks_by_number ON ticks (job_id, replica, epoch, n, hash);
-- One row for each job that was settled, and one for each worker's share of it.
CREATE TABLE settled_jobs (
  seq INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL UNIQUE,
  payer TEXT NOT NULL,
  currency TEXT NOT NULL,
  hold INTEGER NOT NULL CHECK (hold >= 0),
  gross INTEGER NOT NULL CHECK (gross >= 0 AND gross <= hold),
  fee INTEGER NOT NULL CHECK (fee >= 0),
  refund INTEGER NOT NULL CHECK (refund = hold - gross),
  at_ms INTEGER NOT NULL,
  wall_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX settled_jobs_by_payer ON settled_jobs (payer, wall_ms, seq);
CREATE TABLE job_shares (
  seq INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL,
  provider_id TEXT NOT NULL,
  worker_id TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('primary','standby')),
  currency TEXT NOT NULL,
  amount INTEGER NOT NULL CHECK (amount >= 0),
  ms INTEGER NOT NULL CHECK (ms >= 0),
  wall_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX job_shares_by_provider ON job_shares (provider_id, wall_ms, seq);
-- Sums of postings on the accounts that belong to somebody, by UTC day: a statement reads days, not the postings of years.
CREATE TABLE account_days (
  account TEXT NOT NULL,
  day TEXT NOT NULL,
  kind TEXT NOT NULL,
  currency TEXT NOT NULL,
  amount INTEGER NOT NULL,
  PRIMARY KEY (account, day, kind, currency)
) STRICT, WITHOUT ROWID;
INSERT INTO account_days (account, day, kind, currency, amount)
  SELECT account, strftime('%Y-%m-%d', wall_ms / 1000, 'unixepoch'), kind, currency, sum(amount)
  FROM postings JOIN transfers ON transfers.seq = transfer_seq
  WHERE account LIKE 'customer:%' OR account LIKE 'pending:%' OR account LIKE 'provider:%' OR account LIKE 'stake:%'
  GROUP BY 1, 2, 3, 4;
-- What was settled before these tables were there is in the event log.
INSERT INTO settled_jobs (job_id, payer, currency, hold, gross, fee, refund, at_ms, wall_ms)
  SELECT job_id, 'customer:' || account_id, data ->> '$.currency', CAST(data ->> '$.hold' AS INTEGER), CAST(data ->> '$.gross' AS INTEGER),
    (SELECT coalesce(sum(CAST(value ->> '$.amount' AS INTEGER)), 0) FROM json_each(data, '$.lines') WHERE value ->> '$.role' = 'fee'),
    CAST(data ->> '$.hold' AS INTEGER) - CAST(data ->> '$.gross' AS INTEGER), at_ms, wall_ms
  FROM events WHERE kind = 'settled' AND channel = 'jobs' ORDER BY events.seq;
INSERT INTO job_shares (job_id, provider_id, worker_id, role, currency, amount, ms, wall_ms)
  SELECT job_id, substr(value ->> '$.account', length('provider:') + 1), value ->> '$.workerId', value ->> '$.role', data ->> '$.currency',
    CAST(value ->> '$.amount' AS INTEGER), coalesce(value ->> '$.ms', 0), wall_ms
  FROM events, json_each(events.data, '$.lines') AS line
  WHERE events.kind = 'settled' AND channel = 'jobs' AND value ->> '$.role' IN ('primary', 'standby') ORDER BY events.seq, line.id;
${appendOnly("ticks")}${onceOnly("ticks", `seq = NEW.seq OR (${SAME_TICK})`)}
${appendOnly("settled_jobs")}${onceOnly("settled_jobs", "seq = NEW.seq OR job_id = NEW.job_id")}
${appendOnly("job_shares")}${onceOnly("job_shares", "seq = NEW.seq")}`;

// ── Writing ──

export interface AccountWriter {
  /** All of one commit. */
  days(transfers: readonly TransferRecord[], wallMs: number): void;
  tick(tick: TickRecord, wallMs: number): void;
  /** All of one commit. */
  settled(records: readonly SettledRecord[], wallMs: number): void;
}

export function createAccountWriter(db: BetterSqlite3.Database): AccountWriter {
  const tick = db.prepare(
    "INSERT INTO ticks (job_id, replica, epoch, n, hash, data, wall_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
  );
  const jobs = inserter(db, "settled_jobs (job_id, payer, currency, hold, gross, fee, refund, at_ms, wall_ms)", 9);
  const shares = inserter(db, "job_shares (job_id, provider_id, worker_id, role, currency, amount, ms, wall_ms)", 8);
  const days = inserter(
    db,
    "account_days (account, day, kind, currency, amount)",
    5,
    "ON CONFLICT (account, day, kind, currency) DO UPDATE SET amount = amount + excluded.amount",
  );
  return {
    days(transfers, wallMs) {
      const on = utcDay(wallMs);
      days.run(sumsOf(transfers).map(({ account, kind, currency, amount }) => [account, on, kind, currency, amount]));
    },
    tick(record, wallMs) {
      const { jobId, replica, epoch, n, hash } = record;
      tick.run(jobId, replica, epoch, n, hash, encodePlain(record), wallMs);
    },
    settled(records, wallMs) {
      jobs.run(
        records.map(({ jobId, payer, currency, hold, gross, fee, refund, atMs }) => {
          return [jobId, payer, currency, hold, gross, fee, refund, atMs, wallMs];
        }),
      );
      shares.run(
        records.flatMap(({ jobId, currency, shares: parts }) => {
          return parts.map(({ providerId, workerId, role, amount, ms }) => {
            return [jobId, providerId, workerId, role, currency, amount, ms, wallMs];
          });
        }),
      );
    },
  };
}

type AccountSum = Pick<PostingSum, "account" | "kind" | "currency" | "amount">;

/** Each account's row is written once a commit. */
function sumsOf(transfers: readonly TransferRecord[]): readonly AccountSum[] {
  const sums = new Map<string, AccountSum>();
  for (const { kind, currency, postings } of transfers) {
    for (const { account, amount } of postings) {
      if (!hasStatements(account)) continue;
      const key = `${account} ${kind} ${currency}`;
      sums.set(key, { account, kind, currency, amount: amount + (sums.get(key)?.amount ?? 0n) });
    }
  }
  return [...sums.values()];
}

// ── Reading ──

const DAY = "strftime('%Y-%m-%d', wall_ms / 1000, 'unixepoch')";
const WITHIN = "wall_ms >= ? AND wall_ms < ?";
const AFTER = "(wall_ms, seq) > (?, ?)";

interface TickRow {
  readonly seq: number;
  readonly data: string;
  readonly wall_ms: number;
}

/** Numbers that are no amounts come as `bigint` too, where amounts do. */
type Raw<T, K extends keyof T> = { readonly [P in keyof T]: P extends K ? bigint : T[P] };

export function createAccountReader(db: BetterSqlite3.Database): AccountReads & Pick<Store, "ticks" | "tick"> {
  const ticks = db.prepare("SELECT seq, data, wall_ms FROM ticks WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?");
  const tick = db.prepare(
    "SELECT seq, data, wall_ms FROM ticks WHERE job_id = ? AND replica = ? AND epoch = ? AND n = ? ORDER BY seq LIMIT 1",
  );
  const sums = (day: string) =>
    db
      .prepare(
        `SELECT ${day} AS day, account, kind, currency, sum(amount) AS amount FROM account_days
         WHERE account = ? AND day >= ? AND day <= ? GROUP BY 1, kind, currency`,
      )
      .safeIntegers();
  const sumsByDay = sums("account_days.day");
  const sumsInAll = sums("NULL");
  const settled = db
    .prepare(
      `SELECT seq, settled_jobs.job_id AS jobId, payer, currency, hold, gross, fee, refund, at_ms AS atMs, wall_ms AS wallMs,
         job_specs.data ->> '$.name' AS name
       FROM settled_jobs LEFT JOIN job_specs ON job_specs.job_id = settled_jobs.job_id
       WHERE payer = ? AND ${AFTER} AND ${WITHIN} ORDER BY wall_ms, seq LIMIT ?`,
    )
    .safeIntegers();
  const settledSums = db
    .prepare(
      `SELECT ${DAY} AS day, currency, count(*) AS jobs, sum(gross) AS gross FROM settled_jobs
       WHERE payer = ? AND ${WITHIN} GROUP BY 1, currency ORDER BY 1, currency`,
    )
    .safeIntegers();
  const shares = db
    .prepare(
      `SELECT seq, job_id AS jobId, worker_id AS workerId, role, currency, amount, ms, wall_ms AS wallMs FROM job_shares
       WHERE provider_id = ? AND ${AFTER} AND ${WITHIN} ORDER BY wall_ms, seq LIMIT ?`,
    )
    .safeIntegers();
  const shareSums = (key: string) =>
    db
      .prepare(
        `SELECT ${key} AS key, currency, count(DISTINCT job_id) AS jobs, sum(amount) AS amount, sum(ms) AS ms
         FROM job_shares WHERE provider_id = ? AND ${WITHIN} GROUP BY 1, currency ORDER BY 1, currency`,
      )
      .safeIntegers();
  const sharesBy = { day: shareSums(DAY), worker: shareSums("worker_id") };

  return {
    ticks: ({ jobId, after, limit }) => (ticks.all(jobId, after, limit) as TickRow[]).map(readTick),
    tick: ({ jobId, replica, epoch, n }) => {
      const row = tick.get(jobId, replica, epoch, n) as TickRow | undefined;
      return row && readTick(row);
    },
    postingSums: ({ accounts, byDay, fromDay, toDay }) => {
      const query = byDay ? sumsByDay : sumsInAll;
      const rows = accounts.flatMap((account) => query.all(account, fromDay, toDay) as PostingSum[]);
      return rows.toSorted((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
    },
    settled: ({ payer, after, limit, fromWallMs, toWallMs }) => {
      const rows = settled.all(payer, ...placeOf(after), fromWallMs, toWallMs, limit);
      return (rows as Raw<StoredSettled, "seq" | "atMs" | "wallMs">[]).map((row) => ({
        ...row,
        seq: Number(row.seq),
        atMs: Number(row.atMs),
        wallMs: Number(row.wallMs),
      }));
    },
    settledSums: ({ payer, fromWallMs, toWallMs }) => {
      const rows = settledSums.all(payer, fromWallMs, toWallMs);
      return (rows as Raw<SettledSum, "jobs">[]).map((row) => ({ ...row, jobs: Number(row.jobs) }));
    },
    shares: ({ provider, after, limit, fromWallMs, toWallMs }) => {
      const rows = shares.all(provider, ...placeOf(after), fromWallMs, toWallMs, limit);
      return (rows as Raw<StoredShare, "seq" | "ms" | "wallMs">[]).map((row) => ({
        ...row,
        seq: Number(row.seq),
        ms: Number(row.ms),
        wallMs: Number(row.wallMs),
      }));
    },
    shareSums: ({ provider, by, fromWallMs, toWallMs }) => {
      const rows = sharesBy[by].all(provider, fromWallMs, toWallMs);
      return (rows as Raw<ShareSum, "jobs" | "ms">[]).map((row) => ({
        ...row,
        jobs: Number(row.jobs),
        ms: Number(row.ms),
      }));
    },
  };
}

function placeOf(cursor: WallCursor | null): readonly [number, number] {
  return cursor === null ? [Number.MIN_SAFE_INTEGER, 0] : [cursor.wallMs, cursor.seq];
}

function readTick({ seq, data, wall_ms }: TickRow): StoredTick {
  return { ...(decodePlain(data) as TickRecord), seq, wallMs: wall_ms };
}

function sortKey({ day, account, kind, currency }: PostingSum): string {
  return [day ?? "", account, kind, currency].join(" ");
}
