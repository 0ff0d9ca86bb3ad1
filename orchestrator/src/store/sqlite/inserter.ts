// Rows that are only ever added, several to a statement: most of the cost of a small row is its statement.
import type BetterSqlite3 from "better-sqlite3";

export type Value = string | number | bigint | null;

/** Rows of one INSERT: beyond this the gain per row is small. */
const ROWS_PER_INSERT = 8;

/** Inserts rows several at a time while there are enough of them, then one by one. */
export function inserter(db: BetterSqlite3.Database, target: string, columns: number) {
  const row = `(${Array.from({ length: columns }, () => "?").join(", ")})`;
  const one = db.prepare(`INSERT INTO ${target} VALUES ${row}`);
  const many = db.prepare(
    `INSERT INTO ${target} VALUES ${Array.from({ length: ROWS_PER_INSERT }, () => row).join(", ")}`,
  );
  return {
    run(rows: readonly (readonly Value[])[]): void {
      let at = 0;
      for (; at + ROWS_PER_INSERT <= rows.length; at += ROWS_PER_INSERT) {
        many.run(...rows.slice(at, at + ROWS_PER_INSERT).flat());
      }
      for (; at < rows.length; at++) one.run(...(rows[at] as readonly Value[]));
    },
  };
}
