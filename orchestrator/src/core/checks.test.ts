import type { JobId } from "@qubix/shared/domain";
import { describe, expect, test } from "vitest";
import { walletOwner } from "./check-money.ts";
import type { JobRecord } from "./model.ts";
import {
  checkedNetwork as network,
  HOUR_MS,
  IMAGE_DIGEST,
  MAJORITY,
  RIGHT,
  SPOT,
  THIRD,
  WRONG,
} from "./testing/checked.ts";
import { ADMIN, type Network, offerOf, refOf, specOf, treeOf, USD } from "./testing/kit.ts";

describe("a spot check", () => {
  test("runs the job again at another provider, and is paid by the operator", () => {
    const { net, submit, finish, check, verification, workers, earned, spendable, history } = network();
    const id = submit();
    const before = spendable();
    expect(finish(id)).toBe(workers[0]);
    const run = check(id);
    expect(verification(id)).toMatchObject({ kind: "spot-check", phase: "running", decidedAtMs: null });
    expect(net.job(run.id)).toMatchObject({ imageDigest: IMAGE_DIGEST, accountId: net.job(id).accountId });
    // Nobody has the pay until it is decided.
    expect([earned(0), net.balance("fee"), net.balance(`disputed:${id}`)]).toEqual([0n, 0n, 1_000_000n]);
    const paid = spendable();
    expect(finish(run.id)).toBe(workers[1]);
    expect(verification(id)).toMatchObject({ phase: "passed" });
    expect(net.state.rows.verifications.size).toBe(0);
    expect(earned(0)).toBe(950_000n);
    expect(earned(1)).toBe(1_045_000n);
    expect(net.balance("external:checks")).toBe(-1_100_000n);
    expect(spendable()).toBe(paid);
    expect(spendable() - before).toBe(17_000_000n);
    expect(workers.slice(0, 2).map((worker) => history(worker))).toEqual([
      { inARow: 1, wrong: 0 },
      { inARow: 4, wrong: 0 },
    ]);
  });

  test.each([0, 5 * HOUR_MS, 20 * HOUR_MS])(
    "with a dispute window of %i ms pays what was frozen when it is over, in its own hour",
    (disputeWindowMs) => {
      const { net, submit, finish, check, payable, earned } = network({ disputeWindowMs });
      const id = submit();
      finish(id);
      net.pass(HOUR_MS / 2);
      finish(check(id).id);
      expect([earned(0), payable(0)]).toEqual([950_000n, disputeWindowMs === 0 ? 950_000n : 0n]);
      net.pass(disputeWindowMs + HOUR_MS);
      expect([earned(0), payable(0)]).toEqual([950_000n, 950_000n]);
    },
  );

  test("takes nothing back from who stood by", () => {
    const { net, submit, worker, start, finish, check, verification, earned, spendable } = network({
      count: 5,
      confirmed: 3,
    });
    const before = spendable();
    const id = submit({ standby: "hot" });
    start(id);
    const standby = net.standby(id);
    if (standby === undefined) throw new Error("no standby");
    net.say(standby.workerId, { kind: "standby.ready", standbyId: standby.id, checkpointSeq: 0 });
    expect(standby.workerId).toBe(worker(1));
    finish(id, WRONG);
    const stoodBy = earned(1);
    expect(stoodBy).toBeGreaterThan(0n);
    // He may check it, too: he had no part in its result.
    finish(check(id).id);
    finish(check(id, 2).id);
    expect(verification(id)?.phase).toBe("failed");
    expect(earned(0)).toBe(0n);
    expect(before - spendable()).toBe(stoodBy);
  });

  test("that takes longer than the dispute window still takes a wrong result's pay back", () => {
    const { net, submit, finish, check, spendable, earned } = network({
      disputeWindowMs: 60_000,
      payPeriodMs: 60_000,
    });
    const before = spendable();
    const id = submit();
    finish(id, WRONG);
    finish(check(id).id);
    finish(check(id, 2).id);
    expect([spendable() - before, earned(0), net.balance("fee")]).toEqual([0n, 0n, 115_000n]);
  });

  test("is told in the job's timeline, and in no list of the consumer's jobs or wallet", () => {
    const { net, submit, finish, check, consumer } = network();
    const id = submit();
    finish(id);
    const run = check(id);
    finish(run.id);
    expect(net.timeline(id).slice(-3)).toEqual(["verification_started", "verification_run", "verified"]);
    const told = net.kept.events.filter((event) => event.jobId === run.id && event.accountId === consumer.accountId);
    expect(told).toEqual([]);
    expect([walletOwner(run), walletOwner(net.job(id))]).toEqual([null, consumer.accountId]);
  });

  test("that differs calls a whole run, and two that agree take the pay back and accuse the worker", () => {
    const { net, submit, finish, check, verification, workers, accused, earned, spendable, history, worker } =
      network();
    const id = submit();
    const before = spendable();
    finish(id, WRONG);
    finish(check(id).id);
    expect(verification(id)).toMatchObject({ phase: "running" });
    expect(accused()).toEqual([]);
    expect(finish(check(id, 2).id)).toBe(workers[2]);
    expect(verification(id)).toMatchObject({ phase: "failed" });
    expect(accused()).toEqual([{ workerId: workers[0], kind: "wrong_result" }]);
    expect(history(worker(0))).toEqual({ inARow: 0, wrong: 1 });
    expect(earned(0)).toBe(0n);
    expect(spendable() - before).toBe(18_000_000n);
    expect(net.state.rows.workers.get(worker(0))?.earned).toEqual([]);
    expect(net.balance(`disputed:${id}`)).toBe(0n);
  });

  test("that is outvoted by the job and another run is what was wrong", () => {
    const { submit, finish, check, verification, worker, accused, confirm } = network({ confirmed: null });
    const id = submit();
    finish(id);
    confirm(3, 3);
    finish(check(id).id, WRONG);
    finish(check(id, 2).id);
    expect(verification(id)?.phase).toBe("passed");
    expect(verification(id)?.message).toContain("was outvoted");
    expect(accused()).toEqual([{ workerId: worker(1), kind: "wrong_result" }]);
  });

  test("of a worker whom nobody knows against another decides nothing without a third whose word counts", () => {
    const { net, submit, finish, check, verification, accused, confirm, worker } = network({ confirmed: null });
    const id = submit();
    finish(id, WRONG);
    finish(check(id).id);
    // There are two others, and none is known.
    expect(net.attempts(check(id, 2).id)).toEqual([]);
    net.pass(HOUR_MS + 1_000);
    expect(verification(id)).toMatchObject({ phase: "inconclusive" });
    expect(verification(id)?.message).toContain("confirmed before");
    expect(accused()).toEqual([]);

    const again = submit();
    finish(again, WRONG);
    confirm(3, 3);
    finish(check(again).id);
    expect(net.attempt(check(again, 2).id).workerId).toBe(worker(3));
    finish(check(again, 2).id);
    expect(accused()).toEqual([{ workerId: worker(0), kind: "wrong_result" }]);
  });

  test("by a majority of two whom nobody knows accuses nobody", () => {
    const { net, submit, finish, check, verification, accused } = network({ confirmed: null, count: 3 });
    const id = submit(MAJORITY);
    finish(id);
    for (const run of [1, 2]) finish(check(id, run).id, WRONG);
    // The consumer asked for what most say, and has his money back; who it was is not shown by two whom nobody knows.
    expect(verification(id)).toMatchObject({ phase: "failed" });
    expect(net.balance(`disputed:${id}`)).toBe(0n);
    expect(accused()).toEqual([]);
  });

  test("is decided by the operator's own machines", () => {
    const setUp = network({ confirmed: null, count: 4 });
    const referee = setUp.provider(3).accountId;
    const { submit, finish, check, worker, accused } = network({
      confirmed: null,
      count: 4,
      checkReferees: [referee],
    });
    const id = submit();
    finish(id, WRONG);
    expect(finish(check(id).id)).toBe(worker(3));
    finish(check(id, 2).id);
    expect(accused()).toEqual([{ workerId: worker(0), kind: "wrong_result" }]);
  });

  test("of a job that gives something else each time blames nobody", () => {
    const { submit, finish, check, verification, accused, earned } = network();
    const id = submit();
    finish(id);
    finish(check(id).id, WRONG);
    finish(check(id, 2).id, THIRD);
    expect(verification(id)).toMatchObject({ phase: "inconclusive" });
    expect(verification(id)?.message).toContain("three different results");
    expect(accused()).toEqual([]);
    expect(earned(0)).toBe(950_000n);
  });

  test("that finds no other provider lets the pay go", () => {
    const { net, submit, finish, check, verification, earned } = network({ count: 1 });
    const id = submit();
    finish(id);
    net.pass(HOUR_MS + 1_000);
    expect(net.job(check(id).id)).toMatchObject({ phase: "failed", reason: "no_offer" });
    expect(verification(id)).toMatchObject({ phase: "inconclusive" });
    expect(earned(0)).toBe(950_000n);
  });

  test("that fails by itself is made again, whole, at most three times", () => {
    const { submit, finish, fail, check, checks, verification, accused } = network({ count: 6 });
    const id = submit({ retries: 0 });
    finish(id);
    for (const run of [1, 2, 3]) fail(check(id, run).id);
    expect(checks(id)).toHaveLength(3);
    expect(verification(id)).toMatchObject({ phase: "inconclusive" });
    expect(accused()).toEqual([]);
  });

  test("of a liar who fails once before he lies accuses him all the same", () => {
    const { net, submit, finish, fail, check, verification, accused, worker } = network();
    const others = (draining: boolean) => {
      for (const n of [1, 2, 3]) net.do({ kind: "worker.drain", actor: ADMIN, workerId: worker(n), draining });
    };
    others(true);
    const id = submit();
    fail(id);
    expect(finish(id, WRONG)).toBe(worker(0));
    others(false);
    expect(verification(id)?.runs[0]).toMatchObject({ isUndisturbed: true });
    finish(check(id).id);
    finish(check(id, 2).id);
    expect(verification(id)?.phase).toBe("failed");
    expect(accused()).toEqual([{ workerId: worker(0), kind: "wrong_result" }]);
  });

  test("holds a result against, and for, those alone who made it: not who could not start it", () => {
    const { net, submit, start, finish, check, verification, accused, worker, confirm, history } = network({
      count: 5,
      confirmed: 3,
    });
    const spoil = (id: JobId) => {
      const attempt = start(id);
      const outcome = { kind: "worker_failed", code: "start_failed", message: "", retryable: true } as never;
      net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs: 0, outcome });
      return attempt.workerId;
    };
    confirm(0, 2);
    const wrong = submit();
    expect(spoil(wrong)).toBe(worker(0));
    expect(finish(wrong, WRONG)).toBe(worker(1));
    expect(verification(wrong)?.runs[0]?.workers.map(({ workerId }) => workerId)).toEqual([worker(1)]);
    finish(check(wrong).id);
    finish(check(wrong, 2).id);
    expect(accused()).toEqual([{ workerId: worker(1), kind: "wrong_result" }]);
    expect(history(worker(0))?.inARow).toBeGreaterThanOrEqual(2);

    const before = history(worker(0));
    const right = submit();
    expect(spoil(right)).toBe(worker(0));
    finish(right);
    finish(check(right).id);
    expect(verification(right)?.phase).toBe("passed");
    // Nobody comes to confirmed results by failing at other people's jobs.
    expect(history(worker(0))).toEqual(before);
  });

  test("comes to no worker of the same provider, nor of the consumer", () => {
    const { net, consumer, provider, worker, submit, finish, check, workers } = network({ count: 2 });
    const cheap = offerOf({ pricePerCpuHour: USD(1_050_000n), features: ["image-digest"] });
    net.worker(provider(0), "sibling", cheap);
    net.worker(consumer, "own", cheap);
    const id = submit({ placement: { avoid: [worker(1)] } });
    const first = finish(id);
    const run = check(id).id;
    expect(net.attempts(run)).toEqual([]);
    expect(first).toBe(workers[0]);
  });

  test("runs on the same GPU model alone, and not where an image's digest cannot be told", () => {
    const { net, submit, finish, check } = network({ count: 0 });
    const gpu = (model: string) => ({ uuid: "GPU-1", model, memoryMiB: 24_000 }) as never;
    const offer = (model: string, price: bigint, features: ReturnType<typeof offerOf>["features"]) =>
      offerOf({ gpus: [gpu(model)], pricePerGpuHour: USD(price), features });
    net.worker(net.account("provider"), "first", offer("RTX 4090", 1_000_000n, ["image-digest"]));
    const id = submit({ resources: { gpus: { count: 1 } } });
    finish(id);
    const run = check(id).id;
    net.worker(net.account("provider"), "other-model", offer("RTX 4090 D", 1_000_000n, ["image-digest"]));
    net.worker(net.account("provider"), "without-digest", offer("RTX 4090", 1_000_000n, []));
    expect(net.attempts(run)).toEqual([]);
    const right = net.worker(net.account("provider"), "right", offer("RTX 4090", 1_500_000n, ["image-digest"]));
    expect(net.attempt(run).workerId).toBe(right);
  });

  test("cannot be cancelled or moved by the consumer, and goes on through a restart", () => {
    const { net, consumer, submit, finish, check, verification, workers } = network();
    const id = submit();
    finish(id);
    const jobId = check(id).id;
    for (const event of [
      { kind: "job.cancel", actor: consumer, jobId },
      { kind: "job.move", actor: consumer, jobId, to: null, force: false },
    ] as const) {
      expect(net.do(event)).toMatchObject({ kind: "refused", refusal: { code: "check_run", status: 409 } });
    }
    net.restart(1_000);
    expect(net.state.rows.verifications.get(id)?.phase).toBe("running");
    const attempt = net.attempt(jobId);
    const entry = { attempt: refOf(attempt), phase: "running" as const, ranMs: 0, checkpointSeq: 0, progress: null };
    for (const worker of workers) {
      net.connect(worker, offerOf({ features: ["image-digest"] }), {
        attempts: worker === attempt.workerId ? [entry] : [],
        standbys: [],
      });
    }
    finish(jobId);
    expect(verification(id)?.phase).toBe("passed");
  });
});

