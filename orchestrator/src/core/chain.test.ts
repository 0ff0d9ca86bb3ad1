import type { JobId } from "@qubix/shared/domain";
import { beforeEach, describe, expect, it } from "vitest";
import { transfer } from "./ledger.ts";
import { ADMIN, Network, offerOf, refOf } from "./testing/kit.ts";
import type { Actor } from "./events.ts";
import type { ChainPayRecord } from "./model.ts";
import { returnPending, takePending } from "./pending-pay.ts";

const PRICE = { amount: 1_000_000n, currency: "TST" };
const SPEC = { priceMaxPerHour: { amount: "3600000", currency: "TST" }, durationMaxS: 3600 } as const;
const WINDOW_MS = 3_600_000;
const PERIOD_MS = 60_000;
/** Longer than any of what is earned now can be disputed. */
const OVER_MS = WINDOW_MS + PERIOD_MS;
const HOLD = 3_600_000n;

let net: Network;
let consumer: Actor;
let provider: Actor;
beforeEach(() => {
  begin();
});

function begin(
  over: { readonly disputeWindowMs?: number; readonly payeesMax?: number; readonly feeApart?: boolean } = {},
) {
  const { disputeWindowMs = WINDOW_MS, payeesMax = 8, feeApart = false } = over;
  net = new Network({
    chains: { TST: { driver: "evm", payeesMax, feeApart } },
    disputeWindowMs,
    payPeriodMs: PERIOD_MS,
  });
  consumer = net.account("consumer");
  provider = net.account("provider");
  net.deposit(consumer, 100_000_000n, "TST");
}

function address(of: Actor = provider): void {
  net.do({ kind: "payout.address", actor: of, driver: "evm", address: `0x${of.accountId}` });
}

/** A job that ran for that long, and ended well. */
function run(ms = 1_800_000): JobId {
  if (net.beating.size === 0) net.worker(provider, "w", { ...offerOf(), pricePerCpuHour: PRICE });
  const id = net.submit(consumer, SPEC);
  const { workerId: worker } = net.attempt(id);
  const attempt = refOf(net.attempt(id));
  net.say(worker, { kind: "started", attempt, fromSeq: 0 });
  net.pass(ms);
  net.say(worker, { kind: "exited", attempt, ranMs: ms });
  net.say(worker, { kind: "ended", attempt, ranMs: ms, outcome: { kind: "succeeded", outputs: null } });
  expect(net.job(id).phase).toBe("succeeded");
  return id;
}

const payOf = (id: JobId) => net.kept.all("chainPays").find((pay) => pay.id === id) as ChainPayRecord;
const final = (id: JobId, what: "deposit" | "pay", applied = true, tries = 1) =>
  net.do({ kind: "chain.final", jobId: id, what, tries, applied });
const own = (kind: string) => `${kind}:${provider.accountId}`;
const asked = () => net.effects.flatMap((effect) => (effect.kind === "chain" ? [effect.id] : []));

