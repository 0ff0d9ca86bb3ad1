// What every store promises, run over each of them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attemptId, type AccountId, type Epoch, type JobId, type TransferId } from "@qubix/shared/domain";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type {
  BalanceRecord,
  Changes,
  EventRecord,
  LedgerAccount,
  LogRecord,
  Put,
  TransferRecord,
} from "../core/model.ts";
import { createMemoryStore, openSqliteStore } from "./index.ts";
import {
  ACCOUNT,
  anAttempt,
  aJob,
  aStandby,
  aWorker,
  changesOf,
  jobIdOf,
  metaOf,
  PROVIDER,
  put,
  aVerification,
} from "./testing/records.ts";
import { STORES, storePerTest, WALL_MS } from "./testing/stores.ts";

describe.each(STORES)("the $name store", (kind) => {
  const at = storePerTest(kind);

  it("is empty at first", () => {
    const { meta, rows, logCursors, logBytes } = at.store.load();
    expect(meta).toBeNull();
    expect(Object.values(rows).flat()).toEqual([]);
    expect([logCursors.size, logBytes.size, at.store.audit().size, at.store.clock()]).toEqual([0, 0, 0, null]);
  });

  it("gives every record back as it was, amounts included", () => {
    const spec = { ...aJob(1).spec, budgetMax: { amount: 9_007_199_254_740_993n, currency: "USD" } };
    const cap = { amount: 9_007_199_254_740_993n, source: "job", phase: "saving", savingUntilMs: 7.5 } as const;
    const job = { ...aJob(1, { settled: true }), spec, cap };
    const worker = aWorker(1);
    const attempt = anAttempt(job.id, 1);
    const standby = aStandby(job.id, 1);
    const rest: Put[] = [
      put("accounts", ACCOUNT, { id: ACCOUNT, name: "Ünïcode \u2028 'quoted'", role: "consumer", createdAtMs: 1 }),
      put("apiKeys", "key-1", { id: "key-1" as never, accountId: ACCOUNT, name: "k", hash: "ab", createdAtMs: 2 }),
      put("enrolments", "enr-1", {
        id: "enr-1" as never,
        accountId: ACCOUNT,
        tokenHash: "cd",
        expiresAtMs: 9,
        usedBy: null,
      }),
      put("uploads", "upl-1", { id: "upl-1", accountId: ACCOUNT, tree: job.checkpoints.at(0)!.tree, createdAtMs: 4 }),
      put("idempotency", "a b c", { id: "a b c", bodyHash: "ef", resourceId: job.id, expiresAtMs: 10 }),
      put("balances", "external:ledger USD", {
        account: "external:ledger",
        currency: "USD",
        amount: -9_007_199_254_740_993n,
      }),
      put("budgets", `${ACCOUNT} USD total account`, {
        id: `${ACCOUNT} USD total account`,
        accountId: ACCOUNT,
        currency: "USD",
        period: "total",
        owner: "account",
        amount: 9_007_199_254_740_993n,
        spentBefore: 0n,
        setAtMs: 5,
      }),
      put("spending", `${ACCOUNT} USD`, {
        id: `${ACCOUNT} USD`,
        accountId: ACCOUNT,
        currency: "USD",
        total: 9_007_199_254_740_993n,
        month: "2026-11",
        monthTotal: 7n,
      }),
      put("reservations", "pay-1", {
        id: "pay-1" as TransferId,
        kind: "payout",
        jobId: null,
        currency: "USD",
        amount: 9_007_199_254_740_993n,
        from: `provider:${PROVIDER}`,
        atMs: 5.5,
      }),
      put("releases", `${PROVIDER} USD 7200000`, {
        id: `${PROVIDER} USD 7200000`,
        providerId: PROVIDER,
        currency: "USD",
        endsAtMs: 7_200_000,
        amount: 9_007_199_254_740_993n,
      }),
    ];
    at.commit({
      puts: [
        put("jobs", job.id, job),
        put("workers", worker.id, worker),
        put("attempts", attempt.id, attempt),
        put("standbys", standby.id, standby),
        ...rest,
      ],
      meta: metaOf(7),
    });
    const { meta, rows } = at.reopen().load();
    expect(meta).toEqual(metaOf(7));
    expect(at.store.meta()).toEqual(metaOf(7));
    expect([rows.jobs, rows.workers, rows.attempts, rows.standbys]).toEqual([[job], [worker], [attempt], [standby]]);
    const others = [
      rows.accounts,
      rows.apiKeys,
      rows.enrolments,
      rows.uploads,
      rows.idempotency,
      rows.balances,
      rows.budgets,
      rows.spending,
      rows.reservations,
      rows.releases,
    ].flat();
    expect(others).toEqual(rest.map((row) => row.record));
    expect(at.store.job(job.id)).toEqual({ job, attempts: [attempt], standbys: [standby] });
  });

  it("keeps how a result was checked, loads only what is not decided, and lists no check among an account's jobs", () => {
    const job = aJob(1, { phase: "succeeded", settled: true });
    const check = {
      ...aJob(2),
      check: { of: job.id, run: 1, payer: "external:checks", gpuModel: null, decides: false, apart: [ACCOUNT] },
    } as const;
    const open = aVerification(job);
    const decided = { ...aVerification(aJob(4)), phase: "passed", message: "yes", decidedAtMs: 9 } as const;
    const rows = [open, decided].map((row) => put("verifications", row.id, row));
    at.commit({ puts: [put("jobs", job.id, job), put("jobs", check.id, check), ...rows] });
    expect(at.reopen().load().rows.verifications).toEqual([open]);
    expect([open.id, decided.id].map((id) => at.store.verification(id))).toEqual([open, decided]);
    expect(at.store.verification(jobIdOf(9))).toBeUndefined();
    expect(at.store.jobs({ limit: 9, account: ACCOUNT }).map(({ id }) => id)).toEqual([job.id]);
    expect(at.store.jobs({ limit: 9 }).map(({ id }) => id)).toEqual([check.id, job.id]);
    expect(at.store.job(check.id)?.job).toEqual(check);
    at.commit({ puts: [put("verifications", open.id, { ...open, phase: "failed", decidedAtMs: 10 })] });
    expect(at.reopen().load().rows.verifications).toEqual([]);
  });

  it("keeps the last of several puts of a key, and forgets a removed row", () => {
    const job = aJob(1);
    const worker = aWorker(1);
    at.commit(
      { puts: [put("jobs", job.id, job), put("workers", worker.id, worker)] },
      {
        puts: [put("jobs", job.id, { ...job, phase: "starting", epoch: 1 as Epoch }), put("workers", worker.id, null)],
      },
    );
    at.commit({ puts: [put("jobs", job.id, { ...job, phase: "running", epoch: 1 as Epoch })] });
    const { rows } = at.reopen().load();
    expect(rows.jobs).toEqual([{ ...job, phase: "running", epoch: 1 }]);
    expect(rows.workers).toEqual([]);
  });

  it("loads only what has not ended, and still finds the rest", () => {
    const live = aJob(1);
    const ended = aJob(2, { phase: "succeeded", settled: true });
    const attempts = [anAttempt(live.id, 1), anAttempt(live.id, 2), anAttempt(ended.id, 1)];
    at.commit({
      puts: [live, ended]
        .map((job): Put => put("jobs", job.id, job))
        .concat(attempts.map((row) => put("attempts", row.id, row))),
    });
    const { rows } = at.reopen().load();
    expect(rows.jobs).toEqual([live]);
    expect(rows.attempts).toEqual(attempts.slice(0, 2));
    expect(at.store.job(ended.id)).toEqual({ job: ended, attempts: attempts.slice(2), standbys: [] });
    expect(at.store.job(jobIdOf(3))).toBeUndefined();
  });

  it("orders attempts and standbys by number, and keeps those of similar ids apart", () => {
    const job = aJob(1);
    const longer = { ...aJob(2), id: `${job.id}0` as JobId };
    const numbers = [1, 2, 9, 10, 11];
    const attempts = numbers.map((n) => anAttempt(job.id, n));
    const standbys = numbers.map((n) => aStandby(job.id, n));
    at.commit({
      puts: [
        put("jobs", job.id, job),
        put("jobs", longer.id, longer),
        put("attempts", attemptId({ jobId: longer.id, replica: 0, epoch: 1 as Epoch }), anAttempt(longer.id, 1)),
        ...attempts.toReversed().map((row) => put("attempts", row.id, row)),
        ...standbys.toReversed().map((row) => put("standbys", row.id, row)),
      ],
    });
    expect(at.store.job(job.id)).toEqual({ job, attempts, standbys });
  });

  it("pages jobs newest first, by account and phase", () => {
    const other = "acc-other" as AccountId;
    const jobs = Array.from({ length: 30 }, (_, n) =>
      aJob(n + 1, { accountId: n % 3 === 0 ? other : ACCOUNT, phase: n % 2 === 0 ? "succeeded" : "queued" }),
    );
    at.commit({ puts: jobs.map((job) => put("jobs", job.id, job)) });
    for (const filter of [
      {},
      { account: ACCOUNT },
      { account: other, phase: "succeeded" as const },
      { phase: "queued" as const },
      { phase: "succeeded" as const },
    ]) {
      const expected = jobs
        .filter(
          (job) =>
            (!("account" in filter) || job.accountId === filter.account) &&
            (!("phase" in filter) || job.phase === filter.phase),
        )
        .toReversed();
      expect(pages((before) => at.store.jobs({ ...filter, limit: 4, ...(before ? { before } : {}) }))).toEqual(
        expected,
      );
    }
    expect(at.store.jobs({ phase: "failed", limit: 5 })).toEqual([]);
  });

  it("gives events in order, to those who may see them, after a number, of the channels asked for", () => {
    const events = Array.from({ length: 40 }, (_, n) => anEvent(n + 1));
    at.commit({ events: events.slice(0, 10) }, { events: events.slice(10, 25) });
    at.commit({ events: events.slice(25) });
    const stored = events.map((event) => ({ ...event, wallMs: WALL_MS }));
    expect(at.reopen().events({ after: 0, limit: 100 })).toEqual(stored);
    expect(at.store.events({ after: 12, limit: 5 })).toEqual(stored.slice(12, 17));
    expect(at.store.events({ after: 3, limit: 100, jobId: jobIdOf(1) })).toEqual(
      stored.filter((event) => event.seq > 3 && event.jobId === jobIdOf(1)),
    );
    for (const account of [ACCOUNT, PROVIDER]) {
      const own = stored.filter((event) => event.accountId === account || event.providerId === account);
      expect(at.store.events({ after: 5, limit: 4, account })).toEqual(
        own.filter((event) => event.seq > 5).slice(0, 4),
      );
      expect(at.store.events({ after: 0, limit: 100, account, channels: ["wallet", "system"] })).toEqual(
        own.filter((event) => event.channel === "wallet"),
      );
      expect(at.store.events({ after: 0, limit: 100, account, jobId: jobIdOf(2) })).toEqual(
        own.filter((event) => event.jobId === jobIdOf(2)),
      );
    }
    expect(at.store.events({ after: 0, limit: 9, account: "acc-nobody" as AccountId })).toEqual([]);
  });

  it("gives recoveries newest first, of one consumer or of all, from a time on", () => {
    const events = Array.from({ length: 40 }, (_, n) => ({
      ...anEvent(n + 1),
      kind: n % 2 === 0 ? "resumed" : "started",
    }));
    for (const event of events) at.store.commit([changesOf({ events: [event] })], WALL_MS + event.seq);
    const stored = events.map((event) => ({ ...event, wallMs: WALL_MS + event.seq }));
    const all = stored.filter(({ kind }) => kind === "resumed").toReversed();
    expect(at.reopen().recoveries({ sinceWallMs: 0, limit: 100 })).toEqual(all);
    expect(at.store.recoveries({ sinceWallMs: WALL_MS + 21, limit: 100 })).toEqual(all.filter(({ seq }) => seq >= 21));
    expect(at.store.recoveries({ sinceWallMs: 0, limit: 3 })).toEqual(all.slice(0, 3));
    expect(at.store.recoveries({ account: ACCOUNT, sinceWallMs: WALL_MS + 5, limit: 4 })).toEqual(
      all.filter(({ seq, accountId }) => accountId === ACCOUNT && seq >= 5).slice(0, 4),
    );
    expect(at.store.recoveries({ account: "acc-nobody" as AccountId, sinceWallMs: 0, limit: 9 })).toEqual([]);
  });

  it("pages transfers newest first, by account and job", () => {
    const transfers = Array.from({ length: 20 }, (_, n) =>
      aTransfer(n + 1, { jobId: n % 2 === 0 ? jobIdOf(n) : null }),
    );
    at.commit({ transfers: transfers.slice(0, 7) }, { transfers: transfers.slice(7) });
    const newest = transfers.map((transfer) => ({ ...transfer, wallMs: WALL_MS })).toReversed();
    const all = (filter: object) =>
      pages((before) => at.store.transfers({ ...filter, limit: 3, ...(before ? { before } : {}) }));
    expect(all({})).toEqual(newest);
    expect(all({ accounts: ["customer:acc-1", "provider:acc-1"] })).toEqual(newest);
    expect(all({ accounts: ["customer:acc-odd"] })).toEqual(newest.filter((row) => row.postings.length === 3));
    expect(all({ accounts: [] })).toEqual([]);
    expect(all({ jobId: jobIdOf(4) })).toEqual(newest.filter((row) => row.jobId === jobIdOf(4)));
    expect(all({ jobId: jobIdOf(4), accounts: ["fee"] })).toEqual([]);
    const jobId = jobIdOf(4);
    const ended = ["hold", "end"].map((name, n) => ({
      ...aTransfer(30 + n),
      id: `${jobId}/${name}` as TransferId,
      jobId,
    }));
    at.commit({ transfers: ended }, { transfers: [aTransfer(32, { jobId })] });
    expect(all({ jobId }).map((row) => row.id)).toEqual(["tr-32", `${jobId}/end`, `${jobId}/hold`, "tr-5"]);
    for (const transfer of newest) expect(at.store.transfer(transfer.id)).toEqual(transfer);
    expect(at.store.transfer("tr-none" as TransferId)).toBeUndefined();
  });

  it("keeps logs in the order they came, and knows where each stream stands", () => {
    const job = aJob(1);
    const ended = aJob(2, { phase: "failed" });
    const log = (
      jobId: JobId,
      epoch: number,
      stream: LogRecord["stream"],
      offset: number,
      text: string,
    ): LogRecord => ({
      jobId,
      replica: 0,
      epoch: epoch as Epoch,
      stream,
      offset,
      text,
      time: "2026-01-01T00:00:00Z",
    });
    const logs = [
      log(job.id, 1, "stdout", 0, "häßlich\n"),
      log(ended.id, 1, "stdout", 0, "other"),
      log(job.id, 1, "stderr", 5, "after a gap"),
      log(job.id, 1, "stdout", 10, "more"),
      log(job.id, 2, "marker", 0, "promoted"),
      log(job.id, 2, "stdout", 0, "again"),
    ];
    at.commit({ puts: [put("jobs", job.id, job), put("jobs", ended.id, ended)], logs: logs.slice(0, 3) });
    at.commit({ logs: logs.slice(3) });
    const { logCursors, logBytes } = at.reopen().load();
    expect(Object.fromEntries(logCursors)).toEqual({
      [`${job.id}/0/1 stdout`]: 14,
      [`${job.id}/0/1 stderr`]: 16,
      [`${job.id}/0/2 stdout`]: 5,
    });
    expect(Object.fromEntries(logBytes)).toEqual({ [job.id]: 10 + 11 + 4 + 5 });
    const own = at.store.logs({ jobId: job.id, after: 0, limit: 100 });
    expect(own.map(({ id, ...rest }) => (id > 0 ? rest : id))).toEqual(logs.filter((row) => row.jobId === job.id));
    expect(at.store.logs({ jobId: job.id, after: own.at(1)!.id, limit: 2 })).toEqual(own.slice(2, 4));
  });

  it("drops an escrow account that is empty again, and lists balances in the order asked for", () => {
    const balance = (account: LedgerAccount, amount: bigint, currency = "USD"): Put =>
      put("balances", `${account} ${currency}`, { account, currency, amount } satisfies BalanceRecord);
    at.commit({
      puts: [balance("escrow:job-1", 5n), balance("customer:a", 0n), balance("fee", 2n), balance("fee", 3n, "EUR")],
    });
    at.commit({ puts: [balance("escrow:job-1", 0n), balance("fee", 4n)] });
    expect(at.store.load().rows.balances.map((row) => row.account)).toEqual(["customer:a", "fee", "fee"]);
    const wanted: LedgerAccount[] = ["fee", "customer:a", "escrow:job-1"];
    expect(at.store.balances(wanted).map((row) => `${row.account} ${row.amount} ${row.currency}`)).toEqual([
      "fee 3 EUR",
      "fee 4 USD",
      "customer:a 0 USD",
    ]);
    expect(at.store.balances(wanted, "EUR")).toHaveLength(1);
  });

  it("audits: postings and balances sum to zero, and a balance that its postings do not explain is counted", () => {
    const amount = (account: LedgerAccount, value: bigint): Put =>
      put("balances", `${account} USD`, { account, currency: "USD", amount: value });
    at.commit({
      transfers: [aTransfer(1)],
      puts: aTransfer(1).postings.map((posting) => amount(posting.account, posting.amount)),
    });
    expect(at.store.audit().get("USD")).toEqual({ postings: 0n, balances: 0n, mismatches: 0 });
    at.commit({ puts: [amount("fee", 3n)] });
    expect(at.store.audit().get("USD")).toEqual({ postings: 0n, balances: 3n, mismatches: 1 });
  });

  const bad: readonly { readonly what: string; readonly changes: Partial<Changes> }[] = [
    { what: "postings that do not sum to zero", changes: { transfers: [aTransfer(5, { extra: 1n })] } },
    { what: "a posting of zero", changes: { transfers: [moving(0n)] } },
    { what: "a posting beyond 64 bits", changes: { transfers: [moving(2n ** 63n)] } },
    { what: "a transfer a second time", changes: { transfers: [aTransfer(1)] } },
    { what: "an event a second time", changes: { events: [anEvent(1)] } },
    {
      what: "a balance below zero",
      changes: { puts: [put("balances", "customer:a USD", { account: "customer:a", currency: "USD", amount: -1n })] },
    },
    {
      what: "a balance beyond 64 bits",
      changes: {
        puts: [put("balances", "external:l USD", { account: "external:l", currency: "USD", amount: -(2n ** 63n) })],
      },
    },
  ];
  it.each(bad)("refuses $what, and nothing of that batch happens", ({ changes }) => {
    const first = aJob(1);
    at.commit({
      puts: [put("jobs", first.id, first)],
      events: [anEvent(1)],
      transfers: [aTransfer(1)],
      meta: metaOf(1),
    });
    const before = at.store.load();
    const second = aJob(2);
    expect(() =>
      at.commit(
        { puts: [put("jobs", second.id, second)], events: [anEvent(2)], transfers: [aTransfer(2)], meta: metaOf(2) },
        changes,
      ),
    ).toThrow();
    expect(at.reopen().load()).toEqual(before);
    expect(at.store.events({ after: 0, limit: 9 })).toHaveLength(1);
    expect(at.store.transfers({ limit: 9 })).toHaveLength(1);
    at.commit({
      puts: [put("jobs", second.id, second)],
      events: [anEvent(2)],
      transfers: [aTransfer(2)],
      meta: metaOf(2),
    });
    expect(at.store.load().rows.jobs).toEqual([first, second]);
  });

  it("lists a transfer of an account that was first named by a commit that failed", () => {
    at.commit({ transfers: [aTransfer(2)] });
    expect(() => at.commit({ transfers: [aTransfer(1), aTransfer(2)] })).toThrow();
    at.commit({ transfers: [aTransfer(1)] });
    const listed = at.store.transfers({ accounts: ["customer:acc-odd"], limit: 9 });
    expect(listed.map(({ id }) => id)).toEqual(["tr-1"]);
  });

  it("remembers the clock of the last start", () => {
    at.store.saveClock({ bootId: "a", offsetMs: 5 });
    at.store.saveClock({ bootId: "b", offsetMs: -7 });
    expect(at.reopen().clock()).toEqual({ bootId: "b", offsetMs: -7 });
  });
});

