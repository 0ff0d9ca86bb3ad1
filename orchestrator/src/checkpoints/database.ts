// The SQLite file beside the chunks: the index of chunks and that of references. Both can be made anew, from the files and from the records.
import { mkdirSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import BetterSqlite3 from "better-sqlite3";

const FILE = "references.db";
/** 1 was that of chunks that lay here unencrypted. */
const SCHEMA_VERSION = 2;

export interface ChunkDatabase {
  readonly db: BetterSqlite3.Database;
  /** It did not exist: it has to be filled before anything may be deleted. */
  readonly fresh: boolean;
  /** Call when it was filled. */
  complete(): void;
  /** What `work` commits is on the disk when this returns. Outside of it a commit may be undone by a power cut, until `sync`. */
  durably<T>(work: () => T): T;
  /** What was committed before the call is on the disk when this resolves; the event loop goes on meanwhile. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Opens or makes the file in `root`. */
export function openChunkDatabase(root: string): ChunkDatabase {
  mkdirSync(root, { recursive: true, mode: 0o700 });
  const path = join(root, FILE);
  const db = new BetterSqlite3(path);
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = NORMAL");
  db.pragma("fullfsync = 1");
  db.pragma("checkpoint_fullfsync = 1");
  const fresh = (db.pragma("user_version", { simple: true }) as number) < SCHEMA_VERSION;
  if (fresh) create(db);
  // By file first: one index finds both the chunk in an account's file, and whose a file is.
  db.exec("CREATE INDEX IF NOT EXISTS stored_by_file ON stored (stored, account); DROP INDEX IF EXISTS stored_by_name");
  /** SQLite keeps one log file as long as a connection is open, and syncs it before it begins it anew. */
  let log: Promise<FileHandle> | undefined;
  return {
    db,
    fresh,
    complete: () => void db.pragma(`user_version = ${SCHEMA_VERSION}`),
    durably: (work) => {
      db.pragma("synchronous = FULL");
      try {
        return work();
      } finally {
        db.pragma("synchronous = NORMAL");
      }
    },
    sync: async () => {
      log ??= open(`${path}-wal`, "r+");
      await (await log).datasync();
    },
    close: async () => {
      await (await log?.catch(() => undefined))?.close();
      db.close();
    },
  };
}

function create(db: BetterSqlite3.Database): void {
  db.transaction(() => {
    db.exec(`
      CREATE TABLE IF NOT EXISTS trees (
        account TEXT NOT NULL, manifest TEXT NOT NULL, holder TEXT NOT NULL, generation INTEGER NOT NULL,
        PRIMARY KEY (account, manifest, holder)
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS chunks (
        account TEXT NOT NULL, cid TEXT NOT NULL, manifest TEXT NOT NULL,
        PRIMARY KEY (account, cid, manifest)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX IF NOT EXISTS chunks_by_manifest ON chunks (account, manifest);
      CREATE TABLE IF NOT EXISTS stored (
        account TEXT NOT NULL, cid TEXT NOT NULL, stored TEXT NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (account, cid)
      ) STRICT, WITHOUT ROWID;`);
  }).immediate();
}
