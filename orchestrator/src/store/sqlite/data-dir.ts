// Opens the files of a data directory: the lock that keeps a second orchestrator out, and the database with the durability that the writer promises.
import { accessSync, constants, mkdirSync } from "node:fs";
import { join } from "node:path";
import BetterSqlite3 from "better-sqlite3";
import { assert, QubixError } from "@qubix/shared/runtime";
import { migrate } from "./schema.ts";

export const DATABASE_FILE = "qubix.db";
const LOCK_FILE = "lock.db";
/** FULL: every commit is fsynced before it returns. */
const SYNCHRONOUS_FULL = 2;
/** Pages of 4 KiB in the write-ahead log before they move to the database: 16 MiB, so that moving is rare and each page moves once for many commits. */
const WAL_PAGES = 4_000;
/** The hot tail of the tables and indexes stays in memory. Negative: KiB. */
const CACHE_KIB = 64 * 1024;

export interface OpenDatabase {
  readonly db: BetterSqlite3.Database;
  close(): void;
}

/**
 * Makes the directory (mode 0700) and the database where there are none.
 * Throws `data_dir_unusable`, `data_dir_in_use`, `database_damaged`, `schema_newer`, `database_foreign`.
 */
export function openDataDir(dataDir: string): OpenDatabase {
  makeUsable(dataDir);
  const lock = lockDataDir(dataDir);
  try {
    const db = openDatabase(join(dataDir, DATABASE_FILE));
    let open = true;
    return {
      db,
      close: () => {
        if (!open) return;
        open = false;
        db.close();
        lock.close();
      },
    };
  } catch (error) {
    lock.close();
    throw error;
  }
}

function makeUsable(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new QubixError(
      "data_dir_unusable",
      `The data directory ${dataDir} cannot be used: ${messageOf(cause)}. Name one that this user may write to.`,
      { category: "user", cause },
    );
  }
}

/**
 * An exclusive transaction on a database of its own: the operating system drops it with the process, even after a kill. Whoever changes the directory
 * holds it. Throws `data_dir_unusable`, `data_dir_in_use`.
 */
export function lockDataDir(dataDir: string): BetterSqlite3.Database {
  const lock = new BetterSqlite3(join(dataDir, LOCK_FILE), { timeout: 0 });
  try {
    lock.exec("BEGIN EXCLUSIVE");
    return lock;
  } catch (cause) {
    lock.close();
    if (codeOf(cause).startsWith("SQLITE_BUSY")) {
      throw new QubixError(
        "data_dir_in_use",
        `The data directory ${dataDir} is in use by another orchestrator. Stop that one first, or name another directory.`,
        { category: "user", cause },
      );
    }
    throw new QubixError("data_dir_unusable", `The data directory ${dataDir} cannot be locked: ${messageOf(cause)}.`, {
      category: "user",
      cause,
    });
  }
}

function openDatabase(path: string): BetterSqlite3.Database {
  const db = new BetterSqlite3(path);
  try {
    const mode = db.pragma("journal_mode = WAL", { simple: true });
    assert(mode === "wal", `${path} does not take a write-ahead log (journal mode ${String(mode)})`);
    db.pragma("synchronous = FULL");
    db.pragma("fullfsync = 1");
    db.pragma("checkpoint_fullfsync = 1");
    db.pragma(`wal_autocheckpoint = ${WAL_PAGES}`);
    db.pragma(`cache_size = -${CACHE_KIB}`);
    db.pragma("temp_store = MEMORY");
    db.pragma("foreign_keys = OFF");
    const synchronous = db.pragma("synchronous", { simple: true });
    assert(synchronous === SYNCHRONOUS_FULL, `${path} is not synchronous=FULL but ${String(synchronous)}`);
    migrate(db, path);
    return db;
  } catch (cause) {
    db.close();
    if (codeOf(cause) === "SQLITE_NOTADB" || codeOf(cause).startsWith("SQLITE_CORRUPT")) {
      throw new QubixError(
        "database_damaged",
        `${path} is damaged or not a database: ${messageOf(cause)}. Restore it from a backup, or name another data directory.`,
        { category: "platform", cause },
      );
    }
    throw cause;
  }
}

function codeOf(error: unknown): string {
  const code = error instanceof Error ? (error as { readonly code?: unknown }).code : undefined;
  return typeof code === "string" ? code : "";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
