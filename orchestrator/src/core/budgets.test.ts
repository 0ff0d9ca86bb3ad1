import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chargeFor, type WorkerId } from "@qubix/shared/domain";
import type { JobSpecInput } from "@qubix/shared/protocol";
import { BUDGETS_MAX, budgetStandings } from "./budgets.ts";
import type { Actor } from "./events.ts";
import type { JobRecord } from "./model.ts";
import { ADMIN, Network, offerOf, refOf, specOf } from "./testing/kit.ts";
import { codeOf } from "./testing/trust.ts";
import { end, saveNext, start } from "./testing/words.ts";

const MINUTE_MS = 60_000;
const usd = (amount: bigint) => ({ amount: amount.toString(), currency: "USD" });

/** One unit of currency an hour, a job that may take four and cost one at the most. */
function setUp(spec: Partial<JobSpecInput> = {}, features: string[] = ["moves"]) {
  const net = new Network();
  const consumer = net.account("consumer", 1_000n);
  const provider = net.account("provider");
  const worker = net.worker(provider, "one", offerOf({ features }));
  const submit = (more: Partial<JobSpecInput> = {}) => net.submit(consumer, { ...CAPPED, ...spec, ...more });
  return { net, consumer, provider, worker, submit };
}
const CAPPED: Partial<JobSpecInput> = {
  priceMaxPerHour: usd(1_000_000n),
  durationMaxS: 4 * 3600,
  budgetMax: usd(1_000_000n),
  stallAfterS: 0,
};

function setBudget(
  net: Network,
  actor: Actor,
  accountId: Actor["accountId"],
  amount: bigint,
  period: "total" | "month" = "total",
) {
  return net.do({ kind: "budget.set", actor, accountId, period, amount, currency: "USD" });
}

it("an account has no more budgets than fit in memory, whatever currencies are named; an admin's are apart", () => {
  const { net, consumer } = setUp();
  const set = (n: number, actor: Actor = consumer) => {
    const { accountId } = consumer;
    const currency = `CU${String.fromCharCode(65 + Math.floor(n / 26), 65 + (n % 26))}`;
    return codeOf(net.do({ kind: "budget.set", actor, accountId, period: "month", amount: 1n, currency }));
  };
  expect(Array.from({ length: BUDGETS_MAX }, (_, n) => set(n)).every((code) => code === "budgets")).toBe(true);
  expect([set(BUDGETS_MAX), set(0), set(BUDGETS_MAX, ADMIN)]).toEqual(["budgets_too_many", "budgets", "budgets"]);
  net.do({ kind: "budget.clear", actor: consumer, accountId: consumer.accountId, period: "month", currency: "CUAA" });
  expect(set(BUDGETS_MAX)).toBe("budgets");
});

