// Accounts over time and metering ticks, as every store keeps them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import BetterSqlite3 from "better-sqlite3";
import type { AccountId, TransferId, WorkerId } from "@qubix/shared/domain";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { LedgerAccount, SettledRecord, TickRecord, TransferRecord } from "../core/model.ts";
import { createMemoryStore, openSqliteStore } from "./index.ts";
import { DATABASE_FILE } from "./sqlite/data-dir.ts";
import { MIGRATIONS } from "./sqlite/schema.ts";
import { ACCOUNT, aJob, changesOf, jobIdOf, metaOf, PROVIDER, put } from "./testing/records.ts";
import { folderPerTest, STORES, storePerTest } from "./testing/stores.ts";

const DAY_MS = 86_400_000;
/** The last millisecond of a UTC day. */
const MIDNIGHT_MS = Date.UTC(2026, 10, 28);
const ALL = { fromWallMs: 0, toWallMs: Number.MAX_SAFE_INTEGER };
const EVER = { fromDay: "0000-01-01", toDay: "9999-12-31" };
const PAYER: LedgerAccount = `customer:${ACCOUNT}`;

describe.each(STORES)("the $name store", (kind) => {
  const at = storePerTest(kind);

  it("keeps ticks in the order in which they came, and finds the first of a number", () => {
    const usage = { egressBytes: 9 };
    const ticks = [
      aTick(1, 1),
      { ...aTick(2, 1), usage },
      aTick(1, 2),
      { ...aTick(1, 1, "f"), contradicts: true as const },
    ];
    at.store.commit([changesOf({ ticks: ticks.slice(0, 3) })], 5);
    at.store.commit([changesOf({ ticks: ticks.slice(3) })], 6);
    const { jobId } = aTick(1, 1);
    const kept = at.store.ticks({ jobId, after: 0, limit: 10 });
    expect(kept).toMatchObject(ticks);
    expect(kept.map(({ wallMs }) => wallMs)).toEqual([5, 5, 5, 6]);
    expect(at.store.ticks({ jobId, after: kept[1]?.seq ?? 0, limit: 1 })).toEqual([kept[2]]);
    expect(at.store.ticks({ jobId: jobIdOf(2), after: 0, limit: 10 })).toEqual([]);
    expect(at.store.tick(aTick(1, 1))).toEqual(kept[0]);
    expect(at.store.tick(aTick(3, 1))).toBeUndefined();
  });

  it("refuses the same tick a second time, and nothing of that commit happens", () => {
    at.store.commit([changesOf({ ticks: [aTick(1, 1)] })], 5);
    expect(() => at.store.commit([changesOf({ ticks: [aTick(2, 1), aTick(1, 1)] })], 6)).toThrow();
    expect(at.store.ticks({ jobId: jobIdOf(1), after: 0, limit: 9 })).toHaveLength(1);
  });

  it("sums postings by UTC day and kind, of accounts that belong to somebody", () => {
    at.store.commit(
      [
        changesOf({
          transfers: [
            aTransfer(1, "deposit", [
              [PAYER, 10n],
              ["external:ledger", -10n],
            ]),
          ],
        }),
      ],
      MIDNIGHT_MS - 1,
    );
    const hold = aTransfer(2, "hold", [
      [PAYER, -7n],
      ["escrow:job-1", 7n],
    ]);
    const settlement = aTransfer(3, "settlement", [
      ["escrow:job-1", -7n],
      [PAYER, 3n],
      [`pending:${PROVIDER}`, 4n],
    ]);
    at.store.commit([changesOf({ transfers: [hold, settlement] })], MIDNIGHT_MS);
    const accounts: LedgerAccount[] = [PAYER, `pending:${PROVIDER}`, "escrow:job-1"];
    const rows = at.store.postingSums({ ...EVER, accounts, byDay: true });
    expect(rows.map(({ day, account, kind, amount }) => [day, account, kind, amount])).toEqual([
      ["2026-11-27", PAYER, "deposit", 10n],
      ["2026-11-28", PAYER, "hold", -7n],
      ["2026-11-28", PAYER, "settlement", 3n],
      ["2026-11-28", `pending:${PROVIDER}`, "settlement", 4n],
    ]);
    const day = { fromDay: "2026-11-28", toDay: "2026-11-28" };
    expect(at.store.postingSums({ ...day, accounts: [PAYER], byDay: false })).toEqual([
      { day: null, account: PAYER, kind: "hold", currency: "USD", amount: -7n },
      { day: null, account: PAYER, kind: "settlement", currency: "USD", amount: 3n },
    ]);
  });

  it("pages through settled jobs and shares by wall time, also where the wall clock was set back", () => {
    const jobs = [aJob(1), aJob(2), aJob(3)];
    at.store.commit([changesOf({ puts: jobs.map((job) => put("jobs", job.id, job)), meta: metaOf(1) })], 1);
    const walls = [2 * DAY_MS, DAY_MS, 2 * DAY_MS];
    for (const [n, wallMs] of walls.entries()) at.store.commit([changesOf({ settled: [aSettled(n + 1)] })], wallMs);
    const first = at.store.settled({ ...ALL, payer: PAYER, after: null, limit: 2 });
    expect(first.map(({ jobId, name }) => [jobId, name])).toEqual([
      [jobIdOf(2), jobs[1]?.spec.name],
      [jobIdOf(1), jobs[0]?.spec.name],
    ]);
    const [, last = null] = first;
    expect(at.store.settled({ ...ALL, payer: PAYER, after: last, limit: 2 })).toMatchObject([
      { jobId: jobIdOf(3), hold: 300n, gross: 30n, fee: 1n, refund: 270n },
    ]);
    const shares = at.store.shares({ ...ALL, provider: PROVIDER, after: null, limit: 3 });
    expect(shares.map(({ jobId, role, amount }) => [jobId, role, amount])).toEqual([
      [jobIdOf(2), "primary", 15n],
      [jobIdOf(2), "standby", 4n],
      [jobIdOf(1), "primary", 5n],
    ]);
    const range = { fromWallMs: DAY_MS, toWallMs: 2 * DAY_MS };
    expect(at.store.settled({ ...range, payer: PAYER, after: null, limit: 9 })).toHaveLength(1);
    expect(at.store.settledSums({ ...ALL, payer: PAYER })).toEqual([
      { day: "1970-01-02", currency: "USD", jobs: 1, gross: 20n },
      { day: "1970-01-03", currency: "USD", jobs: 2, gross: 40n },
    ]);
    expect(at.store.shareSums({ ...ALL, provider: PROVIDER, by: "worker" })).toEqual([
      { key: "wrk-1", currency: "USD", jobs: 3, amount: 45n, ms: 60 },
      { key: "wrk-2", currency: "USD", jobs: 3, amount: 12n, ms: 30 },
    ]);
    expect(at.store.shareSums({ ...ALL, provider: "acc-other" as AccountId, by: "day" })).toEqual([]);
  });
});

