// The reading side of the SQLite store: each query of the port, by an index.
import type BetterSqlite3 from "better-sqlite3";
import type { Currency, JobId } from "@qubix/shared/domain";
import type { JobSpec } from "@qubix/shared/protocol";
import type { CaseRecord } from "../../core/case-records.ts";
import {
  type AttemptRecord,
  type BalanceRecord,
  type JobRecord,
  KEYED_TABLES,
  type KeyedTable,
  type MetaRecord,
  type PayoutRecord,
  type Posting,
  type StandbyRecord,
  type TransferStep,
} from "../../core/model.ts";
import { holdId, settlementId } from "../../core/ledger-accounts.ts";
import { type AmountRow, auditSums, hasEnded } from "../checks.ts";
import type { AccountReads } from "../accounts-port.ts";
import { transfersOfAccount } from "./account-blocks.ts";
import { createAccountReader } from "./accounts.ts";
import type { AuditSum, CaseFilter, Snapshot, Store, StoredEvent, StoredLog, StoredTransfer } from "../port.ts";
import {
  decodeAttempt,
  decodeJob,
  decodePlain,
  decodeSpec,
  decodeStandby,
  decodeVerification,
  decodeRecord,
  KEYED_CODECS,
} from "./codec.ts";

interface DataRow {
  readonly data: string;
}
interface JobRow extends DataRow {
  readonly spec: string;
}
interface EventRow {
  readonly seq: number;
  readonly at_ms: number;
  readonly wall_ms: number;
  readonly channel: StoredEvent["channel"];
  readonly kind: string;
  readonly account_id: StoredEvent["accountId"];
  readonly provider_id: StoredEvent["providerId"];
  readonly job_id: StoredEvent["jobId"];
  readonly worker_id: StoredEvent["workerId"];
  readonly data: string;
}
interface TransferRow {
  readonly seq: number;
  readonly id: StoredTransfer["id"];
  readonly kind: StoredTransfer["kind"];
  readonly step: TransferStep | null;
  readonly job_id: StoredTransfer["jobId"];
  readonly currency: Currency;
  readonly memo: string;
  readonly at_ms: number;
  readonly wall_ms: number;
}
type Reader = Pick<
  Store,
  | keyof AccountReads
  | "ticks"
  | "tick"
  | "load"
  | "meta"
  | "payout"
  | "payouts"
  | "job"
  | "verification"
  | "jobs"
  | "events"
  | "recoveries"
  | "logs"
  | "transfers"
  | "transfer"
  | "case"
  | "cases"
  | "balances"
  | "audit"
>;

const OPEN_VERIFICATIONS =
  "SELECT data FROM verifications WHERE json_extract(data, '$.decidedAtMs') IS NULL ORDER BY key";
const JOB_COLUMNS = "jobs.data AS data, job_specs.data AS spec";
const JOB_TABLES = "jobs JOIN job_specs ON job_specs.job_id = jobs.id";

