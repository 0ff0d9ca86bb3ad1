import type { JobId } from "@qubix/shared/domain";
import { beforeEach, describe, expect, it } from "vitest";
import { Network, offerOf, refOf } from "../core/testing/kit.ts";
import type { Actor } from "../core/index.ts";
import { expectationOf, intentOfPayout, intentsOfJob, nameOf, type Purpose, purposeOf } from "./intents.ts";

const NOW = 1_700_000_000_000;
const UNITS = 10n ** 12n;
const TERMS = { driver: "evm", currency: "TST", unitsPerMicro: UNITS, feeTo: null };
const SPEC = { priceMaxPerHour: { amount: "3600000", currency: "TST" }, durationMaxS: 3600 } as const;
const HOLD = 3_600_000n * UNITS;

let net: Network;
let consumer: Actor;
beforeEach(() => {
  begin(false);
});

function begin(feeApart: boolean): void {
  net = new Network({ chains: { TST: { driver: "evm", payeesMax: 8, feeApart } }, disputeWindowMs: 0 });
  consumer = net.account("consumer");
  net.deposit(consumer, 100_000_000n, "TST");
  net.deposit(consumer, 100_000_000n);
}

function run(): JobId {
  const provider = net.account("provider");
  net.do({ kind: "payout.address", actor: provider, driver: "evm", address: "0xA" });
  const worker = net.worker(provider, "w", { ...offerOf(), pricePerCpuHour: { amount: 1_000_000n, currency: "TST" } });
  const id = net.submit(consumer, SPEC);
  const attempt = refOf(net.attempt(id));
  net.say(worker, { kind: "started", attempt, fromSeq: 0 });
  net.pass(1_800_000);
  net.say(worker, { kind: "exited", attempt, ranMs: 1_800_000 });
  net.say(worker, { kind: "ended", attempt, ranMs: 1_800_000, outcome: { kind: "succeeded", outputs: null } });
  return id;
}

const final = (jobId: JobId, what: "deposit" | "pay", applied = true) =>
  net.do({ kind: "chain.final", jobId, what, tries: 1, applied });

describe("what a job asks of its chain", () => {
  it("is its hold at first, with a deadline far behind its end", () => {
    const id = net.submit(consumer, SPEC);
    const [deposit, ...others] = intentsOfJob(net.state, id, TERMS, NOW);
    expect(deposit).toMatchObject({
      purpose: { kind: "deposit", jobId: id, tries: 1 },
      intent: { kind: "deposit", jobId: id, amount: HOLD },
    });
    const { deadlineMs = 0 } = (deposit?.intent ?? {}) as { deadlineMs?: number };
    expect(deadlineMs - NOW).toBeGreaterThan(60 * 24 * 3_600_000);
    expect(others).toEqual([]);
    final(id, "deposit");
    expect(intentsOfJob(net.state, id, TERMS, NOW)).toEqual([]);
  });

  it("is nothing for another driver, or a currency that lies on none", () => {
    const id = net.submit(consumer, SPEC);
    expect(intentsOfJob(net.state, id, { ...TERMS, driver: "qubic" }, NOW)).toEqual([]);
    const plain = net.submit(consumer);
    expect(intentsOfJob(net.state, plain, TERMS, NOW)).toEqual([]);
  });

  it("is its shares when it is to be paid, in the token's units; the fee stays with the operator", () => {
    const id = run();
    final(id, "deposit");
    const shares = [{ to: "0xA", amount: 475_000n * UNITS }];
    expect(intentsOfJob(net.state, id, TERMS, NOW)).toEqual([
      { purpose: { kind: "pay", jobId: id, tries: 1 }, intent: { kind: "settle", jobId: id, shares } },
    ]);
  });

  it("is its shares and the fee where that has an account of its own", () => {
    begin(true);
    const id = run();
    const [, pay] = intentsOfJob(net.state, id, { ...TERMS, feeTo: "0xF" }, NOW);
    expect(pay?.intent).toMatchObject({
      shares: [
        { to: "0xA", amount: 475_000n * UNITS },
        { to: "0xF", amount: 25_000n * UNITS },
      ],
    });
  });

  it("is all of it back where nobody earned anything, and nothing where nothing was deposited", () => {
    const id = net.submit(consumer, SPEC);
    net.do({ kind: "job.cancel", actor: consumer, jobId: id });
    expect(intentsOfJob(net.state, id, TERMS, NOW).map(({ intent }) => intent.kind)).toEqual(["deposit", "refund"]);
    final(id, "deposit", false);
    expect(intentsOfJob(net.state, id, TERMS, NOW)).toEqual([]);
  });
});

it("names of intents tell what they are about", () => {
  const purposes: readonly Purpose[] = [
    { kind: "allow", tries: 3 },
    { kind: "deposit", jobId: "job-1" as JobId, tries: 2 },
    { kind: "pay", jobId: "job-1" as JobId, tries: 1 },
    { kind: "payout", payoutId: "pay-7" },
    { kind: "collect", atMs: 12 },
  ];
  for (const purpose of purposes) expect(purposeOf(nameOf(purpose))).toEqual(purpose);
  expect(() => purposeOf("dance")).toThrow(RangeError);
});

it("what the ledger says is the whole of the outside, and each job as it should be there", () => {
  const [held, paying] = [net.submit(consumer, SPEC), net.submit(consumer, SPEC)];
  expect(expectationOf(net.state, TERMS).jobs.map(({ expects }) => expects)).toEqual(["underWay", "underWay"]);
  final(held, "deposit");
  final(paying, "deposit");
  net.do({ kind: "job.cancel", actor: consumer, jobId: paying });
  net.submit(consumer);
  expect(expectationOf(net.state, TERMS)).toEqual({
    owed: 100_000_000n * UNITS,
    jobs: [
      { jobId: held, expects: "held", amount: HOLD },
      { jobId: paying, expects: "underWay", amount: HOLD },
    ],
  });
});

it("a withdrawal is asked of its own chain, while it waits", () => {
  const provider = net.account("provider");
  const event = {
    kind: "payout.request",
    actor: provider,
    by: "contract",
    amount: 1n,
    currency: "TST",
    destination: "0xA",
  } as const;
  const made = net.do(event);
  if (made.kind !== "payout" || made.payout === null) throw new Error("refused");
  expect(intentOfPayout(made.payout, TERMS)?.intent).toEqual({ kind: "payout", owner: "0xA" });
  expect(intentOfPayout({ ...made.payout, phase: "completed" }, TERMS)).toBeUndefined();
  expect(intentOfPayout({ ...made.payout, by: "hand" }, TERMS)).toBeUndefined();
  expect(intentOfPayout(made.payout, { ...TERMS, driver: "qubic" })).toBeUndefined();
});
