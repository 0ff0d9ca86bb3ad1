import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import BetterSqlite3 from "better-sqlite3";
import type { TransferId } from "@qubix/shared/domain";
import { describe, expect, it } from "vitest";
import { aWorker, changesOf, put } from "../testing/records.ts";
import { folderPerTest } from "../testing/stores.ts";
import { DATABASE_FILE } from "./data-dir.ts";
import { openSqliteStore } from "./index.ts";
import { SCHEMA_VERSION } from "./schema.ts";

const COMMIT_LOOP = fileURLToPath(new URL("../testing/commit-loop.ts", import.meta.url));

describe("the data directory", () => {
  const dir = folderPerTest();
  const raw = () => new BetterSqlite3(join(dir(), DATABASE_FILE));
  const codeOf = (open: () => unknown): unknown => {
    try {
      open();
    } catch (error) {
      return (error as { readonly code?: unknown }).code;
    }
    return "opened";
  };

  it("is made with its parents, for its owner only, and is durable by default", () => {
    const nested = join(dir(), "a", "b");
    const store = openSqliteStore(nested);
    store.close();
    store.close();
    expect(codeOf(() => openSqliteStore(nested).close())).toBe("opened");
  });

  it("is open in one store at a time, and free again after it is closed", () => {
    const first = openSqliteStore(dir());
    expect(codeOf(() => openSqliteStore(dir()))).toBe("data_dir_in_use");
    first.close();
    expect(codeOf(() => openSqliteStore(dir()).close())).toBe("opened");
  });

  it("may hold workers of a version that did not count earnings", () => {
    const store = openSqliteStore(dir());
    store.commit([changesOf({ puts: [put("workers", "wrk-1", aWorker(1))] })], 1);
    store.close();
    const db = raw();
    db.exec("UPDATE workers SET data = json_remove(data, '$.earned')");
    db.close();
    const again = openSqliteStore(dir());
    expect(again.load().rows.workers).toMatchObject([{ id: "wrk-1", earned: [] }]);
    again.close();
  });

  it("is refused when it cannot be written, is no database, another's database, or a newer one's", () => {
    writeFileSync(join(dir(), "file"), "");
    expect(codeOf(() => openSqliteStore(join(dir(), "file")))).toBe("data_dir_unusable");
    writeFileSync(
      join(dir(), DATABASE_FILE),
      "this is no database, but a text that is long enough to be one of them".repeat(100),
    );
    expect(codeOf(() => openSqliteStore(dir()))).toBe("database_damaged");
    rmSync(join(dir(), DATABASE_FILE));
    raw().exec("CREATE TABLE theirs (x)").close();
    expect(codeOf(() => openSqliteStore(dir()))).toBe("database_foreign");
    rmSync(join(dir(), DATABASE_FILE));
    openSqliteStore(dir()).close();
    const db = raw();
    db.pragma(`user_version = ${SCHEMA_VERSION + 1}`);
    db.close();
    expect(codeOf(() => openSqliteStore(dir()))).toBe("schema_newer");
  });

  it("refuses in SQL itself to change or delete what is append-only, and a balance below zero", () => {
    const store = openSqliteStore(dir());
    const transfer = {
      id: "tr-1" as TransferId,
      kind: "deposit" as const,
      jobId: null,
      currency: "USD",
      postings: [
        { account: "fee" as const, amount: 1n },
        { account: "external:ledger" as const, amount: -1n },
      ],
      memo: "",
      atMs: 1,
    };
    const event = {
      seq: 1,
      atMs: 1,
      channel: "jobs" as const,
      kind: "k",
      accountId: null,
      providerId: null,
      jobId: null,
      workerId: null,
      data: {},
    };
    store.commit([changesOf({ transfers: [transfer], events: [event] })], 1);
    store.close();
    const db = raw();
    const another = "SELECT 9, 'tr-1', 'deposit', 'USD', '', 1, 1";
    for (const sql of [
      "UPDATE transfers SET memo = 'x'",
      "DELETE FROM transfers",
      "UPDATE postings SET amount = 2",
      "DELETE FROM postings",
      "UPDATE events SET kind = 'x'",
      "DELETE FROM events",
      "UPDATE account_blocks SET block = 9",
      "DELETE FROM account_blocks",
      // Nor by way of a conflict, which no trigger on DELETE would see.
      `INSERT OR REPLACE INTO transfers (seq, id, kind, currency, memo, at_ms, wall_ms) ${another}`,
      `REPLACE INTO transfers (seq, id, kind, currency, memo, at_ms, wall_ms) ${another.replace("SELECT 9", "SELECT 1")}`,
      "INSERT OR REPLACE INTO postings VALUES (1, 0, 'fee', 5)",
    ]) {
      expect(() => db.exec(sql), sql).toThrow(/append-only/);
    }
    const wrong: readonly (readonly [sql: string, why: RegExp])[] = [
      ["INSERT INTO postings VALUES (1, 2, 'fee', 0)", /CHECK/],
      ["INSERT INTO postings VALUES (1, 2, 'fee', 9223372036854775808)", /cannot store REAL/],
      ["INSERT INTO postings VALUES (1, 2, 'fee', 1.5)", /cannot store REAL/],
      ["INSERT INTO postings VALUES (8, 0, 'fee', 1)", /FOREIGN KEY/],
      ["INSERT INTO balances VALUES ('fee', 'EUR', 9223372036854775808)", /cannot store REAL/],
      [`INSERT INTO transfers (seq, id, kind, currency, memo, at_ms, wall_ms) ${another}`, /append-only/],
      [
        another
          .replace("SELECT", "INSERT INTO transfers SELECT")
          .replace("'tr-1'", "'tr-2', 'gift', NULL, NULL")
          .replace("'deposit', ", ""),
        /CHECK/,
      ],
    ];
    for (const [sql, why] of wrong) expect(() => db.exec(sql), sql).toThrow(why);
    expect(() => db.exec("INSERT INTO balances VALUES ('customer:a', 'USD', -1)")).toThrow(/CHECK/);
    db.close();
  });

  it("has every acknowledged commit, whole, after its program was killed in mid-commit", async () => {
    for (const after of [1, 40, 150]) {
      const child = spawn(process.execPath, ["--conditions=qubix-source", COMMIT_LOOP, dir()], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const exited = once(child, "exit");
      let acknowledged = 0;
      for await (const line of createInterface({ input: child.stdout })) {
        acknowledged = Number(line);
        if (acknowledged === after) child.kill("SIGKILL");
      }
      await exited;
      const store = openSqliteStore(dir());
      const committed = store.meta()?.clockMs ?? 0;
      expect(committed / 1000).toBeGreaterThanOrEqual(acknowledged);
      expect(acknowledged).toBeGreaterThanOrEqual(after);
      const jobs = (committed / 1000) * 5;
      expect(store.load().rows.jobs).toHaveLength(jobs);
      expect(store.events({ after: 0, limit: 100_000 })).toHaveLength(jobs);
      expect(store.transfers({ limit: 100_000 })).toHaveLength(jobs);
      expect(store.audit().get("USD")?.postings).toBe(0n);
      store.close();
      rmSync(dir(), { recursive: true, force: true });
    }
  });
});