it("both stores sum alike after any history", () => {
  const accounts: LedgerAccount[] = [PAYER, `pending:${PROVIDER}`, `provider:${PROVIDER}`];
  const posting = fc.tuple(fc.constantFrom<LedgerAccount>(...accounts, "escrow:job-1", "fee"), fc.bigInt(1n, 50n));
  const step = fc.record({
    kind: fc.constantFrom("deposit" as const, "hold" as const, "settlement" as const, "payout" as const),
    postings: fc.array(posting, { minLength: 1, maxLength: 4 }),
    forwardMs: fc.integer({ min: -DAY_MS, max: 2 * DAY_MS }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      const dir = mkdtempSync(join(tmpdir(), "qubix-accounts-"));
      const both = [createMemoryStore(), openSqliteStore(dir)] as const;
      let wallMs = MIDNIGHT_MS;
      for (const [at, { kind, postings, forwardMs }] of steps.entries()) {
        wallMs += forwardMs;
        const rest = postings.reduce((sum, [, amount]) => sum - amount, 0n);
        const transfer = aTransfer(at + 1, kind, [...postings, ["external:ledger", rest]]);
        for (const store of both)
          store.commit([changesOf({ transfers: [transfer], settled: [aSettled(at + 1)] })], wallMs);
      }
      const [memory, sqlite] = both.map((store) => ({
        days: store.postingSums({ ...EVER, accounts, byDay: true }),
        all: store.postingSums({ fromDay: "2026-11-27", toDay: "2026-12-05", accounts, byDay: false }),
        settled: store.settled({ ...ALL, payer: PAYER, after: null, limit: 99 }),
        settledSums: store.settledSums({ ...ALL, payer: PAYER }),
        shares: store.shares({ ...ALL, provider: PROVIDER, after: null, limit: 99 }),
        byDay: store.shareSums({ ...ALL, provider: PROVIDER, by: "day" }),
        byWorker: store.shareSums({ ...ALL, provider: PROVIDER, by: "worker" }),
      }));
      expect(sqlite).toEqual(memory);
      both[1].close();
      rmSync(dir, { recursive: true, force: true });
    }),
    { numRuns: 30 },
  );
});