describe("a job with a cap", () => {
  it("locks no more than that, is told at 80%, asked to save before the end, and stopped there", () => {
    const { net, worker, submit } = setUp();
    const job = submit();
    expect(net.job(job)).toMatchObject({
      settlement: { hold: 1_000_000n },
      cap: { amount: 1_000_000n, source: "job" },
    });
    start(net, job);
    net.pass(47 * MINUTE_MS);
    expect(net.timeline(job)).not.toContain("budget_warning");
    net.pass(2 * MINUTE_MS);
    expect(net.event(job, "budget_warning")).toMatchObject({ cap: "1000000", source: "job" });
    expect(net.last(worker, "save")).toBeUndefined();
    net.pass(10.5 * MINUTE_MS);
    const save = net.last(worker, "save");
    expect(save).toMatchObject({ force: true });
    expect(net.last(worker, "stop")).toBeUndefined();
    expect(net.job(job)).toMatchObject({ phase: "finishing", intent: "budget" });
    net.pass(0.6 * MINUTE_MS);
    expect(net.last(worker, "stop")).toMatchObject({ reason: "deadline" });
    end(net, job, 60.1 * MINUTE_MS, { kind: "stopped" });
    expect(net.job(job)).toMatchObject({
      phase: "failed",
      reason: "budget_exhausted",
      settlement: { gross: 1_000_000n },
    });
    expect(net.job(job).message).toContain("its own budgetMax");
  });

  it("ends as soon as it has saved, for what it worked", () => {
    const { net, worker, submit } = setUp();
    const job = submit();
    start(net, job);
    net.pass(59.6 * MINUTE_MS);
    expect(net.last(worker, "save")).toBeDefined();
    saveNext(net, job, 59.6 * MINUTE_MS);
    end(net, job, 59.6 * MINUTE_MS, { kind: "stopped" });
    const { reason, settlement, message } = net.job(job);
    expect(reason).toBe("budget_exhausted");
    expect(settlement.gross).toBe(chargeFor(1_000_000n, 59.6 * MINUTE_MS));
    expect(message).toContain(`--from-checkpoint ${job}`);
  });

  it("is stopped at the end alone where its worker knows no request to save", () => {
    const { net, worker, submit } = setUp({}, []);
    const job = submit();
    start(net, job);
    net.pass(60 * MINUTE_MS - 1);
    expect(net.last(worker, "stop")).toBeUndefined();
    net.pass(10_000);
    expect(net.last(worker, "save")).toBeUndefined();
    expect(net.last(worker, "stop")).toBeDefined();
    end(net, job, 60 * MINUTE_MS + 9_000, { kind: "stopped" });
    expect(net.job(job).settlement.gross).toBe(1_000_000n);
  });

  it("is not cut short where it costs less than the cap", () => {
    const { net, submit } = setUp({ durationMaxS: 1800 });
    const job = submit();
    expect(net.job(job).cap).toBeUndefined();
    start(net, job);
    net.pass(29 * MINUTE_MS);
    expect(net.timeline(job)).not.toContain("budget_warning");
  });

  it("is refused where the cap does not pay a minute at its highest price", () => {
    const { net, consumer } = setUp();
    const spec = specOf({ ...CAPPED, budgetMax: usd(16_000n) });
    const reply = net.do({ kind: "job.create", actor: consumer, spec });
    expect(reply).toMatchObject({
      refusal: { code: "budget_exceeded", status: 402, details: { budget: "job", left: "16000" } },
    });
  });

  it("needs no more on the account than the cap", () => {
    const { net } = setUp();
    const poor = net.account("consumer", 1n);
    expect(net.job(net.submit(poor, CAPPED)).settlement.hold).toBe(1_000_000n);
  });

  it("pays a standby and an attempt together no more than the cap, and both what they did", () => {
    const { net, provider, submit } = setUp({ standby: "hot", priceMaxPerHour: usd(2_000_000n) });
    net.worker(net.account("provider"), "two", offerOf({ features: ["moves"] }));
    const job = submit();
    start(net, job);
    const standby = net.standby(job);
    expect(standby).toBeDefined();
    net.say(standby?.workerId ?? (provider.accountId as never), {
      kind: "standby.ready",
      standbyId: standby?.id as never,
      checkpointSeq: 0,
    });
    net.pass(48 * MINUTE_MS + 3_000);
    // 1.25 units an hour: used up after 48 minutes; the standby was let go when the job was asked to save.
    expect(net.job(job).intent).toBe("budget");
    expect(net.standby(job)?.phase).toBe("released");
    end(net, job, 48 * MINUTE_MS + 3_000, { kind: "stopped" });
    const { settlement } = net.job(job);
    expect(settlement.gross).toBeLessThanOrEqual(1_000_000n);
    expect(settlement.gross).toBeGreaterThan(990_000n);
    expect(settlement.lines.find(({ role }) => role === "standby")?.amount).toBeGreaterThan(180_000n);
  });

  it("ends instead of going elsewhere when nothing is left to pay it with", () => {
    const { net, consumer, worker, submit } = setUp({ budgetMax: usd(1_000_000n) });
    const job = submit();
    start(net, job);
    net.pass(30 * MINUTE_MS);
    saveNext(net, job, 30 * MINUTE_MS);
    setBudget(net, consumer, consumer.accountId, 500_000n);
    net.pass(1);
    expect(net.job(job).intent).toBe("budget");
    net.close(worker);
    net.pass(MINUTE_MS);
    expect(net.job(job)).toMatchObject({ reason: "budget_exhausted", settlement: { gross: 500_000n } });
  });

  it("keeps its cap, its warning and its end over a restart of the orchestrator", () => {
    const { net, worker, submit } = setUp();
    const job = submit();
    start(net, job);
    net.pass(49 * MINUTE_MS);
    net.restart(1_000);
    net.connect(worker, offerOf({ features: ["moves"] }), {
      attempts: [
        { attempt: refOf(net.attempt(job)), phase: "running", ranMs: 49 * MINUTE_MS, checkpointSeq: 0, progress: null },
      ],
      standbys: [],
    });
    net.pass(11.1 * MINUTE_MS);
    expect(net.timeline(job).filter((kind) => kind === "budget_warning")).toHaveLength(1);
    expect(net.last(worker, "save")).toBeDefined();
    end(net, job, 62 * MINUTE_MS, { kind: "stopped" });
    expect(net.job(job).settlement.gross).toBe(1_000_000n);
  });
});

