// Receipts, statements and earnings over random histories: failovers, returns, cancels, restarts. What they say is what was posted, to the unit.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AccountId, JobId, WorkerId } from "@qubix/shared/domain";
import { tickHash, verifyReceipt } from "@qubix/shared/receipts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isActiveAttempt } from "../core/indexes.ts";
import type { AttemptRecord, Changes } from "../core/index.ts";
import { Network, offerOf, refOf, specOf, treeOf } from "../core/testing/kit.ts";
import { openSqliteStore, type Store } from "../store/index.ts";
import { daysBetween } from "./days.ts";
import { earningsBy, earningsJobs, earningsTotals } from "./earnings.ts";
import { receiptOf, type ReceiptView } from "./receipt.ts";
import { statementDays, statementJobs } from "./statements.ts";

const EVER = daysBetween("2000-01-01", "2200-12-31");
const BEGIN_MS = Date.UTC(2026, 10, 27, 23, 59);
/** So much of the wall passes while the network's clock moves by one: histories of minutes are spread over weeks. */
const WALL_PER_MS = 2_000;
const SIGNATURE = "signed";
const BATCH_MAX = 12;
const PAGE = { after: null, limit: 10_000 };

const action = fc.record({
  kind: fc.constantFrom(
    "submit",
    "submit",
    "start",
    "start",
    "save",
    "save",
    "end",
    "fail",
    "close",
    "return",
    "flap",
    "cancel",
    "deposit",
    "restart",
    "pass",
    "pass",
    "pass",
  ),
  which: fc.nat(1_000),
  ms: fc.integer({ min: 1, max: 45_000 }),
});
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

describe("after any history", () => {
  test("every receipt verifies, and statements and earnings come to what was posted", () => {
    const seen = { final: 0, live: 0, failovers: 0, undos: 0, ticks: 0, restarts: 0, egress: 0 };
    fc.assert(
      fc.property(fc.array(action, { minLength: 40, maxLength: 140 }), (actions) => {
        const dir = mkdtempSync(join(tmpdir(), "qubix-history-"));
        const store = openSqliteStore(dir);
        try {
          const world = createWorld(store);
          for (const each of actions) world.act(each);
          world.check(seen);
        } finally {
          store.close();
          rmSync(dir, { recursive: true, force: true });
        }
      }),
      { numRuns: 24, seed: 20_261_127 },
    );
    // A history in which nothing of this happened would prove nothing.
    for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(5);
  }, 120_000);
});

const EGRESS_PRICE = { amount: 987_654n, currency: "USD" };
/** Some of it is more than a line carries that nobody measured, and some jobs pay for less. */
const EGRESS_BYTES_PER_MS = 30_001;
const PAYS_EGRESS = {
  network: "egress",
  failover: "speculative",
  egressGiBMax: 0.2,
  egressPriceMaxPerGiB: { amount: "1000000", currency: "USD" },
} as const;

