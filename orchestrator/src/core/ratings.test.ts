import { describe, expect, test } from "vitest";
import { RATING_CHANGE_MS } from "./ratings.ts";
import { ADMIN } from "./testing/kit.ts";
import { codeOf, DAY_MS, TrustNetwork } from "./testing/trust.ts";

describe("a rating", () => {
  test("moves the reputation of the worker that was paid, by what it was paid, and is told", () => {
    const net = new TrustNetwork();
    const job = net.paidJob();
    const before = net.score();
    expect(codeOf(net.rate(job, 1))).toBe("case");
    const blamed = net.score();
    expect(blamed).toBeLessThan(before);
    expect(net.state.rows.workers.get(net.workerId)?.reputation).toMatchObject({ rated: 0.95, stars: 0, ratings: 1 });
    expect(net.timeline(job)).toContain("rated");
    const told = net.kept.events.find(({ kind }) => kind === "worker_rated");
    expect(told).toMatchObject({ providerId: net.provider.accountId, workerId: net.workerId, data: { stars: 1 } });

    const small = new TrustNetwork();
    const tiny = small.paidJob(36_000);
    const unmoved = small.score();
    small.rate(tiny, 1);
    expect(unmoved - small.score()).toBeLessThan((before - blamed) / 10);
  });

  test("may be changed for a day, and then counts once", () => {
    const net = new TrustNetwork();
    const job = net.paidJob();
    net.rate(job, 1);
    net.rate(job, 5);
    const changed = net.score();
    expect(net.state.rows.workers.get(net.workerId)?.reputation?.ratings).toBe(1);

    const straight = new TrustNetwork();
    straight.rate(straight.paidJob(), 5);
    expect(changed).toBeCloseTo(straight.score(), 9);

    net.wait(RATING_CHANGE_MS);
    expect(codeOf(net.rate(job, 1))).toBe("rating_final");
    expect(net.caseOf("rating", `rtg${job.slice(3)}`)).toMatchObject({ stars: 5 });
  });

  test("is its consumer's alone, of a job that has ended, and leaves memory at once", () => {
    const net = new TrustNetwork();
    const job = net.paidJob();
    expect(codeOf(net.rate(job, 5, net.account("consumer")))).toBe("forbidden");
    expect(codeOf(net.rate(job, 5, ADMIN))).toBe("forbidden");
    expect(codeOf(net.rate(net.submit(net.consumer), 5))).toBe("job_not_ended");
    net.rate(job, 5);
    expect(net.state.rows.cases.size).toBe(0);
  });

  test("of one's own worker counts for nothing", () => {
    const net = new TrustNetwork();
    net.deposit(ADMIN, 1_000_000_000n);
    net.close(net.workerId);
    const own = net.worker(ADMIN, "own");
    const job = net.paidJob(60_000, ADMIN);
    expect(codeOf(net.rate(job, 5, ADMIN))).toBe("case");
    expect(net.attempt(job).workerId).toBe(own);
    expect(net.state.rows.workers.get(own)?.reputation).toBeUndefined();
  });

  test("of a job that ended long ago is still taken: nothing of it is in memory", () => {
    const net = new TrustNetwork();
    const job = net.paidJob();
    net.wait(3 * DAY_MS);
    net.restart();
    expect(codeOf(net.rate(job, 4))).toBe("case");
  });
});