describe("a job in a currency that lies on a chain", () => {
  it("is matched only with providers who said where they want to be paid, and the quote says so", () => {
    net.worker(provider, "w1", { ...offerOf(), pricePerCpuHour: PRICE });
    const id = net.submit(consumer, SPEC);
    expect(net.job(id).phase).toBe("queued");
    address();
    net.dispatch();
    expect(net.job(id).phase).toBe("starting");
  });

  it("is held on the chain from the beginning, and paid there once when its window is over", () => {
    address();
    const id = run();
    expect(asked()).toEqual([id]);
    final(id, "deposit");
    final(id, "deposit");
    expect(net.timeline(id).filter((kind) => kind === "deposited")).toHaveLength(1);
    expect([net.balance(own("pending")), net.balance("fee"), payOf(id).phase]).toEqual([475_000n, 25_000n, "waiting"]);
    net.pass(OVER_MS);
    expect(asked()).toEqual([id, id]);
    expect([net.balance(own("pending")), net.balance(`reserved:${id}`)]).toEqual([0n, 475_000n]);
    expect(payOf(id).payees).toEqual([
      { accountId: provider.accountId, address: `0x${provider.accountId}`, amount: 475_000n },
    ]);
    const before = net.balance("external:evm");
    for (let told = 0; told < 3; told += 1) final(id, "pay");
    expect(net.balance("external:evm") - before).toBe(475_000n);
    expect(net.balance(`reserved:${id}`)).toBe(0n);
    expect(payOf(id)).toBeUndefined();
    expect(net.timeline(id).filter((kind) => kind === "paid")).toHaveLength(1);
  });

  it("that earned nobody anything is given back at once", () => {
    const id = net.submit(consumer, SPEC);
    net.do({ kind: "job.cancel", actor: consumer, jobId: id });
    expect(payOf(id)).toMatchObject({ phase: "paying", payees: [], hold: HOLD });
    final(id, "pay");
    expect(payOf(id)).toBeUndefined();
    expect(net.balance(`customer:${consumer.accountId}`)).toBe(100_000_000n);
  });

  it("survives a restart at every step: what is to be done is in the rows", () => {
    address();
    const id = run();
    net.restart();
    expect(net.state.rows.chainPays.get(id)?.phase).toBe("waiting");
    net.pass(OVER_MS);
    expect(payOf(id).phase).toBe("paying");
    net.restart();
    final(id, "pay");
    expect([payOf(id), net.balance(`reserved:${id}`)]).toEqual([undefined, 0n]);
  });

  it("a window of nothing asks for it at once", () => {
    begin({ disputeWindowMs: 0 });
    address();
    expect(payOf(run()).phase).toBe("paying");
  });

  it("with the network's fee on an account of its own, the fee leaves with the pay", () => {
    begin({ feeApart: true });
    address();
    const id = run();
    net.pass(OVER_MS);
    expect([payOf(id).fee, net.balance("fee"), net.balance(`reserved:${id}`)]).toEqual([25_000n, 0n, 500_000n]);
    final(id, "pay");
    expect(net.balance("external:evm")).toBe(-99_500_000n);
  });

  it("more payees than a settlement may have: the largest shares go to the chain, the others become payable here", () => {
    begin({ payeesMax: 0 });
    address();
    const id = run();
    net.pass(OVER_MS);
    expect([payOf(id).payees, net.balance(own("provider"))]).toEqual([[], 475_000n]);
  });
});

it("what a provider asks for by hand meanwhile is never what is on its way to the chain", () => {
  address();
  const id = run();
  const ask = () =>
    net.do({ kind: "payout.request", actor: provider, by: "hand", amount: 475_000n, currency: "TST", destination: "" });
  for (let n = 0; n < 3; n += 1) {
    expect(ask()).toMatchObject({ refusal: { code: "insufficient_funds" } });
    net.pass(OVER_MS / 2);
  }
  expect([payOf(id).phase, net.balance(own("provider"))]).toEqual(["paying", 0n]);
  expect(net.kept.all("releases")).toEqual([]);
});

it("what was released under a window that was made shorter, and withdrawn by hand, is not paid again", () => {
  address();
  const one = run();
  net.pass(1_000);
  Object.assign(net.config, { disputeWindowMs: 0 });
  net.restart();
  net.pass(PERIOD_MS);
  const request = { amount: 475_000n, currency: "TST", destination: "" };
  expect(net.do({ kind: "payout.request", actor: provider, by: "hand", ...request }).kind).toBe("payout");
  expect(net.balance(own("provider"))).toBe(0n);
  net.pass(OVER_MS);
  expect(payOf(one)).toMatchObject({ phase: "paying", payees: [] });
  final(one, "pay");
  expect(payOf(one)).toBeUndefined();
});

describe("what a chain refuses", () => {
  it("stays reserved, is told to admins, and is tried again under another number when they say so", () => {
    address();
    const id = run();
    net.pass(OVER_MS);
    final(id, "pay", false);
    expect([payOf(id).phase, net.balance(`reserved:${id}`)]).toEqual(["refused", 475_000n]);
    expect(net.kept.events.at(-1)).toMatchObject({
      channel: "system",
      kind: "chain_refused",
      data: { jobId: id, what: "pay" },
    });
    expect(net.do({ kind: "chain.retry", actor: consumer, driver: "evm" })).toMatchObject({
      refusal: { code: "forbidden" },
    });
    net.do({ kind: "chain.retry", actor: ADMIN, driver: "evm" });
    expect(payOf(id)).toMatchObject({ phase: "paying", tries: 2 });
    // An old word about the first try changes nothing.
    final(id, "pay", false, 1);
    expect(payOf(id).phase).toBe("paying");
    final(id, "pay", true, 2);
    expect([payOf(id), net.balance(`reserved:${id}`)]).toEqual([undefined, 0n]);
  });

  it("or is made payable here, once", () => {
    address();
    const id = run();
    net.pass(OVER_MS);
    const release = () => net.do({ kind: "chain.release", actor: ADMIN, jobId: id });
    expect(release()).toMatchObject({ refusal: { code: "chain_not_refused" } });
    final(id, "pay", false);
    release();
    expect([net.balance(own("provider")), net.balance(`reserved:${id}`), payOf(id)]).toEqual([475_000n, 0n, undefined]);
    expect(release()).toMatchObject({ refusal: { code: "chain_not_refused" } });
  });

  it("a refused deposit is tried again, too", () => {
    const id = net.submit(consumer, SPEC);
    final(id, "deposit", false);
    expect(net.job(id).chain).toEqual({ driver: "evm", deposit: "refused", tries: 1 });
    net.do({ kind: "chain.retry", actor: ADMIN, driver: "evm" });
    expect(net.job(id).chain).toEqual({ driver: "evm", deposit: "sent", tries: 2 });
    final(id, "deposit", true, 2);
    expect(net.job(id).chain?.deposit).toBe("final");
  });
});