describe("runs of a majority whose workers go and come back", () => {
  const hello = (net: Network, id: JobId, epoch: number) => {
    const attempt = net.attempts(id).find((one) => one.epoch === epoch);
    if (attempt === undefined) throw new Error(`no attempt ${epoch} of ${id}`);
    const entry = {
      attempt: refOf(attempt),
      phase: "running" as const,
      ranMs: 1_000,
      checkpointSeq: 0,
      progress: null,
    };
    return { attempts: [entry], standbys: [] };
  };

  /** Two runs have lost their workers. The first goes on at a third provider's, the other one at a new machine of the first one's owner, or of somebody else; then the first one's worker is back. */
  function away(isSameOwner: boolean) {
    const made = network({ count: 3 });
    const { net, submit, finish, start, check, worker, provider } = made;
    const id = submit(MAJORITY);
    finish(id);
    const [first, second] = [check(id, 1).id, check(id, 2).id];
    expect([first, second].map((run) => start(run).workerId)).toEqual([worker(1), worker(2)]);
    net.close(worker(1));
    net.pass(10_000);
    expect(net.job(first).phase).toBe("queued");
    net.close(worker(2));
    net.pass(10_000);
    const owner = isSameOwner ? provider(1) : net.account("provider");
    // Room for one run.
    const offer = offerOf({ cpus: 1, features: ["image-digest"] });
    const third = net.worker(net.account("provider"), "third", offer);
    expect(net.attempt(first).workerId).toBe(third);
    const other = net.worker(owner, "other", offer);
    expect(net.attempt(second).workerId).toBe(other);
    net.connect(worker(1), offerOf({ features: ["image-digest"] }), hello(net, first, 1));
    return { ...made, first, second, third, other };
  }

  test("go on at a worker that is back", () => {
    const { net, first, third, worker } = away(false);
    expect(net.attempt(first)).toMatchObject({ workerId: worker(1), phase: "running", adoptedEpoch: 1 });
    expect(net.last(third, "fence")).toBeDefined();
  });

  test("but not where another run went to its provider meanwhile: his word would count twice", () => {
    const { net, first, second, third, other, worker } = away(true);
    expect(net.attempt(second)).toMatchObject({ workerId: other, phase: "assigned" });
    expect(net.attempt(first).workerId).toBe(third);
    expect(net.timeline(first)).not.toContain("undone");
    expect(net.last(worker(1), "fence")).toMatchObject({ attempt: { jobId: first, epoch: 1 } });
  });
});