it("both stores answer alike after any sequence of commits", () => {
  const step = fc.record({
    job: fc.integer({ min: 1, max: 6 }),
    phase: fc.constantFrom("queued" as const, "running" as const, "succeeded" as const, "failed" as const),
    epoch: fc.integer({ min: 1, max: 12 }),
    remove: fc.boolean(),
    newBatch: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const dir = mkdtempSync(join(tmpdir(), "qubix-store-"));
      const [memory, sqlite] = [createMemoryStore(), openSqliteStore(dir)];
      let seq = 0;
      const ended = new Set<number>();
      let batch: Changes[] = [];
      for (const { job, phase, epoch, remove, newBatch } of steps) {
        if (ended.has(job)) continue;
        if (phase === "succeeded" || phase === "failed") ended.add(job);
        const record = aJob(job, { phase });
        const attempt = anAttempt(record.id, epoch);
        seq += 1;
        batch.push(
          changesOf({
            puts: [put("jobs", record.id, record), put("attempts", attempt.id, remove ? null : attempt)],
            events: [anEvent(seq)],
            transfers: [aTransfer(seq)],
            meta: metaOf(seq),
          }),
        );
        if (!newBatch) continue;
        for (const store of [memory, sqlite]) store.commit(batch, WALL_MS);
        batch = [];
      }
      expect(sqlite.load()).toEqual(memory.load());
      expect(sqlite.jobs({ limit: 100 })).toEqual(memory.jobs({ limit: 100 }));
      expect(sqlite.events({ after: 0, limit: 100, account: ACCOUNT })).toEqual(
        memory.events({ after: 0, limit: 100, account: ACCOUNT }),
      );
      expect(sqlite.transfers({ limit: 100 })).toEqual(memory.transfers({ limit: 100 }));
      sqlite.close();
      rmSync(dir, { recursive: true, force: true });
    }),
    { numRuns: 30 },
  );
});

