// Canaries: jobs with known results, given at random, that look like any other job; and that nobody is accused by one that may be wrong itself.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import { jobSpecSchema, type OrchestratorMessage } from "@qubix/shared/protocol";
import { describe, expect, test } from "vitest";
import { ADMIN_ACCOUNT } from "./accounts.ts";
import { canaryStandings, tallyOf } from "./canaries.ts";
import type { Canary, CoreConfig } from "./config.ts";
import type { CheckHistory, JobRecord } from "./model.ts";
import { replace } from "./tables.ts";
import { ADMIN, Network, offerOf, refOf, treeOf } from "./testing/kit.ts";

const USD = (amount: bigint) => ({ amount, currency: "USD" as const });
const HOUR_MS = 3_600_000;
/** Nobody needs to send heartbeats. */
const PATIENT = { suspectMs: 1e9, lostMs: 1e9 };
const RIGHT_SUM = "a".repeat(64);
const WRONG_SUM = "b".repeat(64);
const IMAGE = `docker.io/library/python@sha256:${"c".repeat(64)}`;

function workOf(name: string) {
  return {
    image: IMAGE,
    command: ["compute", name],
    resources: { cpus: 1, memoryMiB: 64, diskMiB: 64 },
    priceMaxPerHour: { amount: "2000000", currency: "USD" },
    durationMaxS: 7_200,
  };
}

function text(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => (typeof part === "bigint" ? part.toString() : part));
}

function canary(name: string, more: Record<string, unknown> = {}, exitCode = 0): Canary {
  const spec = jobSpecSchema.parse({
    ...workOf(name),
    ...(exitCode === 0 ? {} : { retries: 0 }),
    ...more,
  });
  return { name, spec, expected: { exitCode, sum: exitCode === 0 ? RIGHT_SUM : null } };
}

function network({
  providers = 4,
  canaries = [canary("one")],
  ...config
}: Partial<CoreConfig> & { readonly providers?: number } = {}) {
  const settings = { checkShare: 0, silenceIdle: PATIENT, silenceBusy: PATIENT, silenceHot: PATIENT };
  // A worker without a history is given one after each of its jobs.
  const net = new Network({ ...settings, canaries, canaryShare: 0.4, ...config });
  const consumer = net.account("consumer", 1_000n);
  const owners = Array.from({ length: providers }, () => net.account("provider"));
  const offer = offerOf({ pricePerCpuHour: USD(1_000_000n), features: ["image-digest", "earnings"] });
  const workers = owners.map((owner, n) => net.worker(owner, `worker${n}`, offer));
  const worker = (n: number): WorkerId => {
    const found = workers[n];
    if (found === undefined) throw new Error(`there is no worker ${n}`);
    return found;
  };
  const end = (id: JobId, outcome: object, sum?: string) => {
    net.beating.clear();
    const attempt = net.attempt(id);
    net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: attempt.fromSeq });
    net.pass(HOUR_MS);
    const message = { kind: "ended", msg: net.nowMs, attempt: refOf(attempt), ranMs: HOUR_MS, outcome } as never;
    const { workerId } = attempt;
    const content = sum === undefined ? {} : { content: { shape: "s", sum, isExact: true } };
    net.step({ kind: "worker.message", workerId, sessionId: net.sessionOf(workerId), message, ...content });
    net.dispatch();
    return workerId;
  };
  const finish = (id: JobId, sum = RIGHT_SUM) => end(id, { kind: "succeeded", outputs: treeOf("out") }, sum);
  const exit = (id: JobId, exitCode: number) => end(id, { kind: "failed", code: "exit_code", exitCode, message: "" });
  const given = (): JobRecord[] =>
    net.kept
      .all("jobs")
      .filter(({ check }) => check?.canary !== undefined)
      .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const live = (): JobId => {
    const found = given().find(({ endedAtMs }) => endedAtMs === null);
    if (found === undefined) throw new Error("no canary was given");
    return found.id;
  };
  /** A job of the consumer's at this worker; with it come canaries. */
  const work = (n: number) => {
    const id = net.submit(consumer, {
      placement: { workers: [worker(n)] },
      priceMaxPerHour: { amount: "2000000", currency: "USD" },
      durationMaxS: 7_200,
    });
    finish(id);
    return id;
  };
  const accused = () => net.kept.events.filter(({ kind }) => kind === "accused");
  const history = (n: number) => net.state.rows.workers.get(worker(n))?.checks;
  return { net, consumer, owners, workers, worker, offer, finish, exit, given, live, work, accused, history };
}