describe("a part of a job that is run again", () => {
  /** Three checkpoints in an hour, and a draw that begins after one of them. */
  function sliced(seed: (id: JobRecord) => boolean = ({ checkpoints }) => checkpoints.length > 0) {
    for (let tries = 0; tries < 40; tries += 1) {
      const made = network({ checkShare: 1 });
      for (let n = 0; n < tries; n += 1) made.net.account("consumer");
      // Who has no history is checked whole.
      for (let n = 0; n < 3; n += 1) {
        const confirmed = made.submit();
        made.finish(confirmed);
        made.finish(made.check(confirmed).id);
      }
      const id = made.submit();
      const attempt = made.start(id);
      made.net.beating.clear();
      for (const [seq, ms] of [
        [1, 900_000],
        [2, 1_800_000],
        [3, 2_700_000],
      ] as const) {
        made.net.pass(900_000);
        made.save(id, seq, ms);
      }
      made.net.pass(900_000);
      const outcome = { kind: "succeeded", outputs: RIGHT } as const;
      made.net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs: HOUR_MS, outcome });
      if (seed(made.check(id))) return { ...made, id };
    }
    throw new Error("no such draw");
  }

  test("begins from a kept checkpoint, as a job of its own with no more time than that needs", () => {
    const { net, check, id, verification } = sliced();
    const run = check(id);
    const { fromSeq } = verification(id)?.runs[1] ?? { fromSeq: 0 };
    expect(fromSeq).toBeGreaterThan(0);
    expect(run.checkpoints).toMatchObject([
      { jobId: run.id, seq: 1, tree: { ...treeOf(`save${"abcdef"[fromSeq]}`), bytesMoved: 0 } },
    ]);
    expect(run.spec.durationMaxS).toBe(Math.min(7_200, (4 - fromSeq) * 900 * 3 + 120));
    const sent = net.last(net.attempt(run.id).workerId, "assign");
    expect(sent?.checkpoint?.seq).toBe(1);
  });

  test("begins at the beginning as often as the work before the oldest checkpoint is", () => {
    expect(sliced(({ checkpoints }) => checkpoints.length === 0).id).toBeDefined();
  });

  test("confirms who ran it, and not the whole that it is a part of", () => {
    const { id, finish, check, history, worker } = sliced();
    const before = [0, 1].map((n) => history(worker(n)));
    finish(check(id).id, RIGHT, 60_000);
    expect(history(worker(0))).toEqual(before[0]);
    expect(history(worker(1))?.inARow).toBe((before[1]?.inARow ?? 0) + 1);
  });

  test("keeps the checkpoints of the job while it is not decided", () => {
    const { net, consumer, id, finish, check } = sliced();
    const ended = net.job(id);
    const remove = () => net.do({ kind: "checkpoint.remove", actor: consumer, jobId: id, seq: 1, ended: net.job(id) });
    expect(ended.checkpoints).toHaveLength(3);
    expect(remove()).toMatchObject({ refusal: { code: "checkpoint_in_use" } });
    finish(check(id).id, RIGHT, 60_000);
    expect(remove()).toMatchObject({ kind: "checkpoint" });
  });

  test("that differs while a whole run agrees is the program's doing: nobody is blamed", () => {
    const { id, finish, check, verification, accused } = sliced();
    finish(check(id).id, WRONG, 60_000);
    expect(check(id, 2).checkpoints).toEqual([]);
    finish(check(id, 2).id, RIGHT);
    expect(verification(id)).toMatchObject({ phase: "passed" });
    expect(verification(id)?.message).toContain("resumed");
    expect(accused()).toEqual([]);
  });
});