describe("a dispute", () => {
  const dispute = (jobId: JobId) =>
    net.do({
      kind: "job.dispute",
      actor: consumer,
      jobId,
      reason: "wrong",
      ended: net.job(jobId),
      previous: null,
      returned: false,
    });
  const resolve = (reply: ReturnType<typeof dispute>, consumerBps: number) => {
    if (reply.kind !== "case") throw new Error(JSON.stringify(reply));
    net.do({ kind: "dispute.resolve", actor: ADMIN, disputeId: reply.caseId, consumerBps, note: "looked" });
  };

  it("keeps the pay from the chain until it is decided, and then the chain pays what was decided", () => {
    address();
    const id = run();
    const opened = dispute(id);
    expect(payOf(id).phase).toBe("frozen");
    net.restart();
    net.pass(2 * OVER_MS);
    expect(payOf(id).phase).toBe("frozen");
    resolve(opened, 6_000);
    expect(payOf(id)).toMatchObject({ phase: "paying", payees: [{ amount: 190_000n }] });
    expect([net.balance(`reserved:${id}`), net.balance(`disputed:${id}`)]).toEqual([190_000n, 0n]);
    final(id, "pay");
    expect(net.balance("external:evm")).toBe(-100_000_000n + 190_000n);
  });

  it("takes nothing of what other jobs have earned meanwhile: they can be disputed, and are paid, as well", () => {
    address();
    const [one, two] = [run(), run(1_000)];
    expect(net.kept.all("releases").length).toBeGreaterThan(0);
    resolve(dispute(one), 0);
    expect(net.balance(`reserved:${one}`)).toBe(475_000n);
    const second = dispute(two);
    expect(payOf(two).phase).toBe("frozen");
    resolve(second, 0);
    expect(payOf(two).payees).toMatchObject([{ amount: 264n }]);
    final(one, "pay");
    final(two, "pay");
    expect([net.balance(own("pending")), net.balance(own("provider"))]).toEqual([0n, 0n]);
  });

  it("or a check that froze a part of it and gives that back before its window is over: it waits on with the rest", () => {
    address();
    const id = run();
    const post = (kind: "freeze" | "resolution", amount: bigint) => {
      const share = { providerId: provider.accountId, currency: "TST", settledAtMs: payOf(id).settledAtMs };
      if (kind === "freeze") expect(takePending(net.state, { ...share, amount })).toBe(true);
      else expect(returnPending(net.state, { ...share, amount: -amount })).toBe(own("pending"));
      const postings = [
        { account: `pending:${provider.accountId}` as const, amount: -amount },
        { account: `disputed:${id}` as const, amount },
      ];
      transfer(net.state, { kind, jobId: id, currency: "TST", postings, memo: "" });
      net.step({ kind: "timer" });
    };
    post("freeze", 400_000n);
    expect(payOf(id)).toMatchObject({ phase: "frozen", shares: [{ amount: 75_000n }] });
    post("resolution", -400_000n);
    expect(payOf(id)).toMatchObject({ phase: "waiting", shares: [{ amount: 475_000n, payable: 0n }] });
    net.pass(OVER_MS);
    expect(payOf(id)).toMatchObject({ phase: "paying", payees: [{ amount: 475_000n }] });
  });

  it("that the consumer wins wholly has the escrow given back", () => {
    address();
    const id = run();
    resolve(dispute(id), 10_000);
    expect(payOf(id)).toMatchObject({ phase: "paying", payees: [], fee: 0n });
    final(id, "pay");
    expect(net.balance(`customer:${consumer.accountId}`)).toBe(100_000_000n);
  });

  it("comes too late when the chain was asked already, to the millisecond", () => {
    address();
    const id = run();
    net.pass(payOf(id).dueAtMs - net.nowMs);
    expect(payOf(id).phase).toBe("paying");
    expect(dispute(id)).toMatchObject({ refusal: { code: "dispute_window_over" } });
  });
});

