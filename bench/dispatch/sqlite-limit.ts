// What the disk and SQLite give on this machine right now: the limit beside which the durable figures stand.
import { join } from "node:path";
import Database from "better-sqlite3";
import { monotonicMs } from "../harness/clock.ts";

const MEASURE_MS = 1500;
/** A record the size of a small job row. */
const RECORD = JSON.stringify({ text: "x".repeat(400) });

/** Transactions of `rowsPerCommit` rows for a while, WAL with synchronous=FULL; how many rows and commits a second. */
export function measureSqlite(folder: string, rowsPerCommit: number): { rowsPerS: number; commits: number } {
  const database = new Database(join(folder, `limit-${rowsPerCommit}.db`));
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = FULL");
  database.exec("CREATE TABLE rows (id INTEGER PRIMARY KEY, data TEXT NOT NULL) STRICT");
  const insert = database.prepare("INSERT INTO rows (data) VALUES (?)");
  const commit = database.transaction(() => {
    for (let row = 0; row < rowsPerCommit; row++) insert.run(RECORD);
  });
  const begun = monotonicMs();
  let commits = 0;
  for (; monotonicMs() - begun < MEASURE_MS; commits++) commit();
  const seconds = (monotonicMs() - begun) / 1000;
  database.close();
  return { rowsPerS: (commits * rowsPerCommit) / seconds, commits };
}