describe("a majority", () => {
  test("runs whole as often as was asked, within the consumer's cap", () => {
    const { net, submit, finish, checks, check, verification, spendable } = network();
    const before = spendable();
    const id = submit(MAJORITY);
    // A third of 9.00 an hour each.
    finish(id);
    expect(checks(id)).toHaveLength(2);
    for (const run of checks(id)) expect(run.spec.priceMaxPerHour.amount).toBe(3_000_000n);
    const places = checks(id).map((run) => net.attempt(run.id).providerId);
    expect(new Set(places).size).toBe(2);
    expect(before - spendable()).toBe(13_000_000n);
    finish(check(id, 1).id);
    expect(verification(id)?.phase).toBe("running");
    finish(check(id, 2).id);
    expect(verification(id)?.phase).toBe("passed");
    expect(before - spendable()).toBe(1_000_000n + 1_100_000n + 1_200_000n);
    expect(net.balance("external:checks")).toBe(0n);
  });

  test("takes no dearer offer than its part of the cap", () => {
    const { net, submit } = network({ count: 1 });
    const id = submit({ ...MAJORITY, priceMaxPerHour: { amount: "2900000", currency: "USD" } });
    expect(net.attempts(id)).toEqual([]);
  });

  test("outvotes the job, and who is outvoted", () => {
    const { submit, finish, check, verification, accused, workers } = network();
    const wrong = submit(MAJORITY);
    finish(wrong, WRONG);
    for (const run of [1, 2]) finish(check(wrong, run).id);
    expect(verification(wrong)?.phase).toBe("failed");
    expect(accused().map(({ workerId }) => workerId)).toEqual([workers[0]]);
  });

  test("of runs that all differ decides nothing", () => {
    const { submit, finish, check, verification, accused } = network();
    const id = submit(MAJORITY);
    finish(id);
    finish(check(id, 1).id, WRONG);
    finish(check(id, 2).id, THIRD);
    expect(verification(id)?.phase).toBe("inconclusive");
    expect(accused()).toEqual([]);
  });

  test("blames nobody where the job was interrupted and the runs were not", () => {
    const { net, submit, start, save, finish, check, verification, accused } = network();
    const id = submit({ ...MAJORITY, retries: 3 });
    const first = start(id);
    net.pass(60_000);
    save(id, 1, 60_000);
    const outcome = { kind: "failed", code: "exit_code", exitCode: 1, message: "" } as const;
    net.say(first.workerId, { kind: "ended", attempt: refOf(first), ranMs: 60_000, outcome });
    finish(id, WRONG);
    for (const run of [1, 2]) finish(check(id, run).id);
    expect(verification(id)).toMatchObject({ phase: "inconclusive" });
    expect(accused()).toEqual([]);
  });
});