function pages<T extends { readonly id: string }>(page: (before?: never) => readonly T[]): readonly T[] {
  const items: T[] = [];
  for (;;) {
    const next = page(items.at(-1)?.id as never);
    if (next.length === 0) return items;
    items.push(...next);
  }
}

/** Of as much as it says: two postings that sum to zero. */
function moving(amount: bigint): TransferRecord {
  return {
    ...aTransfer(2),
    id: "tr-moving" as TransferId,
    postings: [
      { account: "fee", amount },
      { account: "external:ledger", amount: -amount },
    ],
  };
}

function anEvent(seq: number): EventRecord {
  return {
    seq,
    atMs: seq * 10,
    channel: seq % 4 === 0 ? "wallet" : "jobs",
    kind: "queued",
    accountId: seq % 3 === 0 ? null : ACCOUNT,
    providerId: seq % 5 === 0 ? PROVIDER : seq % 7 === 0 ? ACCOUNT : null,
    jobId: seq % 2 === 0 ? jobIdOf(1) : seq % 9 === 0 ? null : jobIdOf(2),
    workerId: null,
    data: { amount: "12", nested: { text: '\u0000"' } },
  };
}

function aTransfer(
  n: number,
  options: { readonly jobId?: JobId | null; readonly extra?: bigint } = {},
): TransferRecord {
  const odd: TransferRecord["postings"] = n % 4 === 1 ? [{ account: "customer:acc-odd", amount: 1n }] : [];
  return {
    id: `tr-${n}` as TransferId,
    kind: "hold",
    ...(n % 3 === 0 ? { step: "reserve" as const } : {}),
    jobId: options.jobId ?? null,
    currency: "USD",
    postings: [
      { account: "customer:acc-1", amount: 9_000_000_000_000_001n + (options.extra ?? 0n) },
      { account: "external:ledger", amount: -9_000_000_000_000_001n - (n % 4 === 1 ? 1n : 0n) },
      ...odd,
    ],
    memo: "",
    atMs: n,
  };
}
