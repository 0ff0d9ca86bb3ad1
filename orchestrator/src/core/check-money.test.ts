// Verification and other claims on the same money: disputes and budgets.
import type { JobId } from "@qubix/shared/domain";
import { describe, expect, test } from "vitest";
import { checkedNetwork, HOUR_MS, MAJORITY, RIGHT, WRONG } from "./testing/checked.ts";
import { specOf } from "./testing/kit.ts";

describe("a dispute of a job that is checked", () => {
  function disputed(outputs = RIGHT) {
    const made = checkedNetwork();
    const { net, consumer, submit, finish } = made;
    const id = submit();
    finish(id, outputs);
    const dispute = (jobId: JobId, returned = false) =>
      net.do({
        kind: "job.dispute",
        actor: consumer,
        jobId,
        reason: "it is wrong",
        ended: net.job(jobId),
        previous: null,
        returned,
      });
    return { ...made, id, dispute };
  }

  test("waits for the check", () => {
    const { id, dispute, check, finish } = disputed();
    expect(dispute(id)).toMatchObject({ refusal: { status: 409, code: "pay_frozen" } });
    finish(check(id).id);
    expect(dispute(id)).toMatchObject({ kind: "case" });
  });

  test("that was read before the check was decided takes nobody else's pay, and says what to do", () => {
    const { net, consumer, id, check, finish, submit, earned } = disputed(WRONG);
    const asOf = net.state.meta.eventSeq;
    const ask = (more: object) =>
      net.do({
        kind: "job.dispute",
        actor: consumer,
        jobId: id,
        reason: "it is wrong",
        ended: net.job(id),
        previous: null,
        returned: false,
        ...more,
      });
    finish(check(id).id);
    finish(check(id, 2).id);
    // The same provider has other pay in the same hour.
    const other = submit({
      verification: { mode: "none" },
      placement: { workers: [net.attempts(id)[0]?.workerId ?? ""] },
    });
    finish(other, RIGHT, 1_000);
    const had = earned(0);
    expect(had).toBeGreaterThan(0n);
    expect(ask({ asOf })).toMatchObject({ refusal: { status: 409, code: "pay_just_decided" } });
    expect(earned(0)).toBe(had);
    expect(net.balance(`disputed:${id}`)).toBe(0n);
    // Read again.
    const now = net.state.meta.eventSeq;
    expect(ask({ asOf: now, returned: true })).toMatchObject({ refusal: { code: "nothing_to_dispute" } });
  });

  test("is over where the check gave everything back; and a check is nobody's to dispute or rate", () => {
    const { net, consumer, id, dispute, check, finish } = disputed(WRONG);
    finish(check(id).id);
    finish(check(id, 2).id);
    expect(dispute(id, true)).toMatchObject({ refusal: { code: "nothing_to_dispute" } });
    const run = net.job(check(id).id);
    expect(dispute(run.id)).toMatchObject({ refusal: { code: "check_run" } });
    const rating = { stars: 5, comment: "", ended: run, previous: null };
    expect(net.do({ kind: "job.rate", actor: consumer, jobId: run.id, ...rating })).toMatchObject({
      refusal: { code: "check_run" },
    });
  });
});

describe("budgets", () => {
  const budget = ({ net, consumer }: ReturnType<typeof checkedNetwork>, amount: bigint) =>
    net.do({
      kind: "budget.set",
      actor: consumer,
      accountId: consumer.accountId,
      period: "total",
      amount,
      currency: "USD",
    });
  const spending = ({ net, consumer }: ReturnType<typeof checkedNetwork>) =>
    net.state.rows.spending.get(`${consumer.accountId} USD`)?.total;

  test("do not count what the operator pays for a check", () => {
    const made = checkedNetwork();
    budget(made, 18_000_000n);
    const id = made.submit();
    made.finish(id);
    expect(made.checks(id)).toHaveLength(1);
    expect(spending(made)).toBe(1_000_000n);
    made.finish(made.check(id).id);
    expect(made.verification(id)).toMatchObject({ phase: "passed" });
    expect(spending(made)).toBe(1_000_000n);
  });

  test("count every run of a majority, which needs its whole hold within them", () => {
    const made = checkedNetwork();
    budget(made, 17_999_999n);
    const spec = specOf({ ...MAJORITY, durationMaxS: 7_200, priceMaxPerHour: { amount: "9000000", currency: "USD" } });
    const create = () => made.net.do({ kind: "job.create", actor: made.consumer, spec });
    expect(create()).toMatchObject({ refusal: { code: "budget_exceeded" } });
    budget(made, 18_000_000n);
    const reply = create();
    if (reply.kind !== "job") throw new Error(JSON.stringify(reply));
    const id = reply.jobId;
    made.finish(id);
    // Lowered while the others run: they stop at what is left.
    budget(made, 2_000_000n);
    expect(made.checks(id).map(({ cap }) => cap?.amount)).not.toContain(undefined);
    for (const { id: run } of made.checks(id)) {
      if (made.net.job(run).phase === "starting") made.start(run);
    }
    made.net.pass(2 * HOUR_MS);
    expect(spending(made) ?? 0n).toBeLessThanOrEqual(2_000_000n);
    expect(made.checks(id).every(({ phase }) => phase === "failed" || phase === "succeeded")).toBe(true);
  });
});
