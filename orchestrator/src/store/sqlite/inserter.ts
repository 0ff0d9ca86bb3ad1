// Rows several to a statement: most of the cost of a small row is its statement.
import type BetterSqlite3 from "better-sqlite3";

export type Value = string | number | bigint | null;

/** Rows of one INSERT, largest first: beyond the first the gain per row is small. Few rows, as of one transfer, take few statements too. */
const ROWS_PER_INSERT = [8, 4, 2, 1];

/** Inserts rows several at a time. `onConflict`: the clause that says what becomes of a row that is there already; without one it is refused. */
export function inserter(db: BetterSqlite3.Database, target: string, columns: number, onConflict = "") {
  const row = `(${Array.from({ length: columns }, () => "?").join(", ")})`;
  const inserts = ROWS_PER_INSERT.map((count) => ({
    count,
    statement: db.prepare(
      `INSERT INTO ${target} VALUES ${Array.from({ length: count }, () => row).join(", ")} ${onConflict}`,
    ),
  }));
  return {
    run(rows: readonly (readonly Value[])[]): void {
      let at = 0;
      for (const { count, statement } of inserts) {
        for (; at + count <= rows.length; at += count) statement.run(...rows.slice(at, at + count).flat());
      }
    },
  };
}
