// The ledger beside a model of it that fits on a page: any history of named transfers, in both stores, through restarts and crashes.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AccountId, ApiKeyId, TransferId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Changes,
  type CoreConfig,
  type CoreEvent,
  type CoreState,
  createState,
  DEFAULT_CORE_CONFIG,
  type LedgerAccount,
  type LedgerEntry,
  type LedgerRefusal,
  type LinkedOutcome,
  NAMED_RECENT_MAX,
  LINKED_ENTRIES_MAX,
  nextDeadlineMs,
  type Reply,
  step,
} from "../core/index.ts";
import { createMemoryStore, openSqliteStore, type Store } from "../store/index.ts";
import { withKnown } from "./known-transfers.ts";
import { TICK_EVENTS_MAX } from "./writer.ts";

const ADMIN = { accountId: "acc-admin" as AccountId, role: "admin" } as const;
const PERIOD_MS = 1_000;
const WINDOW_MS = 3_000;
const CONFIG: CoreConfig = { ...DEFAULT_CORE_CONFIG, payPeriodMs: PERIOD_MS, disputeWindowMs: WINDOW_MS };
const BEYOND_64_BITS = 2n ** 63n;

// ── The model ──

interface Model {
  balances: Map<string, bigint>;
  /** Body by id. */
  bodies: Map<string, string>;
  reservations: Map<string, { readonly amount: bigint; readonly from: string; readonly open: boolean }>;
  /** Pending pay by `PROVIDER END_OF_PERIOD`. */
  pay: Map<string, bigint>;
}

type Move = Readonly<Record<string, bigint>>;

function emptyModel(): Model {
  return { balances: new Map(), bodies: new Map(), reservations: new Map(), pay: new Map() };
}

function modelApply(before: Model, entries: readonly LedgerEntry[], nowMs: number): [Model, LinkedOutcome] {
  const model = structuredClone(before);
  const transfers: { id: TransferId; repeated: boolean }[] = [];
  for (const [at, entry] of entries.entries()) {
    const said = modelEntry(model, entry, nowMs);
    if (typeof said === "string")
      return [before, { kind: "refused", at, code: said, message: expect.any(String) as string }];
    transfers.push(said);
  }
  return [model, { kind: "posted", transfers }];
}

function modelEntry(
  model: Model,
  entry: LedgerEntry,
  nowMs: number,
): LedgerRefusal | { id: TransferId; repeated: boolean } {
  const ends = entry.do === "post" || entry.do === "void";
  const id = (ends ? `${entry.reservation}/end` : entry.id) as TransferId;
  const move = modelMove(model, entry);
  if (typeof move === "string") return move;
  const body = JSON.stringify([
    entry.do,
    ends ? "" : entry.kind,
    entry.memo,
    Object.entries(move).toSorted().map(String),
  ]);
  const known = model.bodies.get(id);
  if (known !== undefined) return known === body ? { id, repeated: true } : "transfer_differs";
  const after = new Map(model.balances);
  for (const [account, amount] of Object.entries(move)) {
    const left = (after.get(account) ?? 0n) + amount;
    if ([left, amount].some((value) => value >= BEYOND_64_BITS || value <= -BEYOND_64_BITS))
      return "amount_out_of_range";
    if (left < 0n && !account.startsWith("external:")) return "insufficient_funds";
    after.set(account, left);
    if (!account.startsWith("pending:")) continue;
    const due = `${account.slice("pending:".length)} ${(Math.floor(nowMs / PERIOD_MS) + 1) * PERIOD_MS}`;
    model.pay.set(due, (model.pay.get(due) ?? 0n) + amount);
  }
  model.balances = after;
  model.bodies.set(id, body);
  if (entry.do === "reserve") model.reservations.set(id, { amount: entry.amount, from: entry.from, open: true });
  const reservation = ends ? model.reservations.get(entry.reservation) : undefined;
  if (ends && reservation !== undefined) model.reservations.set(entry.reservation, { ...reservation, open: false });
  return { id, repeated: false };
}

/** Who gains and loses how much; or why it makes no sense. */
function modelMove(model: Model, entry: LedgerEntry): LedgerRefusal | Move {
  if (entry.do === "transfer") {
    const move = sums(entry.postings);
    if (Object.keys(move).some((account) => /^(pending|escrow):/.test(account))) return "account_not_allowed";
    const isBalanced = Object.values(move).reduce((sum, amount) => sum + amount, 0n) === 0n;
    return isBalanced && Object.keys(move).length > 0 ? move : "transfer_unbalanced";
  }
  if (entry.do === "reserve") {
    if (entry.from.startsWith("pending:")) return "account_not_allowed";
    if (entry.amount <= 0n) return "amount_not_positive";
    return { [entry.from]: -entry.amount, [`reserved:${entry.id}`]: entry.amount };
  }
  const reservation = model.reservations.get(entry.reservation);
  if (reservation === undefined) return "reservation_unknown";
  const parts = entry.do === "post" ? entry.to : [];
  if (parts.some(({ amount }) => amount <= 0n)) return "amount_not_positive";
  const used = parts.reduce((sum, { amount }) => sum + amount, 0n);
  if (used > reservation.amount) return "reservation_exceeded";
  const rest = { account: reservation.from, amount: reservation.amount - used };
  return sums([{ account: `reserved:${entry.reservation}`, amount: -reservation.amount }, ...parts, rest]);
}