describe("adaptive", () => {
  const ADAPTIVE = { verification: { mode: "adaptive" as const } };
  test("takes a majority for a worker without a history, a spot check where the job is worth little", () => {
    const { submit, finish, verification } = network();
    const id = submit(ADAPTIVE);
    finish(id);
    expect(verification(id)?.kind).toBe("majority");
    const small = network({ adaptiveWorthMin: 1_000_001n });
    const cheap = small.submit(ADAPTIVE);
    small.finish(cheap);
    expect(small.verification(cheap)?.kind).toBe("spot-check");
  });
});

describe("results that may differ a little", () => {
  const TOLERANT = { verification: { mode: "spot-check" as const, tolerance: { relative: 0.01 } } };
  const asked = (net: Network) => net.effects.filter((effect) => effect.kind === "compare");
  const answer = (net: Network, jobId: JobId, b: number, isSame: boolean | null) =>
    net.do({ kind: "check.compared", jobId, comparison: { a: 0, b, isSame } });

  test("are compared outside, and asked for again after a start", () => {
    const { net, submit, finish, check, verification } = network();
    const id = submit(TOLERANT);
    finish(id);
    finish(check(id).id, WRONG);
    expect(verification(id)?.phase).toBe("comparing");
    expect(asked(net)).toMatchObject([
      { jobId: id, runs: [0, 1], trees: [RIGHT, WRONG], tolerance: { relative: 0.01 } },
    ]);
    net.restart();
    expect(asked(net)).toHaveLength(2);
    answer(net, id, 1, true);
    expect(verification(id)?.phase).toBe("passed");
    // Late, and again: it changes nothing.
    answer(net, id, 1, false);
    expect(verification(id)?.phase).toBe("passed");
  });

  test("that are not the same call another run; what cannot be read decides nothing", () => {
    const { net, submit, finish, check, verification } = network();
    const id = submit(TOLERANT);
    finish(id);
    finish(check(id).id, WRONG);
    answer(net, id, 1, false);
    expect(verification(id)?.phase).toBe("running");
    finish(check(id, 2).id, THIRD);
    answer(net, id, 2, null);
    net.do({ kind: "check.compared", jobId: id, comparison: { a: 1, b: 2, isSame: false } });
    expect(verification(id)).toMatchObject({ phase: "inconclusive" });
  });
});

