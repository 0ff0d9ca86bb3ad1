// A database of an older version becomes one of today's wholly or not at all, whatever ends it in between.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import BetterSqlite3 from "better-sqlite3";
import type { TransferId } from "@qubix/shared/domain";
import { describe, expect, it } from "vitest";
import type { TransferRecord } from "../../core/model.ts";
import { aJob, aWorker, changesOf, jobIdOf, metaOf, put } from "../testing/records.ts";
import { folderPerTest } from "../testing/stores.ts";
import { transfersOfAccount } from "./account-blocks.ts";
import { DATABASE_FILE } from "./data-dir.ts";
import { openSqliteStore } from "./index.ts";
import { migrate, MIGRATIONS, SCHEMA_VERSION } from "./schema.ts";

const MIGRATE_SLOWLY = fileURLToPath(new URL("../testing/migrate-slowly.ts", import.meta.url));

describe("the schema", () => {
  const dir = folderPerTest();
  const path = () => join(dir(), DATABASE_FILE);

  const aDeposit: TransferRecord = {
    id: "trf-1" as TransferId,
    kind: "deposit",
    jobId: null,
    currency: "USD",
    postings: [
      { account: "external:ledger", amount: -9_007_199_254_740_993n },
      { account: "customer:acc-1", amount: 9_007_199_254_740_993n },
    ],
    memo: "it's \u2028",
    atMs: 1,
  };
  /** Tables, indexes and triggers, as SQLite has them. */
  const shapeOf = (db: BetterSqlite3.Database) =>
    db.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").all();
  const versionOf = (db: BetterSqlite3.Database) => db.pragma("user_version", { simple: true });
  const read = <T>(look: (db: BetterSqlite3.Database) => T): T => {
    const db = new BetterSqlite3(path());
    try {
      return look(db);
    } finally {
      db.close();
    }
  };
  /** A database with something in it, of the newest version. */
  const fill = (): void => {
    const store = openSqliteStore(dir());
    const event = { atMs: 1, channel: "jobs", accountId: null, providerId: null, workerId: null, data: {} } as const;
    store.commit(
      [
        changesOf({
          puts: [put("workers", "wrk-1", aWorker(1)), put("jobs", jobIdOf(1), aJob(1))],
          events: [
            { ...event, seq: 1, kind: "started", jobId: jobIdOf(1) },
            { ...event, seq: 2, kind: "resumed", jobId: jobIdOf(1) },
          ],
          transfers: [aDeposit],
          meta: metaOf(7),
        }),
      ],
      5,
    );
    store.close();
  };
  /** The same rows in a database as version 1 made it. */
  const makeOld = (): void => {
    const old = `${path()}.old`;
    const db = new BetterSqlite3(old);
    migrate(db, old, MIGRATIONS.slice(0, 1));
    db.exec(`ATTACH '${path()}' AS newest`);
    const tables = db.prepare("SELECT name FROM main.sqlite_schema WHERE type = 'table'").pluck().all() as string[];
    for (const table of tables) {
      const columns = db.prepare("SELECT name FROM pragma_table_info(?, 'main')").pluck().all(table).join(", ");
      db.exec(`INSERT INTO main.${table} (${columns}) SELECT ${columns} FROM newest.${table}`);
    }
    db.close();
    for (const end of ["-wal", "-shm"]) rmSync(`${path()}${end}`, { force: true });
    renameSync(old, path());
  };
  const expectWhole = (): void => {
    const store = openSqliteStore(dir());
    expect(store.meta()).toEqual(metaOf(7));
    expect(store.load().rows).toMatchObject({ workers: [{ id: "wrk-1" }], jobs: [{ id: jobIdOf(1) }] });
    expect(store.events({ after: 0, limit: 9 })).toHaveLength(2);
    expect(store.recoveries({ sinceWallMs: 0, limit: 9 })).toMatchObject([{ seq: 2 }]);
    expect(store.transfers({ limit: 9 })).toEqual([{ ...aDeposit, wallMs: 5 }]);
    for (const { account } of aDeposit.postings) {
      expect(store.transfers({ accounts: [account], limit: 9 })).toEqual([{ ...aDeposit, wallMs: 5 }]);
    }
    store.close();
  };

  it.each(Array.from({ length: SCHEMA_VERSION }, (_, version) => version))(
    "of version %i becomes that of today, with the same result as a new one",
    (version) => {
      read((db) => migrate(db, path(), MIGRATIONS.slice(0, version)));
      read((db) => migrate(db, path()));
      const grown = read((db) => ({ version: versionOf(db), shape: shapeOf(db) }));
      const fresh = new BetterSqlite3(":memory:");
      migrate(fresh, ":memory:");
      expect(grown).toEqual({ version: SCHEMA_VERSION, shape: shapeOf(fresh) });
      fresh.close();
    },
  );

  it("of version 1 with data in it opens, and everything is there", () => {
    fill();
    makeOld();
    expectWhole();
    expect(read(versionOf)).toBe(SCHEMA_VERSION);
  });

  it("of version 3 lists the same transfers of every account afterwards, and new ones with them", () => {
    read((db) => migrate(db, path(), MIGRATIONS.slice(0, 3)));
    const accounts = ["fee", "customer:acc-1", "provider:acc-2", "escrow:job-1"] as const;
    const touched = (n: number) => accounts.filter((_, at) => n % (at + 2) === 0);
    read((db) => {
      const transfer = db.prepare("INSERT INTO transfers VALUES (?, ?, 'deposit', NULL, NULL, 'USD', '', 1, 5)");
      const posting = db.prepare("INSERT INTO postings VALUES (?, ?, ?, 1)");
      for (let n = 1; n <= 100; n += 1) {
        transfer.run(n, `trf-${n}`);
        for (const [at, account] of touched(n).entries()) posting.run(n, at, account);
      }
    });
    const store = openSqliteStore(dir());
    const next: TransferRecord = { ...aDeposit, id: "trf-101" as TransferId };
    store.commit([changesOf({ transfers: [next] })], 5);
    for (const account of accounts) {
      const expected = Array.from({ length: 100 }, (_, at) => 100 - at).filter((n) => touched(n).includes(account));
      const listed = store.transfers({ accounts: [account], limit: 999 }).map(({ id }) => id);
      if (account === "escrow:job-1") expect(listed).toEqual([]);
      else expect(listed).toEqual([...(account === "customer:acc-1" ? [101] : []), ...expected].map((n) => `trf-${n}`));
    }
    store.close();
  });

  it("stays the old one when a change of it fails half-way, and can be changed again", () => {
    fill();
    const before = read(shapeOf);
    const step = "ALTER TABLE events ADD COLUMN later TEXT; UPDATE jobs SET data = '{}';";
    expect(() => read((db) => migrate(db, path(), [...MIGRATIONS, step, "CREATE TABLE broken ("]))).toThrow(
      /incomplete/,
    );
    expect(read((db) => ({ version: versionOf(db), shape: shapeOf(db) }))).toEqual({
      version: SCHEMA_VERSION,
      shape: before,
    });
    expectWhole();
    read((db) => migrate(db, path(), [...MIGRATIONS, "ALTER TABLE events ADD COLUMN later TEXT;"]));
    expect(read(versionOf)).toBe(SCHEMA_VERSION + 1);
  });

  it("stays the old one when its program is killed in the middle of a change", async () => {
    fill();
    const before = read(shapeOf);
    const child = spawn(process.execPath, ["--conditions=qubix-source", MIGRATE_SLOWLY, path()], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = once(child, "exit");
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    expect((await exited)[1]).toBe("SIGKILL");
    expect(read((db) => ({ version: versionOf(db), shape: shapeOf(db) }))).toEqual({
      version: SCHEMA_VERSION,
      shape: before,
    });
    expect(read((db) => db.pragma("integrity_check", { simple: true }))).toBe("ok");
    expectWhole();
  });

  it("looks transfers of an account, and of a job, up by their own indexes", () => {
    fill();
    const store = openSqliteStore(dir());
    expect(store.transfers({ accounts: ["customer:acc-1", "fee"], limit: 9 })).toHaveLength(1);
    store.close();
    const { text, values } = transfersOfAccount("fee", "trf-1", 9);
    const plan = read((db) => db.prepare(`EXPLAIN QUERY PLAN ${text}`).all(...values));
    const steps = (plan as { readonly detail: string }[]).map(({ detail }) => detail);
    expect(steps.filter((step) => step.startsWith("SEARCH") && !step.includes("(id=?)"))).toEqual([
      "SEARCH account_blocks USING PRIMARY KEY (account=? AND block<?)",
      "SEARCH transfers USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
      expect.stringMatching(/^SEARCH postings .*PRIMARY KEY \(transfer_seq=\?\)/),
    ]);
    // Neither reads all that there is, nor sorts it.
    expect(steps.join()).not.toMatch(/SCAN|TEMP B-TREE/);
    const ofJob = "SELECT seq FROM transfers WHERE job_id = ? AND id NOT GLOB 'job-*/*'";
    const others = read((db) => db.prepare(`EXPLAIN QUERY PLAN ${ofJob}`).all("job-1"));
    expect(JSON.stringify(others)).toMatch(/SEARCH transfers USING (COVERING )?INDEX transfers_by_job/);
  });

  it("looks recoveries up by their own index", () => {
    openSqliteStore(dir()).close();
    const plan = read((db) =>
      db
        .prepare(
          "EXPLAIN QUERY PLAN SELECT * FROM events WHERE kind = 'resumed' AND wall_ms >= ? ORDER BY seq DESC LIMIT ?",
        )
        .all(1, 1),
    );
    expect(JSON.stringify(plan)).toContain("events_resumed");
  });
});
