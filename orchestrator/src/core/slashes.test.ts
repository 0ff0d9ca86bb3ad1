import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EVIDENCE_LENGTH_MAX } from "@qubix/shared/protocol";
import { caseIdOf } from "./case-rows.ts";
import { slashFor } from "./slashes.ts";
import { gatherStake, UNSTAKES_OPEN_MAX } from "./stakes.ts";
import { ADMIN, refOf } from "./testing/kit.ts";
import { caseId, codeOf, DAY_MS, TrustNetwork } from "./testing/trust.ts";

const UNIT = 1_000_000n;
/** The worker was paid 0.95; one in twenty jobs is checked. */
const DUE = 19n * UNIT;

const staked = (net: TrustNetwork) => net.balance(`stake:${net.provider.accountId}`);

describe("stake", () => {
  test("comes from what is spendable or payable, and never from more than there is", () => {
    const net = new TrustNetwork({ disputeWindowMs: 0 });
    expect(codeOf(net.stake(30n))).toBe("done");
    expect([staked(net), net.balance(`customer:${net.provider.accountId}`)]).toEqual([30n * UNIT, 970n * UNIT]);
    expect(codeOf(net.stake(1n, "payable"))).toBe("insufficient_funds");
    net.paidJob(2 * 3_600_000);
    expect(codeOf(net.stake(1n, "payable"))).toBe("done");
    expect(staked(net)).toBe(31n * UNIT);
    expect(codeOf(net.stake(971n))).toBe("insufficient_funds");
    expect(codeOf(net.stake(0n))).toBe("amount_not_positive");
    expect(codeOf(net.stake(1n, "spendable", net.consumer))).toBe("forbidden");
    expect(codeOf(net.unstake(32n))).toBe("insufficient_funds");
  });

  test("the same key stakes once", () => {
    const net = new TrustNetwork();
    const event = { kind: "stake.add", actor: net.provider, amount: UNIT, currency: "USD", from: "spendable" } as const;
    const idempotency = { route: "POST /v1/stakes", key: "k", bodyHash: "a" };
    expect(codeOf(net.do({ ...event, idempotency }))).toBe("done");
    expect(codeOf(net.do({ ...event, idempotency }))).toBe("done");
    expect(staked(net)).toBe(UNIT);
    expect(codeOf(net.do({ ...event, idempotency: { ...idempotency, bodyHash: "b" } }))).toBe("idempotency_key_reused");
  });

  test("comes back after an appeal window, also over a restart", () => {
    const net = new TrustNetwork();
    net.stake(30n);
    const id = caseId(net.unstake(10n));
    expect([staked(net), net.balance(`reserved:${id}`)]).toEqual([20n * UNIT, 10n * UNIT]);
    net.wait(net.config.appealWindowMs - DAY_MS);
    expect(net.balance(`provider:${net.provider.accountId}`)).toBe(0n);
    net.restart();
    net.wait(DAY_MS);
    expect(net.balance(`provider:${net.provider.accountId}`)).toBe(10n * UNIT);
    expect(net.balance(`reserved:${id}`)).toBe(0n);
    expect(net.caseOf("unstake", id)?.phase).toBe("paid");
  });

  test("as many requests wait as may", () => {
    const net = new TrustNetwork();
    net.stake(100n);
    const codes = Array.from({ length: UNSTAKES_OPEN_MAX + 1 }, () => codeOf(net.unstake(1n)));
    expect(codes.at(-2)).toBe("case");
    expect(codes.at(-1)).toBe("unstakes_too_many");
  });
});