function createWorld(store: Store) {
  const net = new Network();
  const wallMs = () => BEGIN_MS + net.nowMs * WALL_PER_MS;
  const flush = follow(net, store, wallMs);
  const providers = [net.account("provider"), net.account("provider")] as const;
  const consumers = [net.account("consumer", 3n), net.account("consumer", 40n)] as const;
  const workers = providers.flatMap((provider, at) =>
    [0, 1].map((n) => {
      // One of four keeps no account of its own.
      const offer = offerOf(
        at + n === 0
          ? { features: ["egress"] }
          : { features: ["egress", "ticks", "usage"], pricePerEgressGiB: EGRESS_PRICE },
      );
      return { id: net.worker(provider, `w${at}${n}`, offer), offer };
    }),
  );
  const jobs: JobId[] = [];
  const restarts = { count: 0 };
  const pick = <T>(items: readonly T[], which: number): T | undefined => items[which % Math.max(1, items.length)];
  const active = () => jobs.flatMap((id) => net.attempts(id)).filter(isActiveAttempt);
  const isOnline = (id: WorkerId) => net.beating.has(id);
  const ranMsOf = (attempt: AttemptRecord) => Math.max(0, net.nowMs - (attempt.startedAtMs ?? net.nowMs) - 7);

  /** The worker's chain goes on from what it is known to have said. */
  function tick(attempt: AttemptRecord, ranMs: number, moment: "checkpoint" | "end"): void {
    const offer = workers.find(({ id }) => id === attempt.workerId)?.offer;
    if (offer?.features?.includes("ticks") !== true) return;
    const { n, hash, ranMs: before } = attempt.ticks ?? { n: 0, hash: null, ranMs: 0 };
    const signedMs = Math.max(before, ranMs);
    const line = {
      attempt: refOf(attempt),
      n: n + 1,
      moment,
      ranMs: signedMs,
      prev: hash,
      usage: { egressBytes: signedMs * EGRESS_BYTES_PER_MS },
    };
    net.say(attempt.workerId, { kind: "tick", ...line, signature: SIGNATURE });
    expect(net.attempts(attempt.jobId).find(({ id }) => id === attempt.id)?.ticks?.hash).toBe(tickHash(line));
  }

  function save(attempt: AttemptRecord): void {
    const ranMs = ranMsOf(attempt);
    tick(attempt, ranMs, "checkpoint");
    const newest = net.job(attempt.jobId).checkpoints.at(-1)?.seq ?? 0;
    net.say(attempt.workerId, {
      kind: "checkpoint",
      attempt: refOf(attempt),
      seq: newest + 1,
      parentSeq: newest,
      tree: treeOf(`tree${newest + 1}${attempt.epoch}`),
      ranMs,
      progress: null,
      signature: SIGNATURE,
    });
  }

  function end(attempt: AttemptRecord, isGood: boolean): void {
    const ranMs = ranMsOf(attempt);
    tick(attempt, ranMs, "end");
    const failed = { kind: "failed", code: "exit_code", exitCode: 1, message: "no" } as const;
    const outcome = isGood ? ({ kind: "succeeded", outputs: null } as const) : failed;
    net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs, outcome });
  }

  /** A worker is gone for long enough to be given up, and comes back with its container. */
  function flap(attempt: AttemptRecord): void {
    net.close(attempt.workerId);
    net.pass(2_500);
    comeBack(workers.findIndex(({ id }) => id === attempt.workerId));
  }

  function comeBack(index: number): void {
    const worker = workers[index];
    if (worker === undefined) return;
    // What it ran when it was lost, it still runs.
    const own = jobs
      .map((id) => net.attempts(id).findLast((attempt) => attempt.workerId === worker.id))
      .filter((attempt) => attempt !== undefined && attempt.startedAtMs !== null && attempt.phase !== "ended")
      .filter((attempt) => attempt !== undefined);
    net.connect(worker.id, worker.offer, {
      attempts: own.map((attempt) => ({
        attempt: refOf(attempt),
        phase: "running",
        ranMs: ranMsOf(attempt),
        checkpointSeq: net.job(attempt.jobId).checkpoints.at(-1)?.seq ?? 0,
        progress: null,
      })),
      standbys: [],
    });
  }

  return {
    act({ kind, which, ms }: Action): void {
      if (kind === "pass") return net.pass(ms);
      if (kind === "submit") {
        const standby = which % 3 === 0 ? ("hot" as const) : ("cold" as const);
        const actor = consumers[which % 2] ?? consumers[0];
        const price = { amount: (2_000_000 + which * 977).toString(), currency: "USD" };
        const plain = { standby, priceMaxPerHour: price, durationMaxS: 60 + (which % 200), retries: 1 };
        const spec = which % 2 === 0 ? plain : { ...plain, ...PAYS_EGRESS };
        const reply = net.do({ kind: "job.create", actor, spec: specOf(spec) });
        if (reply.kind === "job") jobs.push(reply.jobId);
        return;
      }
      if (kind === "deposit") return void net.deposit(consumers[which % 2] ?? consumers[0], BigInt(ms));
      if (kind === "restart") {
        restarts.count += 1;
        net.restart(ms);
        return;
      }
      if (kind === "return") {
        const away = workers.filter(({ id }) => !isOnline(id));
        const worker = pick(away, which);
        return comeBack(worker === undefined ? -1 : workers.indexOf(worker));
      }
      if (kind === "close") {
        const worker = pick(
          workers.filter(({ id }) => isOnline(id)),
          which,
        );
        if (worker !== undefined) net.close(worker.id);
        return;
      }
      if (kind === "cancel") {
        const jobId = pick(jobs, which);
        if (jobId !== undefined)
          net.do({ kind: "job.cancel", actor: { accountId: net.job(jobId).accountId, role: "consumer" }, jobId });
        return;
      }
      const attempt = pick(
        active().filter(
          ({ workerId, phase }) =>
            isOnline(workerId) && (kind === "start" ? phase === "assigned" : phase === "running"),
        ),
        which,
      );
      if (attempt === undefined) return;
      if (kind === "start")
        net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: attempt.fromSeq });
      else if (kind === "save") save(attempt);
      else if (kind === "flap") flap(attempt);
      else end(attempt, kind === "end");
    },

    check(seen: Record<"final" | "live" | "failovers" | "undos" | "ticks" | "restarts" | "egress", number>): void {
      flush();
      seen.restarts += restarts.count;
      for (const id of jobs) {
        const stored = store.job(id);
        if (stored === undefined) throw new Error(`${id} is lost`);
        const owners = new Set([...stored.attempts, ...stored.standbys].map(({ providerId }) => providerId));
        const views: ReceiptView[] = [
          { kind: "consumer" },
          ...[...owners].map((accountId) => ({ kind: "provider" as const, accountId })),
        ];
        for (const view of views) {
          const receipt: unknown = JSON.parse(JSON.stringify(receiptOf(portsOf(store), stored, view)));
          const verdict = verifyReceipt(receipt, (_key, _text, signature) => signature === SIGNATURE);
          expect(verdict.problems).toEqual([]);
          seen.ticks += verdict.figures.ticks;
        }
        seen[stored.job.settlement.phase === "settled" ? "final" : "live"] += 1;
        seen.egress += stored.attempts.filter(({ egress }) => (egress?.bytes ?? 0) > 0).length;
        seen.failovers += stored.job.failoversUsed;
        seen.undos += stored.attempts.filter(({ adoptedEpoch }) => adoptedEpoch !== 0).length;
      }
      for (const { accountId } of consumers) checkConsumer(net, store, accountId);
      for (const { accountId } of providers) checkProvider(net, store, accountId);
    },
  };
}

