// Which transfers touch an account, coarsely. An index of postings by account has one page for each account at whose end a transfer's postings go, and
// each page that a commit changes is written and synced. Here an account has one row for a block of transfers: most transfers add none, and a
// reader looks through the few transfers of the blocks that he needs.
import type BetterSqlite3 from "better-sqlite3";
import type { Posting } from "../../core/model.ts";

/** Transfers whose numbers divided by this are the same are one block. Of it depends what the rows of the table mean: it cannot be changed. */
const BLOCK_TRANSFERS = 16;

/** `appendOnly` makes the triggers of a table: a transfer whose row was gone would be in no list. */
export const accountBlockTables = (appendOnly: (table: string) => string) => `
CREATE TABLE account_blocks (
  account TEXT NOT NULL,
  block INTEGER NOT NULL CHECK (block >= 0),
  PRIMARY KEY (account, block)
) STRICT, WITHOUT ROWID;
-- What is set aside is found by its job or id: most postings of jobs need no place here.
INSERT INTO account_blocks (account, block)
  SELECT DISTINCT account, transfer_seq / ${BLOCK_TRANSFERS} FROM postings
  WHERE account NOT GLOB 'escrow:*' AND account NOT GLOB 'reserved:*' ORDER BY 1, 2;
DROP INDEX postings_by_account;
${appendOnly("account_blocks")}`;

export interface AccountBlockWriter {
  /** Of a transfer that is being written; their numbers rise. */
  add(transferSeq: number, postings: readonly Posting[]): void;
  /** The transaction was undone: what was added may not be there. */
  forget(): void;
}

export function createAccountBlockWriter(db: BetterSqlite3.Database): AccountBlockWriter {
  const insert = db.prepare("INSERT INTO account_blocks (account, block) VALUES (?, ?) ON CONFLICT DO NOTHING");
  /** The accounts whose row for the newest block is there. */
  const present = new Set<string>();
  let newest = -1;
  return {
    add(transferSeq, postings) {
      const block = Math.floor(transferSeq / BLOCK_TRANSFERS);
      if (block !== newest) present.clear();
      newest = block;
      for (const { account } of postings) {
        if (present.has(account) || !isListed(account)) continue;
        insert.run(account, block);
        present.add(account);
      }
    },
    forget: () => present.clear(),
  };
}

/** As the table is filled by its migration. */
function isListed(account: string): boolean {
  return !account.startsWith("escrow:") && !account.startsWith("reserved:");
}

/** The numbers of the newest transfers that touch an account, below that of `before` where it is given; so many at most. */
export function transfersOfAccount(account: string, before: string | undefined, limit: number) {
  const end = "coalesce((SELECT seq FROM transfers WHERE id = ?), 0)";
  const bound = before === undefined ? "" : `AND block <= ${end} / ${BLOCK_TRANSFERS} AND seq < ${end}`;
  const first = `block * ${BLOCK_TRANSFERS}`;
  return {
    text: `SELECT seq FROM account_blocks CROSS JOIN transfers ON seq BETWEEN ${first} AND ${first} + ${BLOCK_TRANSFERS - 1}
           WHERE account_blocks.account = ? ${bound}
             AND EXISTS (SELECT 1 FROM postings WHERE transfer_seq = seq AND postings.account = account_blocks.account)
           ORDER BY block DESC, seq DESC LIMIT ?`,
    values: [account, ...(before === undefined ? [] : [before, before]), limit],
  };
}