/** `onSpec` is told of every specification that was read for the core. */
export function createSqliteReader(db: BetterSqlite3.Database, onSpec: (spec: JobSpec) => void): Reader {
  const sql = createStatements(db);
  const postingsOf = db
    .prepare("SELECT account, amount FROM postings WHERE transfer_seq = ? ORDER BY n")
    .safeIntegers();
  const readJob = (row: JobRow): JobRecord => decodeJob(row.data, decodeSpec(row.spec));

  return {
    ...createAccountReader(db),
    load: () => load(db, onSpec),
    meta: () => readMeta(db),
    job: (id) => {
      const row = sql(`SELECT ${JOB_COLUMNS} FROM ${JOB_TABLES} WHERE jobs.id = ?`).get(id) as JobRow | undefined;
      return row && { job: readJob(row), attempts: attemptsOf(sql, id), standbys: standbysOf(sql, id) };
    },
    verification: (id) => {
      const row = sql("SELECT data FROM verifications WHERE key = ?").get(id) as DataRow | undefined;
      return row && decodeVerification(row.data);
    },
    jobs: (filter) => {
      const { text, values } = jobsQuery(filter);
      return (sql(text).all(...values, filter.limit) as JobRow[]).map(readJob);
    },
    recoveries: ({ account, sinceWallMs, limit }) => {
      const own = account === undefined ? "" : "AND account_id = ?";
      const rows = sql(
        `SELECT * FROM events WHERE kind = 'resumed' AND wall_ms >= ? ${own} ORDER BY seq DESC LIMIT ?`,
      ).all(sinceWallMs, ...(account === undefined ? [] : [account]), limit) as EventRow[];
      return rows.map(readEvent);
    },
    events: (filter) => {
      const { text, values } = eventsQuery(filter);
      return (sql(text).all(...values) as EventRow[]).map(readEvent);
    },
    logs: ({ jobId, after, limit }) =>
      sql(
        `SELECT id, job_id AS jobId, replica, epoch, stream, offset, text, time FROM logs
         WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?`,
      ).all(jobId, after, limit) as StoredLog[],
    transfers: (filter) => {
      const { text, values } = transfersQuery(filter);
      return (sql(text).all(...values) as TransferRow[]).map((row) =>
        readTransfer(row, postingsOf.all(row.seq) as Posting[]),
      );
    },
    case: (id) => {
      const row = sql("SELECT data FROM cases WHERE id = ?").get(id) as DataRow | undefined;
      return row && readCase(row);
    },
    cases: (filter) => {
      const { text, values } = casesQuery(filter);
      return (sql(text).all(...values) as DataRow[]).map(readCase);
    },
    transfer: (id) => {
      const row = sql("SELECT * FROM transfers WHERE id = ?").get(id) as TransferRow | undefined;
      return row && readTransfer(row, postingsOf.all(row.seq) as Posting[]);
    },
    payout: (id) => {
      const row = sql("SELECT data FROM payouts WHERE key = ?").get(id) as DataRow | undefined;
      return row && (decodeRecord(row.data) as PayoutRecord);
    },
    payouts: ({ account, before, limit }) => {
      const own = account === undefined ? "TRUE" : "data ->> '$.accountId' = ?";
      const query = sql(`SELECT data FROM payouts WHERE ${own} AND (? IS NULL OR key < ?) ORDER BY key DESC LIMIT ?`);
      const values = [...(account === undefined ? [] : [account]), before ?? null, before ?? null, limit];
      return (query.all(...values) as DataRow[]).map(({ data }) => decodeRecord(data) as PayoutRecord);
    },
    balances: (accounts, currency) => {
      const query = sql("SELECT account, currency, amount FROM balances WHERE account = ? ORDER BY currency");
      const rows = accounts.flatMap((account) => query.safeIntegers().all(account) as BalanceRecord[]);
      return currency === undefined ? rows : rows.filter((row) => row.currency === currency);
    },
    audit: () => audit(db),
  };
}

// ── The snapshot ──

function load(db: BetterSqlite3.Database, onSpec: (spec: JobSpec) => void): Snapshot {
  const keyed = Object.fromEntries(
    KEYED_TABLES.map((table) => {
      const { sql: name, decode, loaded = "TRUE" } = KEYED_CODECS[table];
      const rows = db.prepare(`SELECT data FROM ${name} WHERE ${loaded} ORDER BY key`).pluck().all() as string[];
      return [table, rows.map((data) => decode(data))];
    }),
  ) as unknown as Pick<Snapshot["rows"], KeyedTable>;
  const sql = createStatements(db);
  const live = db.prepare(`SELECT ${JOB_COLUMNS} FROM ${JOB_TABLES} WHERE ended_phase IS NULL ORDER BY jobs.id`).all();
  const jobs = (live as JobRow[]).map((row) => {
    const spec = decodeSpec(row.spec);
    onSpec(spec);
    return decodeJob(row.data, spec);
  });
  return {
    meta: readMeta(db),
    rows: {
      ...keyed,
      jobs,
      attempts: jobs.flatMap((job) => attemptsOf(sql, job.id)),
      standbys: jobs.flatMap((job) => standbysOf(sql, job.id)),
      verifications: (db.prepare(OPEN_VERIFICATIONS).pluck().all() as string[]).map(decodeVerification),
      balances: db
        .prepare("SELECT account, currency, amount FROM balances ORDER BY account, currency")
        .safeIntegers()
        .all() as BalanceRecord[],
      cases: (db.prepare("SELECT data FROM cases WHERE open = 1 ORDER BY id").all() as DataRow[]).map(readCase),
    },
    ...logsOf(db, jobs),
  };
}

function readMeta(db: BetterSqlite3.Database): MetaRecord | null {
  const row = db.prepare("SELECT data FROM meta WHERE id = 1").get() as DataRow | undefined;
  return row ? (decodePlain(row.data) as MetaRecord) : null;
}