/** Sums of what was posted on an account, by kind, counted from the transfers alone. */
function postedOn(net: Network, account: string, kinds?: readonly string[]): bigint {
  return net.kept.transfers
    .filter(({ kind }) => kinds === undefined || kinds.includes(kind))
    .flatMap(({ postings }) => postings)
    .reduce((sum, posting) => (posting.account === account ? sum + posting.amount : sum), 0n);
}

function checkConsumer(net: Network, store: Store, accountId: AccountId): void {
  const account = `customer:${accountId}`;
  const { items, totals } = statementDays(store, accountId, EVER);
  const [total] = totals;
  if (total === undefined) throw new Error(`no statement of ${accountId}`);
  expect(total).toMatchObject({
    opening: "0",
    deposits: postedOn(net, account, ["deposit"]).toString(),
    held: postedOn(net, account, ["hold"]).toString(),
    returned: postedOn(net, account, ["settlement"]).toString(),
    other: "0",
    closing: net.balance(account).toString(),
  });
  // Each day begins with what the day before ended with, whatever range it is read in.
  for (const [at, row] of items.entries()) {
    expect(row.opening).toBe(items[at - 1]?.closing ?? "0");
    expect(statementDays(store, accountId, daysBetween(row.day, row.day)).items).toEqual([row]);
  }
  const settled = net.kept.settled.filter(({ payer }) => payer === account);
  const jobs = statementJobs(store, accountId, EVER, PAGE).items;
  const charged = jobs.reduce((sum, job) => sum + BigInt(job.charged), 0n);
  expect(jobs).toHaveLength(settled.length);
  expect(total).toMatchObject({ charged: charged.toString(), jobsSettled: jobs.length });
  // What went out is what was charged, and what is still held.
  const held = store
    .jobs({ account: accountId, limit: 10_000 })
    .reduce((sum, { settlement }) => (settlement.phase === "held" ? sum + settlement.hold : sum), 0n);
  expect(-(BigInt(total.held) + BigInt(total.returned))).toBe(charged + held);
}

function checkProvider(net: Network, store: Store, accountId: AccountId): void {
  const [pending, payable] = [`pending:${accountId}`, `provider:${accountId}`];
  const posted = postedOn(net, pending, ["settlement"]) + postedOn(net, payable, ["settlement"]);
  const [total] = earningsTotals(store, accountId, EVER);
  if (total === undefined) return expect(posted).toBe(0n);
  expect(total).toEqual({
    currency: "USD",
    earned: posted.toString(),
    pending: net.balance(pending).toString(),
    payable: net.balance(payable).toString(),
    paidOut: "0",
    other: "0",
    earnedInRange: posted.toString(),
  });
  expect(BigInt(total.earned)).toBe(BigInt(total.pending) + BigInt(total.payable));
  const sums = [
    earningsBy(store, accountId, EVER, "day").map(({ amount }) => amount),
    earningsBy(store, accountId, EVER, "worker").map(({ amount }) => amount),
    earningsJobs(store, accountId, EVER, PAGE).items.map(({ amount }) => BigInt(amount)),
  ];
  for (const amounts of sums) expect(amounts.reduce((all, amount) => all + amount, 0n)).toBe(posted);
}

function portsOf(store: Store) {
  const wallOf = (clockMs: number) => new Date(clockMs).toISOString();
  return { store, orchestratorId: "orc-test", wallOf, publicKeyOf: () => "key" };
}

/** What is kept from here on goes into the store too, several steps a commit, and what was kept so far. What it returns writes the rest. */
function follow(net: Network, store: Store, wallMs: () => number): () => void {
  const { kept } = net;
  if (kept.meta === null) throw new Error("the network has not begun");
  const puts = [...kept.rows].map(([key, { table, record }]) => ({ table, key: key.slice(table.length + 1), record }));
  const { events, transfers, logs, ticks, settled, meta } = kept;
  store.commit([{ puts, events, transfers, logs, ticks, settled, meta } as unknown as Changes], wallMs());
  const apply = kept.apply.bind(kept);
  let batch: Changes[] = [];
  const flush = () => {
    if (batch.length > 0) store.commit(batch, wallMs());
    batch = [];
  };
  kept.apply = (changes) => {
    apply(changes);
    batch.push(changes);
    if (batch.length >= BATCH_MAX) flush();
  };
  return flush;
}
