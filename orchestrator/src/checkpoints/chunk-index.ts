// From a chunk's name on the wire to the file it lies in, and what each account's files take up. Many additions share one fsync.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import { SEAL_BYTES } from "./chunk-cipher.ts";
import type { ChunkDatabase } from "./database.ts";
import type { StoredCid } from "./port.ts";

export interface IndexEntry {
  readonly stored: StoredCid;
  /** Of the chunk as it came over the wire. */
  readonly bytes: number;
}

export interface IndexRow extends IndexEntry {
  readonly accountId: AccountId;
  readonly cid: ChunkCid;
}

export interface ChunkIndex {
  get(accountId: AccountId, cid: ChunkCid): IndexEntry | undefined;
  /** The name of the chunk that lies in this file. */
  nameOf(accountId: AccountId, stored: StoredCid): ChunkCid | undefined;
  /** Whose chunk lies in this file, which is of one account: no two accounts have the same ciphertext. */
  find(stored: StoredCid): IndexRow | undefined;
  /** Durable when it resolves. `onCounted` is called in the moment from which `usage` has it. */
  add(row: IndexRow, onCounted?: () => void): Promise<void>;
  remove(accountId: AccountId, cid: ChunkCid): void;
  /** Bytes of the account's files. */
  usage(accountId: AccountId): number;
  /** Every row, some hundred at a time. */
  rows(): Iterable<readonly IndexRow[]>;
  /** Resolves when no addition is under way. */
  idle(): Promise<void>;
}

const PAGE = 256;
const NO_CID = "" as ChunkCid;

interface Addition {
  readonly row: IndexRow;
  readonly onCounted: () => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export function createChunkIndex(database: ChunkDatabase): ChunkIndex {
  const { db } = database;
  const find = db.prepare("SELECT stored, bytes FROM stored WHERE account = ? AND cid = ?");
  const findName = db.prepare("SELECT cid FROM stored WHERE account = ? AND stored = ? LIMIT 1").pluck();
  const findFile = db.prepare("SELECT account AS accountId, cid, stored, bytes FROM stored WHERE stored = ? LIMIT 1");
  const insert = db.prepare(
    `INSERT INTO stored (account, cid, stored, bytes) VALUES (?, ?, ?, ?)
     ON CONFLICT (account, cid) DO UPDATE SET stored = excluded.stored, bytes = excluded.bytes`,
  );
  const erase = db.prepare("DELETE FROM stored WHERE account = ? AND cid = ?");
  const page = db.prepare(
    `SELECT account AS accountId, cid, stored, bytes FROM stored WHERE (account, cid) > (?, ?) ORDER BY account, cid LIMIT ${PAGE}`,
  );
  const usages = new Map<AccountId, number>();
  const sums = db.prepare("SELECT account, sum(bytes) AS bytes, count(*) AS count FROM stored GROUP BY account").all();
  for (const { account, bytes, count } of sums as readonly UsageRow[]) usages.set(account, bytes + count * SEAL_BYTES);

  let waiting: Addition[] = [];
  let committing: Promise<void> | undefined;

  const get = (accountId: AccountId, cid: ChunkCid) => find.get(accountId, cid) as IndexEntry | undefined;
  const usage = (accountId: AccountId): number => usages.get(accountId) ?? 0;
  const count = (accountId: AccountId, bytes: number): void => {
    const now = usage(accountId) + bytes;
    if (now === 0) usages.delete(accountId);
    else usages.set(accountId, now);
  };
  const remove = (accountId: AccountId, cid: ChunkCid): void => {
    const row = get(accountId, cid);
    if (row === undefined) return;
    erase.run(accountId, cid);
    count(accountId, -(row.bytes + SEAL_BYTES));
  };

  /** Returns those that were not there before. */
  const insertAll = db.transaction((batch: readonly Addition[]): readonly IndexRow[] => {
    const added: IndexRow[] = [];
    for (const { row } of batch) {
      if (get(row.accountId, row.cid) === undefined) added.push(row);
      insert.run(row.accountId, row.cid, row.stored, row.bytes);
    }
    return added;
  });

  /** What comes while the disk works is the next batch. */
  const commitAll = async (): Promise<void> => {
    await nextTurn();
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        await commit(batch);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    committing = undefined;
  };

  const commit = async (batch: readonly Addition[]): Promise<void> => {
    const added = insertAll(batch);
    for (const { accountId, bytes } of added) count(accountId, bytes + SEAL_BYTES);
    for (const { onCounted } of batch) onCounted();
    try {
      await database.sync();
    } catch (error) {
      // Whether they would survive a power cut nobody knows: they are to be sent again.
      for (const { accountId, cid } of added) remove(accountId, cid);
      throw error;
    }
    for (const { resolve } of batch) resolve();
  };

  return {
    get,
    nameOf: (accountId, stored) => findName.get(accountId, stored) as ChunkCid | undefined,
    find: (stored) => findFile.get(stored) as IndexRow | undefined,
    add: (row, onCounted = () => {}) =>
      new Promise((resolve, reject) => {
        waiting.push({ row, onCounted, resolve, reject });
        committing ??= commitAll();
      }),
    remove,
    usage,
    *rows() {
      let last: readonly [AccountId, ChunkCid] = ["" as AccountId, NO_CID];
      for (;;) {
        const found = page.all(...last) as readonly IndexRow[];
        const end = found.at(-1);
        if (end === undefined) return;
        yield found;
        last = [end.accountId, end.cid];
      }
    },
    idle: async () => committing,
  };
}

interface UsageRow {
  readonly account: AccountId;
  readonly bytes: number;
  readonly count: number;
}