describe("a budget of an account", () => {
  it("counts what is settled and what live jobs may still cost", () => {
    const { net, consumer, submit } = setUp({ budgetMax: undefined, durationMaxS: 3600 });
    setBudget(net, consumer, consumer.accountId, 2_500_000n);
    const first = submit();
    submit();
    expect(net.job(submit())).toMatchObject({
      cap: { amount: 500_000n, source: "total" },
      settlement: { hold: 500_000n },
    });
    const spec = specOf({ ...CAPPED, durationMaxS: 3600 });
    const refused = { refusal: { code: "budget_exceeded", details: { budget: "total", left: "0" } } };
    expect(net.do({ kind: "job.create", actor: consumer, spec })).toMatchObject(refused);
    start(net, first);
    net.pass(30 * MINUTE_MS);
    const attempt = refOf(net.attempt(first));
    const { workerId } = net.attempt(first);
    net.say(workerId, { kind: "ended", attempt, ranMs: 30 * MINUTE_MS, outcome: { kind: "succeeded", outputs: null } });
    // Half of what it might have cost is free again.
    const standing = { spent: 500_000n, reserved: 1_500_000n, left: 500_000n };
    expect(budgetStandings(net.state, consumer.accountId)).toMatchObject([standing]);
    net.restart();
    expect(budgetStandings(net.state, consumer.accountId)).toMatchObject([standing]);
  });

  it("of an admin stands beside the account's own, which cannot raise it", () => {
    const { net, consumer, submit } = setUp({ budgetMax: undefined, durationMaxS: 3600 });
    setBudget(net, ADMIN, consumer.accountId, 600_000n);
    setBudget(net, consumer, consumer.accountId, 900_000_000n);
    expect(net.job(submit()).cap).toMatchObject({ amount: 600_000n, source: "admin_total" });
    net.do({ kind: "budget.clear", actor: consumer, accountId: consumer.accountId, period: "total", currency: "USD" });
    expect(net.state.rows.budgets.size).toBe(1);
    const other = net.account("consumer");
    expect(setBudget(net, other, consumer.accountId, 1n)).toMatchObject({ refusal: { code: "forbidden" } });
  });

  it("of a month begins anew with the next, and what is settled counts where it is", () => {
    const { net, consumer, submit, worker } = setUp({ budgetMax: undefined, durationMaxS: 3600 });
    net.step({ kind: "month", month: "2026-11" });
    setBudget(net, consumer, consumer.accountId, 1_000_000n, "month");
    const job = submit();
    start(net, job);
    net.pass(30 * MINUTE_MS);
    const attempt = net.attempt(job);
    net.say(worker, {
      kind: "ended",
      attempt: refOf(attempt),
      ranMs: 30 * MINUTE_MS,
      outcome: { kind: "succeeded", outputs: null },
    });
    expect(net.job(job).settlement.gross).toBe(500_000n);
    expect(net.job(submit()).cap).toMatchObject({ amount: 500_000n, source: "month" });
    net.step({ kind: "month", month: "2026-12" });
    // The one that waits may still cost its 0.5; all else is open again.
    expect(net.job(submit()).cap).toMatchObject({ amount: 500_000n, source: "month" });
  });

  it("that is lowered takes from the newest jobs first, and from none what it has earned others", () => {
    const { net, consumer, submit } = setUp({ budgetMax: undefined, durationMaxS: 3600 });
    const first = submit();
    const second = submit();
    const third = submit();
    for (const job of [first, second]) start(net, job);
    net.pass(30 * MINUTE_MS);
    setBudget(net, consumer, consumer.accountId, 1_200_000n);
    expect([first, second].map((job) => net.job(job).cap?.amount)).toEqual([700_000n, 500_000n]);
    net.pass(1);
    end(net, third, 0, { kind: "stopped" });
    expect(net.job(third)).toMatchObject({ phase: "failed", reason: "budget_exhausted", settlement: { gross: 0n } });
    expect(net.job(second).intent).toBe("budget");
    end(net, second, 31 * MINUTE_MS, { kind: "stopped" });
    expect(net.job(second).settlement.gross).toBe(500_000n);
    expect(net.event(first, "budget_lowered")).toMatchObject({ cap: "700000", source: "total" });
  });
});