test("a job whose image was not pinned is not checked, and says so", () => {
  const { net, submit, verification } = network();
  const id = submit();
  const attempt = net.attempt(id);
  net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: 0 });
  net.pass(1_000);
  const outcome = { kind: "succeeded", outputs: RIGHT } as const;
  net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs: 1_000, outcome });
  expect(verification(id)).toBeUndefined();
  expect(net.event(id, "verification_skipped")).toMatchObject({ why: "image_not_pinned" });
});

test("a job that asks for none is never checked", () => {
  const { submit, finish, checks } = network();
  const id = submit({ verification: { mode: "none" } });
  finish(id);
  expect(checks(id)).toEqual([]);
});

test.each([
  ["secrets", { secrets: { token: "x" } }, "secrets"],
  ["exclusive", { failover: "exclusive" as const }, "act outside"],
  ["egress", { network: "egress" as const }, "act outside"],
  ["mirror", { standby: "mirror" as const }, "mirror"],
  ["a named provider", { placement: { providers: ["acc-00000001-aaaaaa"] } }, "majority"],
  ["a local image", { image: "mine:local" }, "tag local"],
])("a job with %s is refused, with what to do", (_name, input, words) => {
  const { net, consumer } = network();
  const { secrets: _, ...spec } = { ...SPOT, ...input } as never as Record<string, never>;
  const reply = net.do({
    kind: "job.create",
    actor: consumer,
    spec: { ...specOf(spec), ...(_ === undefined ? {} : { secrets: { token: "" } }) },
  });
  expect(reply).toMatchObject({ kind: "refused", refusal: { status: 422, code: "verification_not_possible" } });
  expect((reply as { refusal: { message: string } }).refusal.message).toContain(words);
});

test("a job whose currency lies on a chain is not checked", () => {
  const { net, consumer } = network({ chains: { TST: { driver: "evm", payeesMax: 8, feeApart: false } } });
  const spec = specOf({ ...SPOT, priceMaxPerHour: { amount: "9000000", currency: "TST" } });
  const reply = net.do({ kind: "job.create", actor: consumer, spec });
  expect(reply).toMatchObject({
    refusal: { code: "verification_not_possible", message: expect.stringMatching(/chain/) },
  });
});
