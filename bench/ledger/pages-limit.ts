// A settlement changes several tables, a bare commit one: each page that a commit changes goes into the write-ahead log whole. How many pages that is, and
// what bare commits that change as many give.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { monotonicMs } from "../harness/clock.ts";

const MEASURE_MS = 1000;
/** A page as the write-ahead log has it: 4 KiB and a header. */
const FRAME_BYTES = 4096 + 24;
/** Small enough that each table stays on one page. */
const ROW = "x".repeat(300);

/** Pages that this process has written so far, of whatever database; the few bytes it writes besides are little beside them. */
export function pagesWritten(): number {
  const bytes = /^wchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1];
  return Number(bytes) / FRAME_BYTES;
}

/** Commits a second that change one row in each of so many tables, WAL with synchronous=FULL. */
export function measurePages(folder: string, pages: number): number {
  const database = new Database(join(folder, "pages.db"));
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = FULL");
  const updates = Array.from({ length: pages }, (_, n) => {
    database.exec(`CREATE TABLE rows_${n} (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, data TEXT NOT NULL) STRICT`);
    database.prepare(`INSERT INTO rows_${n} VALUES (1, 0, ?)`).run(ROW);
    return database.prepare(`UPDATE rows_${n} SET n = n + 1`);
  });
  const commit = database.transaction(() => {
    for (const update of updates) update.run();
  });
  const begun = monotonicMs();
  let commits = 0;
  for (; monotonicMs() - begun < MEASURE_MS; commits++) commit();
  const seconds = (monotonicMs() - begun) / 1000;
  database.close();
  return commits / seconds;
}
