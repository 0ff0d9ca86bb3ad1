import { BASIS_POINTS_MAX } from "@qubix/shared/protocol";
import { feeOf } from "@qubix/shared/domain";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DISPUTES_OPEN_MAX, splitDispute } from "./disputes.ts";
import { transfer } from "./ledger.ts";
import { takePending } from "./pending-pay.ts";
import { ADMIN } from "./testing/kit.ts";
import { codeOf, DAY_MS, TrustNetwork } from "./testing/trust.ts";

const GROSS = 1_000_000n;
const SHARE = 950_000n;

/** What the provider has, wherever it lies. */
function earned(net: TrustNetwork): bigint {
  const { accountId } = net.provider;
  return net.balance(`pending:${accountId}`) + net.balance(`provider:${accountId}`);
}

function spendable(net: TrustNetwork): bigint {
  return net.balance(`customer:${net.consumer.accountId}`);
}

test("pay that was payable at once, before there was a window, is not taken back", () => {
  const net = new TrustNetwork({ disputeWindowMs: 0 });
  const job = net.paidJob();
  Object.assign(net.config, { disputeWindowMs: DAY_MS });
  net.restart();
  expect(codeOf(net.dispute(job))).toBe("dispute_window_over");
});

describe("a dispute", () => {
  test("freezes all that was paid for the job, fee included, and says so to both", () => {
    const net = new TrustNetwork();
    const job = net.paidJob();
    expect(earned(net)).toBe(SHARE);
    expect(codeOf(net.dispute(job))).toBe("case");
    expect(net.balance(`disputed:${job}`)).toBe(GROSS);
    expect([earned(net), net.balance("fee")]).toEqual([0n, 0n]);
    expect(net.timeline(job)).toContain("disputed");
    expect(
      net.kept.events.some(({ kind, providerId }) => kind === "disputed" && providerId === net.provider.accountId),
    ).toBe(true);
    expect(net.score()).toBeGreaterThan(0.5);
  });

  test.each([
    [0, 0n],
    [BASIS_POINTS_MAX, GROSS],
    [2_500, 250_000n],
  ])(
    "is resolved with %i basis points for the consumer: the rest goes to the provider at once, less the fee",
    (bps, refund) => {
      const net = new TrustNetwork();
      const job = net.paidJob();
      const [had, score] = [spendable(net), net.score()];
      net.dispute(job);
      expect(codeOf(net.resolve(job, bps))).toBe("case");
      const fee = feeOf(GROSS - refund);
      expect(spendable(net)).toBe(had + refund);
      expect(net.balance("fee")).toBe(fee);
      expect(net.balance(`provider:${net.provider.accountId}`)).toBe(GROSS - refund - fee);
      expect(net.balance(`disputed:${job}`)).toBe(0n);
      const left = GROSS - refund - fee;
      const earnings = left === 0n ? [] : [{ amount: left, currency: "USD" }];
      expect(net.state.rows.workers.get(net.workerId)?.earned).toEqual(earnings);
      if (bps === 0) expect(net.score()).toBeCloseTo(score, 6);
      else expect(net.score()).toBeLessThan(score);
      expect(net.timeline(job)).toContain("dispute_resolved");
      expect(net.state.rows.cases.size).toBe(0);
      expect(codeOf(net.resolve(job, bps))).toBe("case_closed");
      expect(codeOf(net.dispute(job))).toBe("dispute_exists");
    },
  );

  test("that nobody decides falls to the provider, also over a restart", () => {
    const net = new TrustNetwork();
    const job = net.paidJob();
    net.dispute(job);
    net.wait(net.config.decisionMs - DAY_MS);
    expect(net.balance(`disputed:${job}`)).toBe(GROSS);
    net.restart(2 * DAY_MS);
    net.pass(1);
    expect(net.balance(`disputed:${job}`)).toBe(0n);
    expect(earned(net)).toBe(SHARE);
    expect(net.timeline(job)).toContain("dispute_lapsed");
    expect(net.caseOf("dispute", `dsp${job.slice(3)}`)).toMatchObject({ phase: "lapsed", decision: { refund: 0n } });
  });

  test("is refused to others, before the end, after the window, twice, and where nothing was paid", () => {
    const net = new TrustNetwork();
    const running = net.submit(net.consumer);
    expect(codeOf(net.dispute(running))).toBe("job_not_ended");
    net.do({ kind: "job.cancel", actor: net.consumer, jobId: running });
    net.say(net.workerId, {
      kind: "ended",
      attempt: { jobId: running, replica: 0, epoch: net.attempt(running).epoch },
      ranMs: 0,
      outcome: { kind: "stopped" },
    });
    expect(codeOf(net.dispute(running))).toBe("nothing_to_dispute");
    const job = net.paidJob();
    expect(codeOf(net.dispute(job, net.account("consumer")))).toBe("forbidden");
    expect(codeOf(net.dispute(job))).toBe("case");
    expect(codeOf(net.dispute(job))).toBe("dispute_exists");
    expect(codeOf(net.resolve(job, 0, net.consumer))).toBe("forbidden");
    const late = net.paidJob();
    net.wait(net.config.disputeWindowMs + net.config.payPeriodMs);
    expect(net.balance(`pending:${net.provider.accountId}`)).toBe(0n);
    expect(codeOf(net.dispute(late))).toBe("dispute_window_over");
    expect(codeOf(net.resolve(late, 0))).toBe("case_closed");
  });

  test("takes the pay of its job alone: what else the provider earned in that hour is released in time", () => {
    const net = new TrustNetwork();
    const [kept, disputed] = [net.paidJob(60_000), net.paidJob(120_000)];
    net.dispute(disputed);
    const { accountId } = net.provider;
    const other = net.job(kept).settlement.lines.find(({ role }) => role === "primary")?.amount ?? 0n;
    expect(net.balance(`pending:${accountId}`)).toBe(other);
    net.wait(net.config.disputeWindowMs + net.config.payPeriodMs);
    expect([net.balance(`pending:${accountId}`), net.balance(`provider:${accountId}`)]).toEqual([0n, other]);
  });

  test("no account has more open ones than somebody can decide", () => {
    const net = new TrustNetwork();
    const jobs = Array.from({ length: DISPUTES_OPEN_MAX + 1 }, () => net.paidJob(1_000));
    const codes = jobs.map((job) => codeOf(net.dispute(job)));
    expect(codes.filter((code) => code === "case")).toHaveLength(DISPUTES_OPEN_MAX);
    expect(codes.at(-1)).toBe("disputes_too_many");
  });

  test("splits to the unit, whatever the shares: refund + fee + shares is what was frozen", () => {
    const amounts = fc.array(fc.bigInt({ min: 1n, max: 10n ** 15n }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(
        amounts,
        fc.bigInt({ min: 0n, max: 10n ** 14n }),
        fc.integer({ min: 0, max: BASIS_POINTS_MAX }),
        (each, fee, bps) => {
          const shares = each.map((amount, n) => ({
            amount,
            id: String(n),
            workerId: "w" as never,
            providerId: "p" as never,
          }));
          const gross = fee + each.reduce((sum, amount) => sum + amount, 0n);
          const split = splitDispute({ gross, shares }, bps);
          expect(split.refund + split.fee + split.shares.reduce((sum, { amount }) => sum + amount, 0n)).toBe(gross);
          for (const { amount } of split.shares) expect(amount).toBeGreaterThanOrEqual(0n);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test("of pay that is frozen for another reason waits, and of pay that went back is refused", () => {
    const net = new TrustNetwork();
    const job = net.paidJob();
    const share = { providerId: net.provider.accountId, currency: "USD", amount: SHARE };
    expect(takePending(net.state, { ...share, settledAtMs: net.job(job).endedAtMs ?? 0 })).toBe(true);
    transfer(net.state, {
      kind: "freeze",
      jobId: job,
      currency: "USD",
      postings: [
        { account: `pending:${net.provider.accountId}`, amount: -SHARE },
        { account: `disputed:${job}`, amount: SHARE },
      ],
      memo: "it is being checked",
    });
    expect(codeOf(net.dispute(job))).toBe("pay_frozen");
    expect(net.balance(`disputed:${job}`)).toBe(SHARE);
    expect(codeOf(net.dispute(job, net.consumer, true))).toBe("nothing_to_dispute");
  });

  test("only an admin sees to it", () => {
    const net = new TrustNetwork();
    const job = net.paidJob();
    net.dispute(job);
    expect(codeOf(net.resolve(job, 0, net.provider))).toBe("forbidden");
    expect(codeOf(net.resolve(job, 0, ADMIN))).toBe("case");
  });
});
