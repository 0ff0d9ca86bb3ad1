// Which trees are kept and which chunks they have: an index that can be made anew from the records and the manifests.
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import type { ChunkDatabase } from "./database.ts";
import type { KeptTree, TreeHolder } from "./port.ts";

export interface TreeKey {
  readonly accountId: AccountId;
  readonly holder: TreeHolder;
  readonly manifestCid: ChunkCid;
}

export interface References {
  /** Durable when it returns. `cids`: the manifest's own and those of its chunks. */
  add(tree: TreeKey, cids: Iterable<ChunkCid>): void;
  /** The chunks that no other tree has. A removal that a power cut undoes is found again at the next start: it waits for no disk. */
  remove(tree: TreeKey): readonly ChunkCid[];
  has(accountId: AccountId, cid: ChunkCid): boolean;
  /** Whether anybody holds the tree. */
  holds(accountId: AccountId, manifestCid: ChunkCid): boolean;
  /** Every tree that somebody holds, once. */
  trees(): readonly KeptTree[];
  /** Trees that were added before this start. */
  older(): readonly TreeKey[];
}

export function createReferences(database: ChunkDatabase): References {
  const { db } = database;
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
    add: (tree, cids) => database.durably(() => add(tree, cids)),
    remove,
    has,
    holds: (accountId, manifestCid) => held.get(accountId, manifestCid) !== undefined,
    trees: () =>
      db.prepare("SELECT DISTINCT account AS accountId, manifest AS manifestCid FROM trees").all() as KeptTree[],
    older: () =>
      db
        .prepare("SELECT account AS accountId, holder, manifest AS manifestCid FROM trees WHERE generation < ?")
        .all(generation) as TreeKey[],
  };
}
