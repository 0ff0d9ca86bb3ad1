import { createLogger } from "@qubix/shared/runtime";
import type { AccountId, ApiKeyId, WorkerId } from "@qubix/shared/domain";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createState, DEFAULT_CORE_CONFIG, findApiKey, listAccounts, nextDeadlineMs, step } from "../core/index.ts";
import type { CoreEvent, Effect, Reply } from "../core/index.ts";
import { createMemoryStore, type Store, type StoredEvent } from "../store/index.ts";
import { createWriter, QUEUE_EVENTS_MAX, type EffectSink, type Writer } from "./writer.ts";

const ADMIN_KEY = { keyId: "key-admin" as ApiKeyId, keyHash: "ab".repeat(32) };

describe("the writer", () => {
  let store: Store;
  let failures: number;
  let commits: number;
  let nowMs: number;
  let lagMs: number;
  let sent: (Effect["kind"] | "flush" | "reset")[];
  let writer: Writer;

  /** A store whose next commits fail, whole, as a full disk makes them. */
  const faulty = (inner: Store): Store => ({
    ...inner,
    commit: (batch, wallMs) => {
      if (failures > 0) {
        failures -= 1;
        throw new Error("the disk is full");
      }
      inner.commit(batch, wallMs);
      commits += 1;
    },
  });
  const sink: EffectSink = {
    send: () => sent.push("send"),
    disconnect: () => sent.push("disconnect"),
    challenge: () => sent.push("challenge"),
    chain: () => sent.push("chain"),
    collect: () => sent.push("collect"),
    shred: () => sent.push("shred"),
    flush: () => sent.push("flush"),
    reset: () => sent.push("reset"),
  };
  const create = (): Writer => {
    const next = createWriter({
      store: faulty(store),
      clock: { nowMs: () => nowMs },
      lag: { takeMs: () => lagMs },
      wallMs: () => 5_000,
      logger: createLogger("test", "silent"),
      core: {
        create: (snapshot, now) =>
          createState({ snapshot, config: DEFAULT_CORE_CONFIG, nowMs: now, seed: 1, orchestratorId: "orc-1" }),
        step,
        nextDeadlineMs,
      },
    });
    next.setSink(sink);
    return next;
  };
  const admin = (): { accountId: AccountId; role: "admin" } => {
    const found = findApiKey(writer.state(), ADMIN_KEY.keyHash);
    return { accountId: found!.account.id, role: "admin" };
  };
  const account = (name: string): CoreEvent => ({ kind: "account.create", actor: admin(), name, role: "consumer" });
  const deposit = (accountId: AccountId, reference: string): CoreEvent => ({
    kind: "deposit",
    actor: admin(),
    accountId,
    amount: 10n,
    currency: "USD",
    reference,
  });
  const codeOf = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => "done",
      (error: unknown) => (error as { readonly code?: unknown }).code,
    );
  const names = () => [...listAccounts(writer.state())].map((row) => row.name).filter((name) => /^a\d+$/.test(name));

  beforeEach(() => {
    store = createMemoryStore();
    [failures, commits, nowMs, lagMs] = [0, 0, 1_000, 0];
    sent = [];
    writer = create();
    expect(writer.start(ADMIN_KEY)).toEqual({ firstStart: true });
  });
  afterEach(() => writer.stop());

  it("makes the admin on the first start only, durably before it returns", async () => {
    expect(findApiKey(writer.state(), ADMIN_KEY.keyHash)?.account.role).toBe("admin");
    expect(store.load().rows.apiKeys).toHaveLength(1);
    await writer.stop();
    writer = create();
    expect(writer.start({ keyId: "key-2" as ApiKeyId, keyHash: "cd".repeat(32) })).toEqual({ firstStart: false });
    expect(store.load().rows.apiKeys).toHaveLength(1);
  });

  it("commits the events of a tick together, in order, before any answer", async () => {
    const before = commits;
    const replies = await Promise.all(
      ["a1", "a2", "a3"].map(async (name) => {
        const reply = await writer.submit(account(name));
        expect(store.load().rows.accounts.some((row) => row.name === name)).toBe(true);
        return reply;
      }),
    );
    expect(commits).toBe(before + 1);
    expect(replies.map((reply) => reply.kind === "account" && reply.account.name)).toEqual(["a1", "a2", "a3"]);
    expect(names()).toEqual(["a1", "a2", "a3"]);
  });

  it("tells the core of its own lag before what arrived meanwhile, without a transaction", async () => {
    const before = commits;
    lagMs = 700;
    await writer.submit({ kind: "timer" });
    lagMs = 0;
    await writer.submit({ kind: "timer" });
    expect(writer.state().volatile.lagMs).toBe(700);
    expect(commits).toBe(before);
  });

  it("makes no transaction where nothing changed, and answers all the same", async () => {
    const before = commits;
    const stranger = { accountId: "acc-x" as AccountId, role: "consumer" } as const;
    const reply = await writer.submit({ kind: "account.create", actor: stranger, name: "a1", role: "consumer" });
    expect(reply.kind).toBe("refused");
    writer.submitVolatile({ kind: "worker.heard", workerId: "wrk-none" as WorkerId, sessionId: "ses-1" as never });
    await writer.submit({ kind: "job.cancel", actor: admin(), jobId: "job-none" as never });
    expect(commits).toBe(before);
    expect(writer.metrics().volatileEvents).toBe(1);
  });

  it("drops an event that throws alone, and says so to its submitter", async () => {
    const broken = { kind: "account.create", name: "a2" } as unknown as CoreEvent;
    const [first, second, third] = [writer.submit(account("a1")), writer.submit(broken), writer.submit(account("a3"))];
    expect(await codeOf(second)).toBe("internal_error");
    expect([(await first).kind, (await third).kind]).toEqual(["account", "account"]);
    expect(names()).toEqual(["a1", "a3"]);
    expect(writer.metrics().stepErrors).toBe(1);
  });

  it("tells listeners what was committed, with the wall time", async () => {
    const seen: StoredEvent[] = [];
    const stop = writer.onEvents((events) => seen.push(...events));
    const reply = (await writer.submit(account("a1"))) as Reply & { kind: "account" };
    await writer.submit(deposit(reply.account.id, "r1"));
    expect(seen).toEqual(store.events({ after: (seen.at(0)?.seq ?? 0) - 1, limit: 100 }));
    expect(seen.every((event) => event.wallMs === 5_000)).toBe(true);
    stop();
    const count = seen.length;
    await writer.submit(deposit(reply.account.id, "r2"));
    expect(seen).toHaveLength(count);
  });

  it("after a failed commit: 503 for the whole batch, no effects, no events, memory as the store says, sockets reset", async () => {
    const made = (await writer.submit(account("a1"))) as Reply & { kind: "account" };
    const heard: StoredEvent[] = [];
    writer.onEvents((events) => heard.push(...events));
    sent = [];
    failures = 1;
    const batch = [writer.submit(deposit(made.account.id, "lost")), writer.submit(account("a2"))];
    expect(await Promise.all(batch.map(codeOf))).toEqual(["commit_failed", "commit_failed"]);
    // Nothing of the batch; memory started anew and said so.
    expect(heard.map(({ kind }) => kind)).toEqual(["orchestrator_started"]);
    expect(sent.filter((kind) => kind !== "flush")).toEqual(["reset"]);
    expect(names()).toEqual(["a1"]);
    expect(store.audit().size).toBe(0);
    const reply = await writer.submit(deposit(made.account.id, "again"));
    expect(reply.kind).toBe("transfer");
    expect(sent.filter((kind) => kind !== "flush")).toEqual(["reset"]);
    expect(store.audit().get("USD")).toEqual({ postings: 0n, balances: 0n, mismatches: 0 });
  });

  it("goes on by itself when the store takes transactions again, and answers 503 until then", async () => {
    const inner = { ...store };
    let broken = false;
    store.load = () => {
      if (broken) throw new Error("the disk is gone");
      return inner.load();
    };
    await writer.stop();
    writer = create();
    writer.start();
    const event = account("a1");
    failures = 1;
    broken = true;
    expect(await codeOf(writer.submit(event))).toBe("commit_failed");
    expect(writer.healthy()).toBe(false);
    expect(() => writer.state()).toThrow(/could not write its store/);
    expect(await codeOf(writer.submit(event))).toBe("commit_failed");
    broken = false;
    await expect.poll(() => writer.healthy(), { timeout: 5_000 }).toBe(true);
    expect((await writer.submit(account("a3"))).kind).toBe("account");
    expect(names()).toEqual(["a3"]);
  });

  it("waits longer and longer while commits fail one after the other, so that it does not spin", async () => {
    await writer.submit(account("a1"));
    failures = 1_000;
    const event = account("a2");
    expect(await codeOf(writer.submit(event))).toBe("commit_failed");
    for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve));
    await codeOf(writer.submit(event));
    for (let n = 0; n < 200; n++) await new Promise((resolve) => setImmediate(resolve));
    expect(1_000 - failures).toBeLessThanOrEqual(3);
    failures = 0;
    await expect.poll(() => writer.healthy(), { timeout: 10_000 }).toBe(true);
    expect((await writer.submit(account("a3"))).kind).toBe("account");
    expect(names()).toEqual(["a1", "a3"]);
  });

  it("steps a due timer by itself", async () => {
    const reply = (await writer.submit({ ...account("provider"), role: "provider" } as CoreEvent)) as Reply & {
      kind: "account";
    };
    const enrolment: CoreEvent = {
      kind: "enrolment.create",
      actor: admin(),
      accountId: reply.account.id,
      enrolmentId: "enr-1" as never,
      tokenHash: "ef".repeat(32),
      ttlMs: 5,
    };
    await writer.submit(enrolment);
    expect(store.load().rows.enrolments).toHaveLength(1);
    nowMs += 10 + DEFAULT_CORE_CONFIG.enrolmentKeptMs;
    writer.submitVolatile({ kind: "worker.heard", workerId: "wrk-none" as WorkerId, sessionId: "ses-1" as never });
    await expect.poll(() => store.load().rows.enrolments.length).toBe(0);
  });

  it("takes no more than it can hold", async () => {
    const work = Array.from({ length: QUEUE_EVENTS_MAX + 5 }, () =>
      codeOf(writer.submit({ kind: "job.cancel", actor: admin(), jobId: "job-none" as never })),
    );
    const codes = await Promise.all(work);
    expect(codes.filter((code) => code === "overloaded")).toHaveLength(5);
    expect(codes.filter((code) => code === "done")).toHaveLength(QUEUE_EVENTS_MAX);
  });

  it("finishes what is queued when it stops, and takes nothing after that", async () => {
    const last = writer.submit(account("a1"));
    const event = account("a2");
    await writer.stop();
    await writer.stop();
    expect((await last).kind).toBe("account");
    expect(await codeOf(writer.submit(event))).toBe("stopping");
    expect(store.load().rows.accounts.map((row) => row.name)).toContain("a1");
  });
});
