// Which trees are kept and which chunks they have: an index in SQLite beside the chunks. It can be made anew from the records and the manifests.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import BetterSqlite3 from "better-sqlite3";
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import type { TreeHolder } from "./port.ts";

const FILE = "references.db";
const SCHEMA_VERSION = 1;

export interface TreeKey {
  readonly accountId: AccountId;
  readonly holder: TreeHolder;
  readonly manifestCid: ChunkCid;
}

export interface References {
  /** The index did not exist: it has to be filled from the records before anything may be deleted. */
  readonly fresh: boolean;
  /** Call when it was filled. */
  complete(): void;
  /** Durable when it returns. `cids`: the manifest's own and those of its chunks. */
  add(tree: TreeKey, cids: Iterable<ChunkCid>): void;
  /** The chunks that no other tree has. */
  remove(tree: TreeKey): readonly ChunkCid[];
  has(accountId: AccountId, cid: ChunkCid): boolean;
  /** Trees that were added before this start. */
  older(): readonly TreeKey[];
  close(): void;
}

/** Opens or makes the index in `root`. */
export function openReferences(root: string): References {
  mkdirSync(root, { recursive: true, mode: 0o700 });
  const db = new BetterSqlite3(join(root, FILE));
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = FULL");
  db.pragma("fullfsync = 1");
  const fresh = (db.pragma("user_version", { simple: true }) as number) < SCHEMA_VERSION;
  if (fresh) create(db);
  const { generation } = db.prepare("SELECT coalesce(max(generation), 0) + 1 AS generation FROM trees").get() as {
    readonly generation: number;
  };
  const addTree = db.prepare(
    `INSERT INTO trees (account, manifest, holder, generation) VALUES (?, ?, ?, ?)
     ON CONFLICT (account, manifest, holder) DO NOTHING`,
  );
  const addChunk = db.prepare("INSERT INTO chunks (account, cid, manifest) VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
  const removeTree = db.prepare("DELETE FROM trees WHERE account = ? AND manifest = ? AND holder = ?");
  const held = db.prepare("SELECT 1 FROM trees WHERE account = ? AND manifest = ? LIMIT 1");
  const chunksOf = db.prepare("SELECT cid FROM chunks WHERE account = ? AND manifest = ?").pluck();
  const removeChunks = db.prepare("DELETE FROM chunks WHERE account = ? AND manifest = ?");
  const chunk = db.prepare("SELECT 1 FROM chunks WHERE account = ? AND cid = ? LIMIT 1");
  const has = (accountId: AccountId, cid: ChunkCid) => chunk.get(accountId, cid) !== undefined;

  const add = db.transaction((tree: TreeKey, cids: Iterable<ChunkCid>) => {
    const known = held.get(tree.accountId, tree.manifestCid) !== undefined;
    addTree.run(tree.accountId, tree.manifestCid, tree.holder, generation);
    if (!known) for (const cid of cids) addChunk.run(tree.accountId, cid, tree.manifestCid);
  });
  const remove = db.transaction(({ accountId, manifestCid, holder }: TreeKey): readonly ChunkCid[] => {
    removeTree.run(accountId, manifestCid, holder);
    if (held.get(accountId, manifestCid) !== undefined) return [];
    const cids = chunksOf.all(accountId, manifestCid) as ChunkCid[];
    removeChunks.run(accountId, manifestCid);
    return cids.filter((cid) => !has(accountId, cid));
  });

  return {
    fresh,
    complete: () => db.pragma(`user_version = ${SCHEMA_VERSION}`),
    add,
    remove: (tree) => {
      // A removal that a power cut undoes is found again at the next start: no need to wait for the disk.
      db.pragma("synchronous = NORMAL");
      try {
        return remove(tree);
      } finally {
        db.pragma("synchronous = FULL");
      }
    },
    has,
    older: () =>
      db
        .prepare("SELECT account AS accountId, holder, manifest AS manifestCid FROM trees WHERE generation < ?")
        .all(generation) as TreeKey[],
    close: () => db.close(),
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
      CREATE INDEX IF NOT EXISTS chunks_by_manifest ON chunks (account, manifest);`);
  }).immediate();
}