type Act =
  | { readonly kind: "pass"; readonly ms: number }
  | { readonly kind: "save" | "lose" | "stop" | "ready" | "submit" }
  | { readonly kind: "restart"; readonly downMs: number }
  | { readonly kind: "budget"; readonly amount: bigint; readonly period: "total" | "month"; readonly byAdmin: boolean }
  | { readonly kind: "month"; readonly n: number };

const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 40_000 }) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom("save" as const, "lose" as const, "stop" as const, "ready" as const, "submit" as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("restart" as const), downMs: fc.integer({ min: 1, max: 120_000 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("budget" as const),
      amount: fc.bigInt({ min: 0n, max: 30_000_000n }),
      period: fc.constantFrom("total" as const, "month" as const),
      byAdmin: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("month" as const), n: fc.integer({ min: 1, max: 9 }) }) },
);

describe("property: whatever happens", () => {
  it("no job costs more than its cap, and no month and no account more than its budget allowed when it was accepted", () => {
    const run = fc.property(
      fc.array(act, { minLength: 5, maxLength: 40 }),
      fc.array(
        fc.record({ rate: fc.integer({ min: 1, max: 180_000_003 }), standbyPercent: fc.integer({ min: 0, max: 100 }) }),
        { minLength: 2, maxLength: 4 },
      ),
      fc.bigInt({ min: 6_000_000n, max: 20_000_000n }),
      (acts, workers, budgetMax) => playOut(acts, workers, budgetMax),
    );
    fc.assert(run, { numRuns: 300, seed: 20261127 });
  }, 240_000);
});

