// A program for tests: brings the database it is given to a newer schema, and in the middle of that says so and does nothing more, until it is killed.
import { writeSync } from "node:fs";
import BetterSqlite3 from "better-sqlite3";
import { migrate, MIGRATIONS } from "../sqlite/schema.ts";

const STDOUT = 1;
const [path = ""] = process.argv.slice(2);

const db = new BetterSqlite3(path);
db.pragma("journal_mode = WAL");
db.pragma("synchronous = FULL");
// Everything that the change has written so far goes to the disk, as with a large database: half of a transaction is there.
db.pragma("cache_size = 1");
db.pragma("cache_spill = 1");
db.function("wait_to_be_killed", () => {
  writeSync(STDOUT, "in the middle\n");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  return 0;
});
migrate(db, path, [
  ...MIGRATIONS,
  `CREATE TABLE later (n INTEGER PRIMARY KEY, filling TEXT NOT NULL) STRICT;
   INSERT INTO later SELECT value, hex(randomblob(2000)) FROM json_each('[${Array.from({ length: 500 }, (_, n) => n).join()}]');
   ALTER TABLE events ADD COLUMN later TEXT;
   SELECT wait_to_be_killed();
   CREATE TABLE last (n INTEGER PRIMARY KEY) STRICT;`,
]);
