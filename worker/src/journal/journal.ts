// The agent's durable memory: one row per slot, written before the effects of a step are carried out, and a few small values beside them.
// The open database is also the lock on the data directory: a second agent finds it taken, a killed one leaves it free.
import { DatabaseSync } from "node:sqlite";
import { QubixError } from "@qubix/shared/runtime";
import type { Slot, SlotPut } from "../core/index.ts";

export interface Journal {
  slots(): readonly Slot[];
  /** Durable when it returns; all of it or nothing. */
  commit(puts: readonly SlotPut[]): void;
  get(key: string): unknown;
  /** `undefined` deletes. */
  set(key: string, value: unknown): void;
  close(): void;
}

const SCHEMA_VERSION = 1;
const SCHEMA = `
  CREATE TABLE slots (id TEXT PRIMARY KEY, slot TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE kv (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;
/**
 * Bytes that are written and deleted at each start. Their pages stay with the database and with its write-ahead log (which begins anew after 4 MiB),
 * so that the journal can still be written when jobs have filled the disk: the agent must live to stop them.
 */
const BALLAST_BYTES = 5 * 1024 * 1024;
/** In portions: memory once used for the whole would stay with the process. */
const BALLAST_PORTION_BYTES = 64 * 1024;
/** The journal is a few rows: more would only keep the ballast's pages in memory. */
const CACHE_KIB = 256;
/** SQLite's code for a database that another process holds. */
const SQLITE_BUSY = 5;

/** Opens or creates the journal. Throws `already_running` when another agent holds it, `journal_newer` for one written by a later version. */
export function openJournal(file: string): Journal {
  const db = openLocked(file);
  migrate(db, file);
  takeBallast(db);
  const putSlot = db.prepare("INSERT INTO slots VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET slot = excluded.slot");
  const deleteSlot = db.prepare("DELETE FROM slots WHERE id = ?");
  const putValue = db.prepare("INSERT INTO kv VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value");
  const deleteValue = db.prepare("DELETE FROM kv WHERE key = ?");
  const getValue = db.prepare("SELECT value FROM kv WHERE key = ?");
  return {
    slots: () =>
      db
        .prepare("SELECT slot FROM slots ORDER BY id")
        .all()
        .map((row) => JSON.parse(String(row["slot"])) as Slot),
    commit(puts) {
      if (puts.length === 0) return;
      inTransaction(db, () => {
        for (const put of puts) {
          if (put.slot === null) deleteSlot.run(put.id);
          else putSlot.run(put.id, JSON.stringify(put.slot));
        }
      });
    },
    get(key) {
      const row = getValue.get(key);
      return row === undefined ? undefined : JSON.parse(String(row["value"]));
    },
    set(key, value) {
      if (value === undefined) deleteValue.run(key);
      else putValue.run(key, JSON.stringify(value));
    },
    close: () => db.close(),
  };
}

function openLocked(file: string): DatabaseSync {
  try {
    const db = new DatabaseSync(file, { timeout: 0 });
    db.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
    db.exec(`PRAGMA cache_size = -${CACHE_KIB}`);
    // Takes the lock now, not at the first write.
    db.exec("BEGIN EXCLUSIVE; COMMIT;");
    return db;
  } catch (cause) {
    const { errcode } = cause as { errcode?: number };
    if (errcode === SQLITE_BUSY) {
      throw new QubixError(
        "already_running",
        `Another qubix-worker uses this data directory (${file} is taken). Stop it first, or give this one a --data-dir of its own.`,
        { category: "conflict", cause },
      );
    }
    throw new QubixError("journal_unreadable", `Cannot open the journal ${file}: ${messageOf(cause)}`, {
      category: "provider",
      cause,
    });
  }
}

function migrate(db: DatabaseSync, file: string): void {
  const version = Number(db.prepare("PRAGMA user_version").get()?.["user_version"] ?? 0);
  if (version > SCHEMA_VERSION) {
    db.close();
    throw new QubixError(
      "journal_newer",
      `${file} was written by a later version of qubix-worker (schema ${version}, this one knows ${SCHEMA_VERSION}). Install that version again.`,
      { category: "provider" },
    );
  }
  if (version === 0) inTransaction(db, () => db.exec(SCHEMA));
}

function takeBallast(db: DatabaseSync): void {
  const insert = db.prepare("INSERT INTO kv VALUES (?, CAST(zeroblob(?) AS TEXT))");
  try {
    inTransaction(db, () => {
      for (let at = 0; at < BALLAST_BYTES; at += BALLAST_PORTION_BYTES)
        insert.run(`ballast:${at}`, BALLAST_PORTION_BYTES);
    });
  } catch {
    // The disk is full already: what room the journal has may be enough.
  }
  db.exec("DELETE FROM kv WHERE key = 'ballast' OR key LIKE 'ballast:%'");
}

function inTransaction(db: DatabaseSync, work: () => void): void {
  db.exec("BEGIN");
  try {
    work();
    db.exec("COMMIT");
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