function playOut(
  acts: readonly Act[],
  offers: readonly { rate: number; standbyPercent: number }[],
  budgetMax: bigint,
): void {
  const net = new Network();
  const consumer = net.account("consumer", 1_000_000n);
  const workers = offers.map(({ rate, standbyPercent }, at) =>
    net.worker(
      net.account("provider"),
      `w${at}`,
      offerOf({
        cpus: 8,
        memoryMiB: 65_536,
        pricePerCpuHour: { amount: BigInt(rate), currency: "USD" },
        standbyPercent,
        features: at % 2 === 0 ? ["moves"] : [],
      }),
    ),
  );
  const ids: JobRecord["id"][] = [];
  const live = () => ids.filter((id) => net.state.rows.jobs.has(id));
  const lowest = new Map<string, bigint>();
  let months = 1;
  for (const one of acts) {
    const job = live().at(-1);
    switch (one.kind) {
      case "submit": {
        const spec = specOf({
          priceMaxPerHour: usd(360_000_000n),
          durationMaxS: 7200,
          budgetMax: usd(budgetMax),
          standby: ids.length % 2 === 0 ? "hot" : "cold",
          stallAfterS: 0,
          failoversMax: 50,
        });
        const reply = net.do({ kind: "job.create", actor: consumer, spec });
        if (reply.kind === "job") {
          ids.push(reply.jobId);
          for (const { budget, spent, reserved } of budgetStandings(net.state, consumer.accountId)) {
            expect(spent + reserved <= budget.amount).toBe(true);
          }
        }
        if (reply.kind !== "job") expect(reply).toMatchObject({ refusal: { code: "budget_exceeded" } });
        break;
      }
      case "pass":
        for (const id of live()) if (attemptOf(net, id)?.phase === "assigned") start(net, id);
        net.pass(one.ms);
        break;
      case "month":
        months = Math.max(months, one.n);
        net.step({ kind: "month", month: `2026-0${months}` });
        break;
      case "budget":
        setBudget(net, one.byAdmin ? ADMIN : consumer, consumer.accountId, one.amount, one.period);
        break;
      case "restart":
        net.restart(one.downMs);
        for (const worker of workers) reconnect(net, worker, live());
        break;
      case "save":
      case "lose":
      case "stop":
      case "ready":
        if (job !== undefined) actOn(net, job, one.kind, workers);
    }
    for (const id of live()) {
      const cap = net.job(id).cap?.amount ?? net.job(id).settlement.hold;
      expect(cap <= (lowest.get(id) ?? cap)).toBe(true);
      lowest.set(id, cap);
    }
  }
  for (const id of ids) {
    const { settlement } = net.job(id);
    if (settlement.gross === null) continue;
    expect(settlement.gross >= 0n && settlement.gross <= (lowest.get(id) ?? settlement.hold)).toBe(true);
    expect(settlement.lines.reduce((sum, { amount }) => sum + amount, 0n)).toBe(settlement.hold);
    expect(settlement.lines.every(({ amount }) => amount >= 0n)).toBe(true);
  }
  const spent = ids.reduce((sum, id) => sum + (net.job(id).settlement.gross ?? 0n), 0n);
  expect(net.state.rows.spending.get(`${consumer.accountId} USD`)?.total ?? 0n).toBe(spent);
}

function actOn(
  net: Network,
  job: JobRecord["id"],
  kind: "save" | "lose" | "stop" | "ready",
  workers: readonly string[],
): void {
  const attempt = attemptOf(net, job);
  if (kind === "ready") {
    const standby = net.standby(job);
    if (standby?.phase === "preparing")
      net.say(standby.workerId, { kind: "standby.ready", standbyId: standby.id, checkpointSeq: 0 });
    return;
  }
  if (attempt === undefined || attempt.phase !== "running" || !workers.includes(attempt.workerId)) return;
  const ranMs = net.nowMs - (attempt.startedAtMs ?? net.nowMs);
  if (kind === "save") saveNext(net, job, ranMs);
  else if (kind === "stop") end(net, job, ranMs, { kind: "stopped" });
  else {
    net.close(attempt.workerId);
    net.pass(5_000);
    net.connect(attempt.workerId, net.state.rows.workers.get(attempt.workerId)?.offer ?? offerOf());
  }
}

function reconnect(net: Network, worker: WorkerId, live: readonly JobRecord["id"][]): void {
  const attempts = live.flatMap((id) => {
    const attempt = attemptOf(net, id);
    if (attempt === undefined || attempt.workerId !== worker || attempt.phase !== "running") return [];
    return [
      {
        attempt: refOf(attempt),
        phase: "running" as const,
        ranMs: net.nowMs - (attempt.startedAtMs ?? net.nowMs),
        checkpointSeq: net.job(id).checkpoints.at(-1)?.seq ?? 0,
        progress: null,
      },
    ];
  });
  const standbys = live.flatMap((id) => {
    const standby = net.standby(id);
    if (
      standby === undefined ||
      standby.workerId !== worker ||
      (standby.phase !== "ready" && standby.phase !== "preparing")
    )
      return [];
    return [{ standbyId: standby.id, phase: standby.phase, checkpointSeq: standby.checkpointSeq }];
  });
  net.connect(worker, net.state.rows.workers.get(worker)?.offer ?? offerOf(), { attempts, standbys });
}

function attemptOf(net: Network, job: JobRecord["id"]) {
  return net.attempts(job).at(-1);
}