describe("a canary", () => {
  test("is given to a new worker after its first job, paid by the operator, and confirms its result", () => {
    const { net, work, live, finish, worker, history, consumer, owners } = network();
    const spendable = () => net.balance(`customer:${consumer.accountId}`);
    work(0);
    const paid = spendable();
    const id = live();
    expect(net.job(id)).toMatchObject({ accountId: ADMIN_ACCOUNT, settlement: { phase: "held" } });
    expect(finish(id)).toBe(worker(0));
    expect(history(0)).toEqual({ inARow: 1, wrong: 0 });
    expect(net.balance("external:checks")).toBe(-1_000_000n);
    expect(net.balance(`pending:${owners[0]?.accountId}`)).toBe(1_900_000n);
    expect(spendable()).toBe(paid);
    expect(tallyOf(net.state, "one")).toEqual({ given: 1, right: 1, wrong: 0, spent: false });
    // No consumer hears of it, and what it stored goes.
    const told = net.kept.events.filter((event) => event.jobId === id && event.accountId !== null);
    expect(told).toEqual([]);
    expect(net.effects).toContainEqual(expect.objectContaining({ kind: "collect", jobId: id }));
  });

  test("cannot be told from a job by anything that its worker is sent, or its provider told", () => {
    const { net, consumer, owners, live, finish, worker } = network();
    const [owner] = owners;
    const ordinary = net.submit(consumer, {
      ...workOf("one"),
      placement: { workers: [worker(0)] },
    });
    const sentFor = (id: JobId) => net.sentTo(worker(0)).filter((message) => text(message).includes(id));
    const plain = (id: JobId, value: unknown) => JSON.parse(text(value).replaceAll(id, "JOB")) as OrchestratorMessage[];
    const toldOf = (id: JobId) =>
      net.kept.events
        .filter(({ jobId, providerId }) => jobId === id && providerId === owner?.accountId)
        .map(({ channel, kind, data }) => ({ channel, kind, data }));
    finish(ordinary);
    const hidden = live();
    finish(hidden);
    expect(hidden).toMatch(/^job-[0-9a-z]{8}-[a-z2-7]{6}$/);
    expect(sentFor(hidden).map(({ kind }) => kind)).toContain("assign");
    // Once it has run, too: which of its jobs was confirmed, nobody is told.
    expect(plain(hidden, sentFor(hidden))).toEqual(plain(ordinary, sentFor(ordinary)));
    expect(plain(hidden, toldOf(hidden))).toEqual(plain(ordinary, toldOf(ordinary)));
    expect(JSON.stringify(net.kept.events.filter(({ providerId }) => providerId === owner?.accountId))).not.toMatch(
      /canary|verified/,
    );
  });

  test("comes to a provider once, whichever of its workers it is", () => {
    const { net, work, live, finish, owners, offer, given, workers } = network({ providers: 1 });
    work(0);
    finish(live());
    const [owner] = owners;
    if (owner === undefined) throw new Error("no owner");
    workers.push(net.worker(owner, "another", offer));
    work(1);
    work(0);
    expect(given()).toHaveLength(1);
    expect(net.state.volatile.counters.canariesMissing).toBeGreaterThan(0);
  });

  test("that two providers came to accuses who comes to something else, and is used up", () => {
    const { net, work, live, finish, worker, accused, history, owners } = network();
    for (const n of [0, 1]) {
      work(n);
      finish(live());
    }
    const before = net.balance("external:checks");
    work(2);
    const earned = net.balance(`pending:${owners[2]?.accountId}`);
    const id = live();
    finish(id, WRONG_SUM);
    expect(accused()).toMatchObject([
      {
        workerId: worker(2),
        jobId: id,
        data: {
          kind: "wrong_result",
          evidence: {
            canary: "one",
            expected: { exitCode: 0, sum: RIGHT_SUM },
            result: { sum: WRONG_SUM },
            run: { image: IMAGE, command: ["compute", "one"] },
          },
        },
      },
    ]);
    expect(history(2)).toEqual({ inARow: 0, wrong: 1 });
    // It is not paid, and the operator has his money back.
    const left = [{ amount: 950_000n, currency: "USD" }];
    expect(net.state.rows.workers.get(worker(2))?.earned).toEqual(left);
    // Nor was it told of pay that it did not get.
    const told = net.sentTo(worker(2)).flatMap((message) => (message.kind === "earnings" ? message.totals : []));
    expect(told.every(({ amount }) => amount <= 950_000n)).toBe(true);
    expect(net.last(worker(2), "earnings")?.totals).toEqual(left);
    expect(net.balance(`pending:${owners[2]?.accountId}`)).toBe(earned);
    expect([net.balance("external:checks"), net.balance(`disputed:${id}`)]).toEqual([before, 0n]);
    expect(tallyOf(net.state, "one").spent).toBe(true);
    work(3);
    expect(() => live()).toThrow("no canary");
  });

  test("accuses nobody before two others came to its result; and is wrong itself where three came to another", () => {
    const { net, work, live, finish, accused, history, given } = network({ providers: 5 });
    for (const n of [0, 1, 2]) {
      work(n);
      finish(live(), WRONG_SUM);
      expect(history(n)).toBeUndefined();
    }
    expect(accused()).toEqual([]);
    // They are paid: nobody knows who is right.
    expect(net.balance("external:checks")).toBe(-3_000_000n);
    work(3);
    expect(given()).toHaveLength(3);
  });

  test("accuses nobody by the very result that shows it to be wrong itself", () => {
    const { net, work, live, finish, accused, history } = network({ providers: 5 });
    for (const [n, sum] of [WRONG_SUM, WRONG_SUM, RIGHT_SUM, RIGHT_SUM, WRONG_SUM].entries()) {
      work(n);
      finish(live(), sum);
    }
    expect(accused()).toEqual([]);
    expect(history(4)).toBeUndefined();
    expect(tallyOf(net.state, "one")).toEqual({ given: 5, right: 2, wrong: 3, spent: false });
    expect(canaryStandings(net.state)).toMatchObject([{ state: "broken" }]);
  });

  test("that comes to no result, or to one that has no sum, says nothing", () => {
    const { net, work, live, finish, exit, accused, history } = network({ canaries: [canary("one", { retries: 0 })] });
    for (const n of [0, 1]) {
      work(n);
      finish(live());
    }
    work(2);
    exit(live(), 137);
    expect(accused()).toEqual([]);
    expect(history(2)).toBeUndefined();
    expect(tallyOf(net.state, "one")).toMatchObject({ given: 3, right: 2, wrong: 0 });
  });

  test("that is to fail confirms who says so with that exit code, and accuses who says that it went well", () => {
    const { work, live, finish, exit, accused, worker, history } = network({ canaries: [canary("fails", {}, 3)] });
    for (const n of [0, 1]) {
      work(n);
      exit(live(), 3);
      expect(history(n)).toEqual({ inARow: 1, wrong: 0 });
    }
    work(2);
    finish(live());
    expect(accused()).toMatchObject([{ workerId: worker(2) }]);
  });

  test("that was resumed from a checkpoint says nothing: the program may give something else then", () => {
    const { net, work, live, finish, accused, worker, offer } = network();
    for (const n of [0, 1]) {
      work(n);
      finish(live());
    }
    work(2);
    const id = live();
    const attempt = net.attempt(id);
    net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: 0 });
    const body = { seq: 1, parentSeq: 0, tree: treeOf("save"), ranMs: 1_000, progress: null, signature: "s" };
    net.say(attempt.workerId, { kind: "checkpoint", attempt: refOf(attempt), ...body });
    net.close(worker(2));
    net.pass(60_000);
    net.connect(worker(2), offer);
    const outcome = { kind: "worker_failed", code: "start_failed", message: "", retryable: true } as never;
    const current = net.attempt(id);
    if (current.epoch === attempt.epoch) {
      net.say(worker(2), { kind: "ended", attempt: refOf(current), ranMs: 1_000, outcome });
    }
    finish(id, WRONG_SUM);
    expect(net.attempts(id).length).toBeGreaterThan(1);
    expect(accused()).toEqual([]);
  });

  test("goes on through a restart, with what is known of it", () => {
    const { net, work, live, finish, accused, worker } = network();
    for (const n of [0, 1]) {
      work(n);
      finish(live());
    }
    work(2);
    const id = live();
    net.restart();
    net.connect(worker(2), offerOf({ features: ["image-digest"] }), {
      attempts: [{ attempt: refOf(net.attempt(id)), phase: "running" }] as never,
      standbys: [],
    });
    expect(tallyOf(net.state, "one")).toMatchObject({ given: 3, right: 2 });
    finish(id, WRONG_SUM);
    expect(accused()).toHaveLength(1);
  });

  test("does not come to who is too dear, or has no such GPU, nor without what it reads", () => {
    for (const one of [
      canary("cheap", { priceMaxPerHour: { amount: "999999", currency: "USD" } }),
      canary("gpu", { resources: { gpus: { count: 1, model: "A100" }, cpus: 1, memoryMiB: 64, diskMiB: 64 } }),
      canary("upload", { image: "upload:upl-none" }),
    ]) {
      const { work, given } = network({ canaries: [one] });
      work(0);
      expect([one.name, given()]).toEqual([one.name, []]);
    }
  });

  test("is the rarer the more of a worker's results were confirmed, and every job after a wrong one", () => {
    const many = Array.from({ length: 400 }, (_, n) => canary(`canary${n}`));
    const shareOf = (checks: CheckHistory, rounds: number) => {
      const { net, work, given, finish, worker } = network({ providers: 1, canaries: many, canaryShare: 0.05 });
      for (let round = 0; round < rounds; round += 1) {
        const record = net.state.rows.workers.get(worker(0));
        if (record !== undefined) replace(net.state, "workers", record.id, { ...record, checks });
        work(0);
        const open = given().find(({ endedAtMs }) => endedAtMs === null);
        if (open !== undefined) finish(open.id);
      }
      return given().length / rounds;
    };
    const [unknown, known] = [shareOf({ inARow: 0, wrong: 0 }, 200), shareOf({ inARow: 20, wrong: 0 }, 200)];
    expect(unknown).toBeGreaterThan(2 * known);
    expect(known).toBeGreaterThan(0);
    expect(shareOf({ inARow: 0, wrong: 1 }, 10)).toBe(1);
  });

  test("is nobody's to cancel or to dispute but the operator's", () => {
    const { net, work, live, consumer } = network();
    work(0);
    const id = live();
    expect(net.do({ kind: "job.cancel", actor: consumer, jobId: id })).toMatchObject({ kind: "refused" });
    expect(net.do({ kind: "job.cancel", actor: ADMIN, jobId: id })).toMatchObject({ kind: "job" });
  });
});