function logsOf(db: BetterSqlite3.Database, jobs: readonly JobRecord[]): Pick<Snapshot, "logCursors" | "logBytes"> {
  const query = db.prepare(
    "SELECT attempt_id, stream, next, bytes FROM log_cursors WHERE attempt_id > ? AND attempt_id < ?",
  );
  const logCursors = new Map<string, number>();
  const logBytes = new Map<JobId, number>();
  for (const { id } of jobs) {
    const rows = query.all(...keysOf(id)) as { attempt_id: string; stream: string; next: number; bytes: number }[];
    for (const row of rows) {
      logCursors.set(`${row.attempt_id} ${row.stream}`, row.next);
      logBytes.set(id, (logBytes.get(id) ?? 0) + row.bytes);
    }
  }
  return { logCursors, logBytes };
}

function attemptsOf(sql: Sql, id: JobId): readonly AttemptRecord[] {
  const rows = sql("SELECT data FROM attempts WHERE id > ? AND id < ?").all(...keysOf(id)) as DataRow[];
  return rows.map((row) => decodeAttempt(row.data)).sort((a, b) => a.replica - b.replica || a.epoch - b.epoch);
}

function standbysOf(sql: Sql, id: JobId): readonly StandbyRecord[] {
  const rows = sql("SELECT data FROM standbys WHERE id > ? AND id < ?").all(...keysOf(id)) as DataRow[];
  return rows.map((row) => decodeStandby(row.data)).sort((a, b) => a.id.length - b.id.length || (a.id < b.id ? -1 : 1));
}

/** Everything that begins with `JOB/`: `0` is the character after `/`. */
function keysOf(id: JobId): readonly [string, string] {
  return [`${id}/`, `${id}0`];
}

// ── Lists ──

interface Query {
  readonly text: string;
  readonly values: readonly (string | number)[];
}

/** Each combination goes by one index: by account, by phase of the ended, or over the few that have not ended. */
function jobsQuery(filter: Parameters<Store["jobs"]>[0]): Query {
  const conditions: string[] = [];
  const values: (string | number)[] = [];
  if (filter.phase !== undefined) {
    conditions.push(
      ...(hasEnded(filter.phase) ? ["ended_phase = ?"] : ["ended_phase IS NULL", "data ->> '$.phase' = ?"]),
    );
    values.push(filter.phase);
  }
  if (filter.account !== undefined) {
    conditions.push("account_id = ?");
    values.push(filter.account);
  }
  if (filter.before !== undefined) {
    conditions.push("id < ?");
    values.push(filter.before);
  }
  const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
  return {
    text: `SELECT ${JOB_COLUMNS} FROM (SELECT id, data FROM jobs ${where} ORDER BY id DESC LIMIT ?) AS jobs
           JOIN job_specs ON job_specs.job_id = jobs.id ORDER BY jobs.id DESC`,
    values,
  };
}

function eventsQuery(filter: Parameters<Store["events"]>[0]): Query {
  const { account, jobId, channels, after, limit } = filter;
  const part = (owner: string): Query => {
    const conditions = [owner, "seq > ?"];
    const values: (string | number)[] = owner === "TRUE" || account === undefined ? [after] : [account, after];
    if (jobId !== undefined) {
      conditions.push("job_id = ?");
      values.push(jobId);
    }
    if (channels !== undefined) {
      conditions.push(`channel IN (${channels.map(() => "?").join(", ")})`);
      values.push(...channels);
    }
    values.push(limit);
    return {
      text: `SELECT * FROM (SELECT * FROM events WHERE ${conditions.join(" AND ")} ORDER BY seq LIMIT ?)`,
      values,
    };
  };
  if (account === undefined) return part("TRUE");
  const consumer = part("account_id = ?");
  const provider = part("provider_id = ?");
  return {
    text: `SELECT * FROM (${consumer.text} UNION ${provider.text}) ORDER BY seq LIMIT ?`,
    values: [...consumer.values, ...provider.values, limit],
  };
}