function sums(postings: readonly { readonly account: string; readonly amount: bigint }[]): Move {
  const move: Record<string, bigint> = {};
  for (const { account, amount } of postings) move[account] = (move[account] ?? 0n) + amount;
  return Object.fromEntries(Object.entries(move).filter(([, amount]) => amount !== 0n));
}

function modelRelease(model: Model, nowMs: number): void {
  for (const [due, amount] of model.pay) {
    const [provider = "", endsAtMs = "0"] = due.split(" ");
    if (Number(endsAtMs) + WINDOW_MS > nowMs) continue;
    model.pay.delete(due);
    model.balances.set(`pending:${provider}`, (model.balances.get(`pending:${provider}`) ?? 0n) - amount);
    model.balances.set(`provider:${provider}`, (model.balances.get(`provider:${provider}`) ?? 0n) + amount);
  }
}

// ── The real ledger: core and store ──

class Ledger {
  readonly store: Store;
  state: CoreState;
  nowMs = 5_500;
  batch: Changes[] = [];

  constructor(store: Store) {
    this.store = store;
    this.state = this.load();
    this.step({ kind: "boot", admin: { keyId: "key-1" as ApiKeyId, keyHash: "hash" } });
    this.commit();
  }

  load(): CoreState {
    const snapshot = this.store.load();
    return createState({ snapshot, config: CONFIG, nowMs: this.nowMs, seed: 1, orchestratorId: "orc-1" });
  }

  step(event: CoreEvent): Reply {
    const { changes, changed, reply } = step(this.state, this.nowMs, withKnown(this.store, this.state, event));
    if (changed) this.batch.push(changes);
    return reply;
  }

  apply(entries: readonly LedgerEntry[]): LinkedOutcome {
    const reply = this.step({ kind: "ledger.apply", actor: ADMIN, entries });
    assert(reply.kind === "ledger", reply.kind);
    return reply.outcome;
  }

  pass(ms: number): void {
    this.nowMs += ms;
    for (let due = nextDeadlineMs(this.state); due !== null && due <= this.nowMs; due = nextDeadlineMs(this.state)) {
      this.step({ kind: "timer" });
    }
  }

  commit(): void {
    this.store.commit(this.batch, 0);
    this.batch = [];
  }

  /** What was not committed is forgotten. */
  restart(): void {
    this.batch = [];
    this.state = this.load();
    this.step({ kind: "boot" });
    this.pass(0);
  }

  balances(): ReadonlyMap<string, bigint> {
    return new Map([...this.state.rows.balances.values()].map(({ account, amount }) => [account as string, amount]));
  }
}

// ── Histories ──

const account = fc.constantFrom<LedgerAccount[]>(
  "customer:c1",
  "customer:c2",
  "provider:p1",
  "stake:p1",
  "fee",
  "external:ledger",
  "pending:p1",
);
const payee = fc.constantFrom<LedgerAccount[]>(
  "pending:p1",
  "pending:p2",
  "provider:p1",
  "customer:c1",
  "fee",
  "slashed",
);
const id = fc.constantFrom("a", "b", "c", "d", "e").map((name) => name as TransferId);
const memo = fc.constantFrom("", "", "", "other");
const amount = fc.oneof(
  { weight: 12, arbitrary: fc.bigInt({ min: 1n, max: 30n }) },
  { weight: 1, arbitrary: fc.constantFrom(0n, -5n, BEYOND_64_BITS, BEYOND_64_BITS - 1n) },
);
const common = { jobId: null, currency: "USD" } as const;

const entry: fc.Arbitrary<LedgerEntry> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ id, to: account, amount, memo }).map(({ to, amount: by, ...rest }) => ({
      do: "transfer" as const,
      kind: "deposit" as const,
      ...common,
      ...rest,
      postings: [
        { account: "external:ledger" as const, amount: -by },
        { account: to, amount: by },
      ],
    })),
  },
  {
    weight: 2,
    arbitrary: fc.record({ id, from: account, to: account, fee: amount, amount, memo }).map((of) => ({
      do: "transfer" as const,
      kind: "adjustment" as const,
      ...common,
      id: of.id,
      memo: of.memo,
      postings: [
        { account: of.from, amount: -of.amount - of.fee },
        { account: of.to, amount: of.amount },
        { account: "fee" as const, amount: of.fee },
      ],
    })),
  },
  {
    weight: 4,
    arbitrary: fc
      .record({ id, from: account, amount, memo })
      .map((of) => ({ do: "reserve" as const, kind: "hold" as const, ...common, ...of })),
  },
  {
    weight: 4,
    arbitrary: fc
      .record({ reservation: id, to: fc.array(fc.record({ account: payee, amount }), { maxLength: 4 }), memo })
      .map((of) => ({ do: "post" as const, ...of })),
  },
  { weight: 1, arbitrary: fc.record({ reservation: id, memo }).map((of) => ({ do: "void" as const, ...of })) },
);