describe("SQL itself", () => {
  const dir = folderPerTest();

  it("refuses to change or delete ticks, settled jobs and shares", () => {
    const store = openSqliteStore(dir());
    store.commit([changesOf({ ticks: [aTick(1, 1)], settled: [aSettled(1)] })], 5);
    store.close();
    const db = new BetterSqlite3(join(dir(), DATABASE_FILE));
    for (const table of ["ticks", "settled_jobs", "job_shares"]) {
      expect(() => db.exec(`UPDATE ${table} SET wall_ms = 1`)).toThrow(/append-only/);
      expect(() => db.exec(`DELETE FROM ${table}`)).toThrow(/append-only/);
      expect(() => db.exec(`REPLACE INTO ${table} SELECT * FROM ${table}`)).toThrow(/append-only/);
    }
    db.close();
  });

  it("makes the accounts of a database of the version before from what it has", () => {
    const db = new BetterSqlite3(join(dir(), DATABASE_FILE));
    for (const sql of MIGRATIONS.slice(0, 2)) db.exec(sql);
    db.pragma("user_version = 2");
    db.pragma("application_id = 0x51424958");
    const lines = [
      { account: `provider:${PROVIDER}`, role: "primary", amount: "57", ms: 1000, workerId: "wrk-1" },
      { account: `provider:${PROVIDER}`, role: "standby", amount: "38", ms: 500, workerId: "wrk-2" },
      { account: "fee", role: "fee", amount: "5" },
      { account: PAYER, role: "refund", amount: "900" },
    ];
    const data = JSON.stringify({ currency: "USD", hold: "1000", gross: "100", lines });
    db.prepare(
      "INSERT INTO events (seq, at_ms, wall_ms, channel, kind, account_id, job_id, data) VALUES (1, 7, ?, 'jobs', 'settled', ?, ?, ?)",
    ).run(MIDNIGHT_MS, ACCOUNT, jobIdOf(1), data);
    db.prepare("INSERT INTO transfers VALUES (1, 'tr-1', 'settlement', ?, 'USD', '', 7, ?)").run(
      jobIdOf(1),
      MIDNIGHT_MS,
    );
    db.prepare("INSERT INTO postings VALUES (1, 0, ?, 900), (1, 1, ?, 95), (1, 2, 'fee', 5), (1, 3, ?, -1000)").run(
      PAYER,
      `provider:${PROVIDER}`,
      `escrow:${jobIdOf(1)}`,
    );
    db.close();
    const store = openSqliteStore(dir());
    expect(store.settled({ ...ALL, payer: PAYER, after: null, limit: 9 })).toMatchObject([
      { jobId: jobIdOf(1), hold: 1000n, gross: 100n, fee: 5n, refund: 900n, wallMs: MIDNIGHT_MS, name: null },
    ]);
    expect(store.shareSums({ ...ALL, provider: PROVIDER, by: "worker" })).toMatchObject([
      { key: "wrk-1", amount: 57n, ms: 1000 },
      { key: "wrk-2", amount: 38n, ms: 500 },
    ]);
    const accounts: LedgerAccount[] = [PAYER, `provider:${PROVIDER}`, "fee"];
    expect(store.postingSums({ ...EVER, accounts, byDay: true })).toMatchObject([
      { day: "2026-11-28", account: PAYER, kind: "settlement", amount: 900n },
      { account: `provider:${PROVIDER}`, amount: 95n },
    ]);
    store.close();
  });
});

function aTick(n: number, epoch: number, hash = "a"): TickRecord {
  return {
    jobId: jobIdOf(1),
    replica: 0,
    epoch: epoch as TickRecord["epoch"],
    workerId: "wrk-1" as WorkerId,
    providerId: PROVIDER,
    n,
    moment: "checkpoint",
    ranMs: n * 1000,
    prev: n === 1 ? null : "b".repeat(64),
    signature: "c2ln",
    hash: hash.repeat(64),
    atMs: n,
  };
}

function aTransfer(
  n: number,
  kind: TransferRecord["kind"],
  postings: readonly (readonly [LedgerAccount, bigint])[],
): TransferRecord {
  return {
    id: `tr-${n}` as TransferId,
    kind,
    jobId: null,
    currency: "USD",
    postings: postings.map(([account, amount]) => ({ account, amount })),
    memo: "",
    atMs: n,
  };
}

function aSettled(n: number): SettledRecord {
  const units = BigInt(n);
  return {
    jobId: jobIdOf(n),
    payer: PAYER,
    currency: "USD",
    hold: 100n * units,
    gross: 10n + 10n * (units - 1n),
    fee: 1n,
    refund: 100n * units - (10n + 10n * (units - 1n)),
    shares: [
      { providerId: PROVIDER, workerId: "wrk-1" as WorkerId, role: "primary", amount: 5n + 10n * (units - 1n), ms: 20 },
      { providerId: PROVIDER, workerId: "wrk-2" as WorkerId, role: "standby", amount: 4n, ms: 10 },
    ],
    atMs: n,
  };
}
