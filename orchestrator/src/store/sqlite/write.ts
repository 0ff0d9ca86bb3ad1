// The writing side of the SQLite store: one transaction for all changes of a tick. A row that several steps changed is written once, as the last left it.
import type BetterSqlite3 from "better-sqlite3";
import { attemptId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import type { JobSpec } from "@qubix/shared/protocol";
import type { CaseRecord } from "../../core/case-records.ts";
import {
  type Changes,
  type EventRecord,
  forEachTable,
  type JobRecord,
  KEYED_TABLES,
  type KeyedTable,
  type LogRecord,
  type Put,
  type TableName,
  type Tables,
  type TransferRecord,
} from "../../core/model.ts";
import { isSpent } from "../../core/ledger-accounts.ts";
import { checkBalance, checkTransfer, hasEnded, logTextBytes } from "../checks.ts";
import { type AccountBlockWriter, createAccountBlockWriter } from "./account-blocks.ts";
import { createAccountWriter } from "./accounts.ts";
import { inserter, type Value } from "./inserter.ts";
import {
  encodeAttempt,
  encodeJob,
  encodePlain,
  encodeSpec,
  encodeStandby,
  encodeVerification,
  encodeRecord,
  KEYED_CODECS,
} from "./codec.ts";

/** The last record of every key of a batch, per table. */
type Latest = { readonly [T in TableName]: Map<string, Tables[T] | null> };

export interface SqliteWriter {
  commit(batch: readonly Changes[], wallMs: number): void;
  /** These specifications are in the database already. */
  knowSpec(spec: JobSpec): void;
}

/** Prepares every statement once. */
export function createSqliteWriter(db: BetterSqlite3.Database): SqliteWriter {
  const statements = prepare(db);
  const accounts = createAccountWriter(db);
  const accountBlocks = createAccountBlockWriter(db);
  const writtenSpecs = new WeakSet<JobSpec>();
  let transferSeq = db.prepare("SELECT coalesce(max(seq), 0) AS n FROM transfers").get() as { n: number };

  const write = (batch: readonly Changes[], wallMs: number, newSpecs: JobSpec[]): number => {
    const latest = coalesce(batch);
    for (const table of KEYED_TABLES) writeKeyed(statements, table, latest[table]);
    for (const [id, job] of latest.jobs) writeJob(statements, id, job, writtenSpecs, newSpecs);
    for (const [id, record] of latest.attempts) writeRow(statements.attempts, id, record && encodeAttempt(record));
    for (const [id, record] of latest.standbys) writeRow(statements.standbys, id, record && encodeStandby(record));
    for (const [id, record] of latest.verifications) {
      writeRow(statements.verifications, id, record && encodeVerification(record));
    }
    writeBalances(statements, latest.balances);
    for (const [id, record] of latest.cases) writeCase(statements, id, record);
    statements.events.run(batch.flatMap((changes) => changes.events.map((event) => eventRow(event, wallMs))));
    const lastSeq = writeTransfers(statements, accountBlocks, batch, wallMs, transferSeq.n);
    accounts.days(
      batch.flatMap((changes) => changes.transfers),
      wallMs,
    );
    for (const changes of batch) {
      for (const log of changes.logs) writeLog(statements, log);
      for (const tick of changes.ticks) accounts.tick(tick, wallMs);
    }
    accounts.settled(
      batch.flatMap((changes) => changes.settled),
      wallMs,
    );
    const meta = batch.at(-1)?.meta;
    if (meta) statements.meta.run(encodePlain(meta));
    return lastSeq;
  };

  return {
    knowSpec: (spec) => writtenSpecs.add(spec),
    commit(batch, wallMs) {
      const newSpecs: JobSpec[] = [];
      statements.begin.run();
      try {
        const lastSeq = write(batch, wallMs, newSpecs);
        statements.commit.run();
        transferSeq = { n: lastSeq };
      } catch (error) {
        if (db.inTransaction) statements.rollback.run();
        accountBlocks.forget();
        throw error;
      }
      for (const spec of newSpecs) writtenSpecs.add(spec);
    },
  };
}

// ── Rows ──

function coalesce(batch: readonly Changes[]): Latest {
  const latest = forEachTable<Latest>(() => new Map());
  for (const changes of batch) {
    for (const put of changes.puts) keep(latest, put);
  }
  return latest;
}

function keep(latest: Latest, put: Put): void {
  (latest[put.table] as Map<string, unknown>).set(put.key, put.record);
}

function writeKeyed<T extends KeyedTable>(
  statements: Statements,
  table: T,
  rows: ReadonlyMap<string, Tables[T] | null>,
): void {
  for (const [key, record] of rows) {
    if (record === null) statements.keyed[table].remove.run(key);
    else statements.keyed[table].put.run(key, KEYED_CODECS[table].encode(record));
  }
}

function writeJob(
  statements: Statements,
  id: string,
  job: JobRecord | null,
  writtenSpecs: WeakSet<JobSpec>,
  newSpecs: JobSpec[],
): void {
  if (job === null) {
    statements.jobs.remove.run(id);
    statements.specRemove.run(id);
    return;
  }
  if (!writtenSpecs.has(job.spec)) {
    statements.spec.run(id, encodeSpec(job.spec));
    newSpecs.push(job.spec);
  }
  if (hasEnded(job.phase)) {
    statements.jobs.end.run(id, listedFor(job), job.phase, encodeJob(job));
    return;
  }
  const { changes } = statements.jobs.put.run(id, listedFor(job), encodeJob(job));
  assert(changes === 1, `job ${id} has ended and cannot live again`);
}

/** Whose list of jobs it is in: a run that checks a job is in nobody's. */
function listedFor({ accountId, check }: JobRecord): string {
  return check === undefined ? accountId : "";
}

function writeRow(statements: PutRemove, id: string, data: string | null): void {
  if (data === null) statements.remove.run(id);
  else statements.put.run(id, data);
}

/** A case that has ended does not open again: its row stays as it is, and the transaction fails. Only a rating is given anew. */
function writeCase(statements: Statements, id: string, record: CaseRecord | null): void {
  assert(record !== null, `case ${id} cannot be removed`);
  const open = record.endedAtMs === null ? 1 : 0;
  const { changes } = statements.cases.run(id, record.kind, open, encodeRecord(record));
  assert(changes === 1, `case ${id} has ended and cannot change`);
  for (const account of record.parties) statements.caseParties.run(account, record.kind, id);
}

function writeBalances(statements: Statements, balances: Latest["balances"]): void {
  const rows: (readonly Value[])[] = [];
  for (const [key, record] of balances) {
    if (record === null || isSpent(record.account, record.amount)) {
      const space = key.indexOf(" ");
      statements.balances.remove.run(key.slice(0, space), key.slice(space + 1));
    } else {
      checkBalance(record);
      rows.push([record.account, record.currency, record.amount]);
    }
  }
  statements.balances.put.run(rows);
}

function eventRow(event: EventRecord, wallMs: number): readonly Value[] {
  const { seq, atMs, channel, kind, accountId, providerId, jobId, workerId, data } = event;
  return [seq, atMs, wallMs, channel, kind, accountId, providerId, jobId, workerId, JSON.stringify(data)];
}

function writeTransfers(
  statements: Statements,
  accountBlocks: AccountBlockWriter,
  batch: readonly Changes[],
  wallMs: number,
  lastSeq: number,
): number {
  const rows: (readonly Value[])[] = [];
  const postings: (readonly Value[])[] = [];
  let seq = lastSeq;
  for (const changes of batch) {
    for (const transfer of changes.transfers) {
      checkTransfer(transfer);
      seq += 1;
      rows.push(transferRow(transfer, seq, wallMs));
      for (const [n, posting] of transfer.postings.entries()) postings.push([seq, n, posting.account, posting.amount]);
      accountBlocks.add(seq, transfer.postings);
    }
  }
  statements.transfers.run(rows);
  statements.postings.run(postings);
  return seq;
}

function transferRow(transfer: TransferRecord, seq: number, wallMs: number): readonly Value[] {
  const { id, kind, step = null, jobId, currency, memo, atMs } = transfer;
  return [seq, id, kind, step, jobId, currency, memo, atMs, wallMs];
}

function writeLog(statements: Statements, log: LogRecord): void {
  statements.log.run(log.jobId, log.replica, log.epoch, log.stream, log.offset, log.text, log.time);
  if (log.stream === "marker") return;
  const bytes = logTextBytes(log);
  statements.logCursor.run(attemptId(log), log.stream, log.offset + bytes, bytes);
}

// ── Statements ──

interface PutRemove {
  readonly put: BetterSqlite3.Statement;
  readonly remove: BetterSqlite3.Statement;
}

type Statements = ReturnType<typeof prepare>;

function prepare(db: BetterSqlite3.Database) {
  const keyed = (table: string, key: string): PutRemove => ({
    put: db.prepare(
      `INSERT INTO ${table} (${key}, data) VALUES (?, ?) ON CONFLICT (${key}) DO UPDATE SET data = excluded.data`,
    ),
    remove: db.prepare(`DELETE FROM ${table} WHERE ${key} = ?`),
  });
  return {
    begin: db.prepare("BEGIN IMMEDIATE"),
    commit: db.prepare("COMMIT"),
    rollback: db.prepare("ROLLBACK"),
    meta: db.prepare("INSERT INTO meta (id, data) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data"),
    keyed: Object.fromEntries(KEYED_TABLES.map((table) => [table, keyed(KEYED_CODECS[table].sql, "key")])) as Record<
      KeyedTable,
      PutRemove
    >,
    spec: db.prepare("INSERT INTO job_specs (job_id, data) VALUES (?, ?) ON CONFLICT (job_id) DO NOTHING"),
    specRemove: db.prepare("DELETE FROM job_specs WHERE job_id = ?"),
    jobs: {
      put: db.prepare(
        `INSERT INTO jobs (id, account_id, data) VALUES (?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET data = excluded.data WHERE ended_phase IS NULL`,
      ),
      end: db.prepare(
        `INSERT INTO jobs (id, account_id, ended_phase, data) VALUES (?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET ended_phase = excluded.ended_phase, data = excluded.data`,
      ),
      remove: db.prepare("DELETE FROM jobs WHERE id = ?"),
    },
    attempts: keyed("attempts", "id"),
    standbys: keyed("standbys", "id"),
    verifications: keyed("verifications", "key"),
    balances: {
      put: inserter(
        db,
        "balances (account, currency, amount)",
        3,
        "ON CONFLICT (account, currency) DO UPDATE SET amount = excluded.amount",
      ),
      remove: db.prepare("DELETE FROM balances WHERE account = ? AND currency = ?"),
    },
    cases: db.prepare(
      `INSERT INTO cases (id, kind, open, data) VALUES (?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET open = excluded.open, data = excluded.data WHERE open = 1 OR kind = 'rating'`,
    ),
    caseParties: db.prepare(
      "INSERT INTO case_parties (account_id, kind, case_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
    ),
    events: inserter(
      db,
      "events (seq, at_ms, wall_ms, channel, kind, account_id, provider_id, job_id, worker_id, data)",
      10,
    ),
    transfers: inserter(db, "transfers (seq, id, kind, step, job_id, currency, memo, at_ms, wall_ms)", 9),
    postings: inserter(db, "postings (transfer_seq, n, account, amount)", 4),
    log: db.prepare(
      "INSERT INTO logs (job_id, replica, epoch, stream, offset, text, time) VALUES (?, ?, ?, ?, ?, ?, ?)",
    ),
    logCursor: db.prepare(
      `INSERT INTO log_cursors (attempt_id, stream, next, bytes) VALUES (?, ?, ?, ?)
       ON CONFLICT (attempt_id, stream) DO UPDATE SET next = excluded.next, bytes = bytes + excluded.bytes`,
    ),
  };
}