describe("a provider's payout", () => {
  const usd = (units: bigint) => units * 1_000_000n;
  const request = (amount: bigint, actor = provider) =>
    net.do({ kind: "payout.request", actor, by: "hand", amount, currency: "USD", destination: "IBAN" });
  const end = (payoutId: string, outcome: "complete" | "reject") =>
    net.do({ kind: "payout.end", actor: ADMIN, payoutId, outcome, reference: "wire 7" });
  beforeEach(() => {
    const postings = [
      { account: "external:ledger" as const, amount: -usd(10n) },
      { account: `provider:${provider.accountId}` as const, amount: usd(10n) },
    ];
    transfer(net.state, { kind: "adjustment", jobId: null, currency: "USD", postings, memo: "" });
    net.step({ kind: "timer" });
  });

  it("is set aside until an admin says that it was sent, or that it will not be", () => {
    const first = request(usd(4n));
    const second = request(usd(5n));
    if (first.kind !== "payout" || second.kind !== "payout") throw new Error("refused");
    expect(net.balance(own("provider"))).toBe(usd(1n));
    expect(request(usd(2n))).toMatchObject({ refusal: { code: "insufficient_funds", status: 402 } });
    expect(end(first.payoutId, "complete")).toMatchObject({ payout: { phase: "completed", reference: "wire 7" } });
    net.restart();
    expect(end(second.payoutId, "reject")).toMatchObject({ payout: { phase: "rejected" } });
    expect([net.balance(own("provider")), net.balance("external:ledger")]).toEqual([usd(6n), -usd(6n)]);
    expect(net.state.rows.payouts.size).toBe(0);
    expect(end(first.payoutId, "complete")).toMatchObject({ refusal: { code: "payout_not_found" } });
  });

  it("is bounded, above zero, and a provider's alone", () => {
    expect(request(0n)).toMatchObject({ refusal: { code: "amount_not_positive" } });
    expect(request(1n, consumer)).toMatchObject({ refusal: { code: "forbidden" } });
    for (let n = 0; n < 20; n += 1) expect(request(1n).kind).toBe("payout");
    expect(request(1n)).toMatchObject({ refusal: { code: "payout_under_way" } });
  });

  it("from a contract moves nothing here, is under way once, and ends by the chain's word", () => {
    const withdraw = () =>
      net.do({
        kind: "payout.request",
        actor: provider,
        by: "contract",
        amount: 7n,
        currency: "TST",
        destination: "0x1",
      });
    const made = withdraw();
    if (made.kind !== "payout") throw new Error("refused");
    expect(asked()).toEqual([made.payoutId]);
    expect(withdraw()).toMatchObject({ refusal: { code: "payout_under_way" } });
    expect(end(made.payoutId, "complete")).toMatchObject({ refusal: { code: "payout_by_contract" } });
    const transfers = net.kept.transfers.length;
    for (let told = 0; told < 2; told += 1) net.do({ kind: "payout.final", payoutId: made.payoutId, applied: true });
    expect(net.kept.transfers.length).toBe(transfers);
    expect(net.kept.all("payouts")).toMatchObject([{ phase: "completed" }]);
  });

  it("the same request again is the same payout, also when that has ended", () => {
    const idempotency = { route: "POST /v1/payouts", key: "k", bodyHash: "b" };
    const event = {
      kind: "payout.request",
      actor: provider,
      by: "hand",
      amount: 1n,
      currency: "USD",
      destination: "",
      idempotency,
    } as const;
    const [first, again] = [net.do(event), net.do(event)];
    if (first.kind !== "payout" || again.kind !== "payout") throw new Error("refused");
    expect(again.payoutId).toBe(first.payoutId);
    end(first.payoutId, "complete");
    expect(net.do(event)).toEqual({ kind: "payout", payoutId: first.payoutId, payout: null });
  });
});
