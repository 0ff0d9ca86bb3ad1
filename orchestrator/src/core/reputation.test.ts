import type { JobId, WorkerId } from "@qubix/shared/domain";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { changed, decayed, REPUTATION_HALF_LIFE_MS, scoreOf, type TallyChange } from "./reputation-score.ts";
import { recordVerdict, reputationOf } from "./reputation.ts";
import { ADMIN, Network, offerOf, refOf } from "./testing/kit.ts";
import { work } from "./testing/words.ts";

const usd = (amount: bigint) => ({ amount, currency: "USD" });

function network() {
  const net = new Network();
  const provider = net.account("provider", 1_000n);
  const worker = net.worker(provider, "alpha");
  const consumer = net.account("consumer", 1_000n);
  const score = (id: WorkerId = worker) => {
    const row = net.state.rows.workers.get(id);
    return row === undefined ? Number.NaN : reputationOf(net.state, row).score;
  };
  const tallies = (id: WorkerId = worker) => net.state.rows.workers.get(id)?.reputation;
  return { net, provider, worker, consumer, score, tallies };
}

/** As a step of its own would. */
function verdict(net: Network, workerId: WorkerId, kind: "verified" | "wrong"): void {
  recordVerdict(net.state, { workerId, jobId: "job-x" as JobId, kind, evidence: { check: "job-y" } });
}

describe("the score", () => {
  const change = fc.record(
    {
      completed: fc.double({ min: 0, max: 50, noNaN: true }),
      verified: fc.double({ min: 0, max: 50, noNaN: true }),
      failed: fc.double({ min: 0, max: 50, noNaN: true }),
      disputed: fc.double({ min: 0, max: 5, noNaN: true }),
      wrong: fc.double({ min: 0, max: 5, noNaN: true }),
    },
    { requiredKeys: [] },
  ) as fc.Arbitrary<TallyChange>;

  test("keeps within 0 and 1, falls with what is held against somebody, rises with what speaks for him, and forgets both", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(change, fc.nat(2 * REPUTATION_HALF_LIFE_MS)), { maxLength: 10 }), (history) => {
        let atMs = 0;
        let now = changed(undefined, {}, 0);
        for (const [each, waitMs] of history) now = changed(now, each, (atMs += waitMs));
        const score = scoreOf(now);
        expect(score).toBeGreaterThan(0);
        expect(score).toBeLessThan(1);
        for (const bad of ["failed", "disputed", "wrong"] as const) {
          expect(scoreOf(changed(now, { [bad]: 1 }, atMs))).toBeLessThan(score);
        }
        for (const good of ["completed", "verified"] as const) {
          expect(scoreOf(changed(now, { [good]: 1 }, atMs))).toBeGreaterThan(score);
        }
        expect(scoreOf(decayed(now, atMs + 40 * REPUTATION_HALF_LIFE_MS))).toBeCloseTo(0.5, 2);
      }),
    );
  });

  test("no rating moves it by more than a fifth", () => {
    const steady = changed(undefined, { completed: 9 }, 0);
    const praised = scoreOf(changed(steady, { rated: 1e9, stars: 1e9 }, 0));
    const blamed = scoreOf(changed(steady, { rated: 1e9, stars: 0 }, 0));
    expect(praised - blamed).toBeLessThanOrEqual(0.2 + 1e-9);
    expect(praised).toBeGreaterThan(scoreOf(steady));
    expect(blamed).toBeLessThan(scoreOf(steady));
  });

  test("a tally halves every 30 days", () => {
    const now = changed(undefined, { completed: 8 }, 0);
    expect(decayed(now, REPUTATION_HALF_LIFE_MS).completed).toBe(4);
    expect(decayed(now, 3 * REPUTATION_HALF_LIFE_MS).completed).toBe(1);
  });
});

describe("reputation", () => {
  test("rises with each completed job of others, of the worker and of its provider, and outlives a restart", () => {
    const { net, provider, consumer, score, tallies } = network();
    expect(score()).toBe(0.5);
    work(net, net.submit(consumer), 60_000);
    const first = score();
    expect(first).toBeGreaterThan(0.5);
    work(net, net.submit(consumer), 60_000);
    expect(score()).toBeGreaterThan(first);
    expect(tallies()?.completed).toBeCloseTo(2);
    expect(net.state.rows.accounts.get(provider.accountId)?.reputation?.completed).toBeCloseTo(2);
    const before = score();
    net.restart();
    expect(score()).toBeCloseTo(before, 6);
  });

  test("nobody gains by working for himself", () => {
    const net = new Network();
    net.deposit(ADMIN, 1_000_000_000n);
    const own = net.worker(ADMIN, "own");
    work(net, net.submit(ADMIN), 60_000);
    expect(net.state.rows.workers.get(own)?.earned).not.toEqual([]);
    expect(net.state.rows.workers.get(own)?.reputation).toBeUndefined();
  });

  test("falls when the worker is lost with a job; not while many are silent at once", () => {
    const { net, worker, consumer, score } = network();
    const id = net.submit(consumer);
    net.say(worker, { kind: "started", attempt: refOf(net.attempt(id)), fromSeq: 0 });
    net.silence(worker);
    net.pass(20_000);
    expect(score()).toBeLessThan(0.5);

    const many = network();
    const others = Array.from({ length: 9 }, (_, n) => many.net.worker(many.net.account("provider"), `w${n}`));
    for (const _ of [many.worker, ...others]) {
      const attempt = many.net.attempt(many.net.submit(many.consumer));
      many.net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: 0 });
    }
    many.net.pass(10_000);
    for (const id of [many.worker, ...others]) many.net.silence(id);
    many.net.pass(20_000);
    for (const id of [many.worker, ...others]) expect(many.score(id)).toBe(0.5);
  });

  test("one wrong result outweighs many good ones, and a new worker of the same provider inherits it", () => {
    const { net, provider, worker, score } = network();
    for (let n = 0; n < 5; n += 1) verdict(net, worker, "verified");
    expect(score()).toBeGreaterThan(0.9);
    verdict(net, worker, "wrong");
    expect(score()).toBeLessThan(0.4);
    const fresh = net.worker(provider, "fresh");
    expect(score(fresh)).toBe(score());
    net.nowMs += 12 * REPUTATION_HALF_LIFE_MS;
    net.dispatch();
    expect(score()).toBeCloseTo(0.5, 1);
  });

  test("breaks ties between equal offers, and only those", () => {
    const net = new Network();
    const consumer = net.account("consumer", 1_000n);
    const dear = offerOf({ pricePerCpuHour: usd(1_100_000n) });
    const first = net.worker(net.account("provider"), "first");
    const second = net.worker(net.account("provider"), "second");
    const good = net.worker(net.account("provider"), "good but dear", dear);
    expect(net.attempt(net.submit(consumer)).workerId).toBe(first);
    expect(net.attempt(net.submit(consumer)).workerId).toBe(second);
    for (let n = 0; n < 5; n += 1) {
      verdict(net, second, "verified");
      verdict(net, good, "verified");
    }
    // As loaded as the first, as dear as the first, and better known.
    expect(net.attempt(net.submit(consumer)).workerId).toBe(second);
    expect(net.attempt(net.submit(consumer)).workerId).toBe(first);
  });
});