function transfersQuery(filter: Parameters<Store["transfers"]>[0]): Query {
  const { accounts, jobId, before, limit } = filter;
  const bound = before === undefined ? "" : "AND seq < coalesce((SELECT seq FROM transfers WHERE id = ?), 0)";
  const boundValues = before === undefined ? [] : [before];
  if (jobId !== undefined || accounts === undefined) {
    const job = jobId === undefined ? "TRUE" : OF_JOB;
    const marks = (accounts ?? []).map(() => "?").join(", ");
    const touching =
      accounts === undefined
        ? ""
        : `AND EXISTS (SELECT 1 FROM postings WHERE transfer_seq = seq AND account IN (${marks}))`;
    return {
      text: `SELECT * FROM transfers WHERE ${job} ${bound} ${touching} ORDER BY seq DESC LIMIT ?`,
      values: [
        ...(jobId === undefined ? [] : [holdId(jobId), settlementId(jobId), jobId]),
        ...boundValues,
        ...(accounts ?? []),
        limit,
      ],
    };
  }
  if (accounts.length === 0) return { text: "SELECT * FROM transfers WHERE FALSE", values: [] };
  const parts = accounts.map((account) => transfersOfAccount(account, before, limit));
  const numbers = parts.map(({ text }) => `SELECT * FROM (${text})`).join(" UNION ");
  return {
    text: `SELECT * FROM transfers WHERE seq IN (${numbers}) ORDER BY seq DESC LIMIT ?`,
    values: [...parts.flatMap(({ values }) => values), limit],
  };
}

/** A job's hold and settlement by their ids; what else there is of it by the index, whose condition this is, word for word. */
const OF_JOB =
  "seq IN (SELECT seq FROM transfers WHERE id IN (?, ?) UNION SELECT seq FROM transfers WHERE job_id = ? AND id NOT GLOB 'job-*/*')";

function casesQuery({ kind, account, open, before, limit }: CaseFilter): Query {
  const own = account === undefined ? "" : "JOIN case_parties ON case_parties.case_id = cases.id";
  const conditions = [account === undefined ? "cases.kind = ?" : "case_parties.kind = ? AND account_id = ?"];
  const values: (string | number)[] = account === undefined ? [kind] : [kind, account];
  if (open === true) conditions.push("open = 1");
  if (before !== undefined) {
    conditions.push("cases.id < ?");
    values.push(before);
  }
  return {
    text: `SELECT data FROM cases ${own} WHERE ${conditions.join(" AND ")} ORDER BY cases.id DESC LIMIT ?`,
    values: [...values, limit],
  };
}

function readCase({ data }: DataRow): CaseRecord {
  return decodeRecord(data) as CaseRecord;
}

function readEvent(row: EventRow): StoredEvent {
  return {
    seq: row.seq,
    atMs: row.at_ms,
    wallMs: row.wall_ms,
    channel: row.channel,
    kind: row.kind,
    accountId: row.account_id,
    providerId: row.provider_id,
    jobId: row.job_id,
    workerId: row.worker_id,
    data: decodePlain(row.data) as StoredEvent["data"],
  };
}

function readTransfer(row: TransferRow, postings: readonly Posting[]): StoredTransfer {
  return {
    id: row.id,
    kind: row.kind,
    ...(row.step === null ? {} : { step: row.step }),
    jobId: row.job_id,
    currency: row.currency,
    postings,
    memo: row.memo,
    atMs: row.at_ms,
    wallMs: row.wall_ms,
  };
}

// ── Audit ──

function audit(db: BetterSqlite3.Database): ReadonlyMap<Currency, AuditSum> {
  const posted = db
    .prepare(
      `SELECT account, currency, sum(postings.amount) AS amount FROM postings
       JOIN transfers ON transfers.seq = postings.transfer_seq GROUP BY account, currency`,
    )
    .safeIntegers()
    .all() as AmountRow[];
  const kept = db.prepare("SELECT account, currency, amount FROM balances").safeIntegers().all() as AmountRow[];
  return auditSums(posted, kept);
}

// ── Statements ──

type Sql = (text: string) => BetterSqlite3.Statement;

/** Prepares each text once. The texts differ by which filters are set and how many accounts are named: few. */
function createStatements(db: BetterSqlite3.Database): Sql {
  const prepared = new Map<string, BetterSqlite3.Statement>();
  return (text) => {
    let statement = prepared.get(text);
    if (statement === undefined) {
      if (prepared.size >= STATEMENTS_MAX) prepared.clear();
      statement = db.prepare(text);
      prepared.set(text, statement);
    }
    return statement;
  };
}

/** More than all combinations of filters the API makes; a bound against callers that name ever more accounts. */
const STATEMENTS_MAX = 200;