const command = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.array(entry, { minLength: 1, maxLength: 4 }).map((entries) => ({ kind: "apply" as const, entries })),
  },
  /** One of those before, as it was. */
  { weight: 3, arbitrary: fc.nat(8).map((back) => ({ kind: "again" as const, back })) },
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 4_000 }).map((ms) => ({ kind: "pass" as const, ms })) },
  { weight: 3, arbitrary: fc.constant({ kind: "commit" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "crash" as const }) },
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

/** Runs one history; the counts say that histories come to something. */
function run(store: Store, commands: readonly Command[], seen: Map<string, number>): void {
  const ledger = new Ledger(store);
  let model = emptyModel();
  let committed = structuredClone(model);
  const done: (readonly LedgerEntry[])[] = [];
  const commit = () => {
    ledger.commit();
    committed = structuredClone(model);
  };
  for (const one of commands) {
    switch (one.kind) {
      case "apply":
      case "again": {
        const entries = one.kind === "apply" ? one.entries : done[done.length - 1 - one.back];
        if (entries === undefined) break;
        const [next, expected] = modelApply(model, entries, ledger.nowMs);
        const outcome = ledger.apply(entries);
        expect(outcome).toEqual(expected);
        count(seen, outcome);
        model = next;
        done.push(entries);
        break;
      }
      case "pass":
        ledger.pass(one.ms);
        modelRelease(model, ledger.nowMs);
        break;
      case "commit":
        commit();
        break;
      case "restart":
        commit();
        ledger.restart();
        break;
      case "crash":
        model = structuredClone(committed);
        ledger.restart();
        modelRelease(model, ledger.nowMs);
        break;
    }
    compare(ledger, model);
  }
  commit();
  for (const sum of store.audit().values()) expect(sum).toEqual({ postings: 0n, balances: 0n, mismatches: 0 });
  const named = store.transfers({ limit: 1_000 }).filter(({ kind }) => kind !== "release");
  expect(named.map((transfer) => transfer.id as string).toSorted()).toEqual([...model.bodies.keys()].toSorted());
}

function compare(ledger: Ledger, model: Model): void {
  const balances = ledger.balances();
  let sum = 0n;
  for (const [name, value] of balances) {
    expect(model.balances.get(name) ?? 0n).toBe(value);
    assert(value >= 0n || name.startsWith("external:"), `${name} is below zero`);
    sum += value;
  }
  expect(sum).toBe(0n);
  for (const [name, value] of model.balances) expect(balances.get(name) ?? 0n).toBe(value);
  const open = [...model.reservations].filter((of) => of[1].open).map(([name]) => name);
  expect([...ledger.state.rows.reservations.keys()].toSorted()).toEqual(open.toSorted());
}

function count(seen: Map<string, number>, outcome: LinkedOutcome): void {
  const names =
    outcome.kind === "refused"
      ? [outcome.code]
      : outcome.transfers.map(({ repeated }) => (repeated ? "repeated" : "new"));
  for (const name of names) seen.set(name, (seen.get(name) ?? 0) + 1);
}

describe("the ledger", () => {
  test("does what its model does, over 1,200 histories in memory", () => {
    const seen = new Map<string, number>();
    const histories = fc.array(command, { minLength: 10, maxLength: 40, size: "max" });
    fc.assert(
      fc.property(histories, (commands) => run(createMemoryStore(), commands, seen)),
      { numRuns: 1_200 },
    );
    const refusals: LedgerRefusal[] = [
      "account_not_allowed",
      "amount_not_positive",
      "amount_out_of_range",
      "insufficient_funds",
      "reservation_exceeded",
      "reservation_unknown",
      "transfer_differs",
      "transfer_unbalanced",
    ];
    for (const name of ["new", "repeated", ...refusals]) expect(seen.get(name) ?? 0, name).toBeGreaterThan(50);
  });

  test("does so on SQLite", () => {
    const histories = fc.array(command, { minLength: 20, maxLength: 40, size: "max" });
    const property = fc.property(histories, (commands) => {
      const dir = mkdtempSync(join(tmpdir(), "qubix-ledger-"));
      const store = openSqliteStore(dir);
      try {
        run(store, commands, new Map());
      } finally {
        store.close();
        rmSync(dir, { recursive: true, force: true });
      }
    });
    fc.assert(property, { numRuns: 25, endOnFailure: true });
  });

  test("remembers as many named transfers as one tick can post before the store has them", () => {
    expect(NAMED_RECENT_MAX).toBe(TICK_EVENTS_MAX * LINKED_ENTRIES_MAX);
  });
});