describe("a slash", () => {
  test("is proposed with its evidence, taken out of the stake, and applied when nobody appeals", () => {
    const net = new TrustNetwork();
    net.stake(30n);
    const job = net.paidJob();
    const id = caseId(net.accuse(job));
    expect([staked(net), net.balance(`reserved:${id}`)]).toEqual([30n * UNIT - DUE, DUE]);
    expect(net.caseOf("slash", id)).toMatchObject({
      phase: "proposed",
      evidence: '{"statements":["a","b"]}',
      publicKey: "public-alpha",
      amount: DUE,
      parties: [net.provider.accountId, net.consumer.accountId],
    });
    expect(net.kept.events.find(({ kind }) => kind === "accused")).toMatchObject({
      workerId: net.workerId,
      jobId: job,
      data: { slashId: id, kind: "contradiction", evidence: { statements: ["a", "b"] } },
    });
    expect(net.score()).toBeLessThan(0.2);
    net.restart();
    net.wait(net.config.appealWindowMs);
    expect([net.balance("slashed"), net.balance(`reserved:${id}`)]).toEqual([DUE, 0n]);
    expect(net.caseOf("slash", id)).toMatchObject({ phase: "applied", decision: { by: "window" } });
    expect(net.state.rows.cases.size).toBe(0);
  });

  test("takes no more than there is, and what was asked back before the rest", () => {
    const net = new TrustNetwork();
    net.stake(20n);
    const job = net.paidJob();
    const [older, newer] = [caseId(net.unstake(9n)), caseId(net.unstake(9n))];
    const id = caseId(net.accuse(job));
    expect(net.caseOf("slash", id)?.amount).toBe(DUE);
    expect([staked(net), net.balance(`reserved:${id}`)]).toEqual([UNIT, DUE]);
    expect([net.caseOf("unstake", older)?.phase, net.caseOf("unstake", newer)?.phase]).toEqual([
      "recalled",
      "recalled",
    ]);

    const poor = new TrustNetwork();
    poor.stake(5n);
    const taken = caseId(poor.accuse(poor.paidJob()));
    expect(poor.caseOf("slash", taken)).toMatchObject({ amount: 5n * UNIT, due: DUE });

    const without = new TrustNetwork();
    const none = caseId(without.accuse(without.paidJob()));
    without.wait(without.config.appealWindowMs);
    expect(without.caseOf("slash", none)).toMatchObject({ amount: 0n, phase: "applied" });
  });

  test("that comes twice in a step takes what was asked back once", () => {
    const net = new TrustNetwork();
    net.stake(20n);
    net.unstake(9n);
    const { accountId } = net.provider;
    const gather = () => gatherStake(net.state, accountId, "USD", 100n * UNIT);
    expect([gather(), gather()]).toEqual([20n * UNIT, 20n * UNIT]);
  });

  test("leaves what was asked back where the stake is enough", () => {
    const net = new TrustNetwork();
    net.stake(40n);
    const unstake = caseId(net.unstake(5n));
    net.accuse(net.paidJob());
    expect(net.caseOf("unstake", unstake)?.phase).toBe("waiting");
  });

  test.each([
    ["uphold", "applied", DUE],
    ["dismiss", "voided", 0n],
  ] as const)("is appealed, and an admin decides: %s", (decision, phase, slashed) => {
    const net = new TrustNetwork();
    net.stake(30n);
    const job = net.paidJob();
    const before = net.score();
    const id = caseId(net.accuse(job));
    expect(codeOf(net.decide(id, "uphold"))).toBe("slash_not_appealed");
    expect(codeOf(net.appeal(id, net.consumer))).toBe("forbidden");
    expect(codeOf(net.appeal(id))).toBe("case");
    expect(codeOf(net.appeal(id))).toBe("slash_not_proposed");
    net.wait(net.config.appealWindowMs + DAY_MS);
    expect(net.caseOf("slash", id)?.phase).toBe("appealed");
    expect(codeOf(net.decide(id, decision, net.provider))).toBe("forbidden");
    expect(codeOf(net.decide(id, decision))).toBe("case");
    expect(net.caseOf("slash", id)?.phase).toBe(phase);
    expect([net.balance("slashed"), staked(net)]).toEqual([slashed, 30n * UNIT - slashed]);
    if (decision === "dismiss") expect(net.score()).toBeGreaterThan(before - 0.15);
    else expect(net.score()).toBeLessThan(0.3);
    expect(codeOf(net.appeal(id))).toBe("case_closed");
  });

  test("of which nobody decides the appeal is void", () => {
    const net = new TrustNetwork();
    net.stake(30n);
    const id = caseId(net.accuse(net.paidJob()));
    net.appeal(id);
    net.wait(net.config.decisionMs);
    expect(net.caseOf("slash", id)).toMatchObject({ phase: "voided", decision: { by: "nobody" } });
    expect(staked(net)).toBe(30n * UNIT);
  });

  test("needs evidence, an admin, and is not repeated while it is open", () => {
    const net = new TrustNetwork();
    const job = net.paidJob();
    expect(codeOf(net.accuse(job, "contradiction", net.consumer))).toBe("forbidden");
    expect(codeOf(net.accuse(job, "contradiction", ADMIN, {}))).toBe("evidence_refused");
    expect(codeOf(net.accuse(job, "contradiction", ADMIN, { text: "x".repeat(EVIDENCE_LENGTH_MAX) }))).toBe(
      "evidence_refused",
    );
    const id = caseId(net.accuse(job));
    expect(caseId(net.accuse(job))).toBe(id);
    expect(caseId(net.accuse(job, "wrong_result"))).not.toBe(id);
  });

  test("is not proposed while much of the fleet is silent at once: it waits", () => {
    const net = new TrustNetwork();
    net.stake(30n);
    const job = net.paidJob();
    const others = Array.from({ length: 9 }, (_, n) => net.worker(net.account("provider"), `w${n}`));
    for (let n = 0; n < 10; n += 1) {
      const attempt = net.attempt(net.submit(net.consumer));
      net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: 0 });
    }
    net.pass(10_000);
    for (const id of [net.workerId, ...others]) net.silence(id);
    net.pass(10_000);
    const id = caseId(net.accuse(job));
    expect(net.caseOf("slash", id)).toMatchObject({ phase: "noted", amount: 0n });
    expect(staked(net)).toBe(30n * UNIT);
    expect(codeOf(net.decide(id, "dismiss"))).toBe("slash_not_proposed");
    expect(codeOf(net.appeal(id))).toBe("slash_not_proposed");
    net.pass(10 * 60_000);
    expect(net.caseOf("slash", id)).toMatchObject({ phase: "proposed", amount: DUE });
  });

  test("a worker that is lost with work costs its provider no stake", () => {
    const net = new TrustNetwork();
    net.stake(30n);
    const attempt = net.attempt(net.submit(net.consumer));
    net.say(net.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: 0 });
    net.silence(net.workerId);
    net.pass(DAY_MS);
    expect(staked(net)).toBe(30n * UNIT);
    expect(net.kept.all("cases")).toEqual([]);
  });

  test("makes no cheat worth it: at the rate of checks, whatever part of a job is cheated on", () => {
    const cheat = fc.record({
      gain: fc.bigInt({ min: 1n, max: 10n ** 13n }),
      bps: fc.integer({ min: 1, max: 10_000 }),
      part: fc.double({ min: 0.001, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(cheat, ({ gain, bps, part }) => {
        const slash = Number(slashFor(gain, bps));
        const found = (bps / 10_000) * part;
        // He keeps his pay even when he is found: the worst case for us.
        expect(part * Number(gain) - found * slash).toBeLessThanOrEqual(1e-6 * Number(gain));
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("whatever is brought up, in whatever order", () => {
  const act = fc.oneof(
    fc.record({ kind: fc.constantFrom("job" as const, "dispute" as const, "rate" as const), n: fc.nat(4) }),
    fc.record({ kind: fc.constant("resolve" as const), n: fc.nat(4), bps: fc.integer({ min: 0, max: 10_000 }) }),
    fc.record({ kind: fc.constantFrom("stake" as const, "unstake" as const), units: fc.bigInt({ min: 1n, max: 40n }) }),
    fc.record({ kind: fc.constantFrom("accuse" as const, "appeal" as const), n: fc.nat(4) }),
    fc.record({ kind: fc.constant("decide" as const), n: fc.nat(4), uphold: fc.boolean() }),
    fc.record({ kind: fc.constant("wait" as const), hours: fc.integer({ min: 1, max: 400 }) }),
    fc.record({ kind: fc.constant("restart" as const) }),
  );

  test("all accounts sum to zero, nothing is below zero, and when all is decided nothing is frozen or reserved", () => {
    fc.assert(
      fc.property(fc.array(act, { maxLength: 40 }), (acts) => {
        const net = new TrustNetwork();
        const jobs: ReturnType<TrustNetwork["paidJob"]>[] = [];
        const slashes = () => net.kept.all("cases").flatMap((each) => (each.kind === "slash" ? [each.id] : []));
        for (const each of acts) {
          const job = "n" in each ? jobs[each.n] : undefined;
          const slash = "n" in each ? slashes()[each.n] : undefined;
          switch (each.kind) {
            case "job":
              if (!net.beating.has(net.workerId)) net.connect(net.workerId);
              jobs.push(net.paidJob(60_000 + each.n * 1_234_567));
              break;
            case "dispute":
              if (job !== undefined) net.dispute(job);
              break;
            case "rate":
              if (job !== undefined) net.rate(job, 1 + (each.n % 5));
              break;
            case "resolve":
              if (job !== undefined) net.resolve(job, each.bps);
              break;
            case "stake":
              net.stake(each.units);
              break;
            case "unstake":
              net.unstake(each.units);
              break;
            case "accuse":
              if (job !== undefined) net.accuse(job);
              break;
            case "appeal":
              if (slash !== undefined) net.appeal(slash);
              break;
            case "decide":
              if (slash !== undefined) net.decide(slash, each.uphold ? "uphold" : "dismiss");
              break;
            case "wait":
              net.wait(each.hours * 3_600_000);
              break;
            case "restart":
              net.restart();
          }
        }
        net.wait(60 * DAY_MS);
        const passing = net.kept
          .all("balances")
          .filter(({ account, amount }) => /^(disputed|reserved|escrow):/.test(account) && amount !== 0n);
        expect(passing).toEqual([]);
        expect(net.state.rows.cases.size).toBe(0);
        const owed = net.kept.transfers
          .filter(({ kind, postings }) => kind === "slash" && postings.some(({ account }) => account === "slashed"))
          .map(({ memo }) => net.caseOf("slash", memo));
        for (const slash of owed) expect(slash).toMatchObject({ phase: "applied" });
        for (const job of jobs) {
          const dispute = net.caseOf("dispute", caseIdOf("dispute", job));
          expect(dispute === undefined || dispute.endedAtMs !== null).toBe(true);
        }
      }),
      { numRuns: 150 },
    );
  });
});
