// Proofs of hardware: who is challenged when, what a verdict does to the market, and that nobody evades it.
import type { WorkerId } from "@qubix/shared/domain";
import type { WrongClaim } from "@qubix/shared/proof";
import type { WorkerOffer } from "@qubix/shared/protocol";
import { describe, expect, it } from "vitest";
import type { CoreConfig } from "./config.ts";
import type { Effect, ProofVerdict } from "./events.ts";
import { explainPlacement } from "./explain.ts";
import { counts, workerProofs } from "./reads.ts";
import { Network, offerOf, specOf } from "./testing/kit.ts";

type Challenge = Extract<Effect, { kind: "challenge" }>;
const PASSED: ProofVerdict = { ok: true, figures: { readGBps: 12.5 } };
const WRONG: ProofVerdict = { ok: false, code: "wrong_product", message: "The product is wrong." };
const BUSY: ProofVerdict = { ok: false, code: "busy", message: "Its owner uses it." };
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const PRICE = { amount: 1_000_000n, currency: "USD" };
const T4 = { uuid: "GPU-1", model: "NVIDIA T4", memoryMiB: 16_384 };
const ABLE = offerOf({ features: ["proofs"] });
const WITH_GPU = offerOf({ features: ["proofs"], gpus: [T4], pricePerGpuHour: PRICE });
/** Time may pass without heartbeats. */
const PATIENT = { silenceIdle: { suspectMs: 400 * DAY, lostMs: 500 * DAY } };
const GPU_JOB = { resources: { gpus: { count: 1 } } };

function network(config: Partial<CoreConfig> = {}) {
  const net = new Network({ workerProofs: "required", ...config });
  return { net, consumer: net.account("consumer", 1000n), provider: net.account("provider") };
}

function challenges(net: Network, workerId?: WorkerId): Challenge[] {
  return net.effects.filter(
    (effect): effect is Challenge =>
      effect.kind === "challenge" && (workerId === undefined || effect.workerId === workerId),
  );
}

/** Of the worker's challenge under way. */
function verdict(net: Network, workerId: WorkerId, given: ProofVerdict | null = PASSED): void {
  const challenge = challenges(net, workerId).at(-1);
  if (challenge === undefined) throw new Error("there is no challenge");
  net.do({ kind: "worker.proof", workerId, challengeId: challenge.challengeId, verdict: given });
}

function commit(net: Network, workerId: WorkerId): void {
  const challengeId = challenges(net, workerId).at(-1)?.challengeId ?? "";
  const times = { memoryMiB: 1, fillMs: 1, chaseMs: 1, multiplyMs: 1 };
  net.say(workerId, { kind: "proof.commit", challengeId, commitment: "0".repeat(64), ...times });
}

function stateOf(net: Network, workerId: WorkerId, key = "cpu"): string | undefined {
  return workerProofs(net.state, workerId).find(({ claim }) => claim.key === key)?.state;
}

function eventsOf(net: Network, kind: string) {
  return net.kept.events.filter((event) => event.kind === kind);
}

describe("a worker without proofs", () => {
  it("is challenged at its hello, and gets its first job when it has proven its cores", () => {
    const { net, consumer, provider } = network();
    const job = net.submit(consumer);
    const worker = net.worker(provider, "w", ABLE);
    expect(challenges(net)).toMatchObject([{ workerId: worker, target: { kind: "cpu" }, offer: { cpus: 4 } }]);
    expect(net.job(job).phase).toBe("queued");
    verdict(net, worker);
    expect(net.job(job).phase).toBe("starting");
    expect(eventsOf(net, "worker_proven")).toMatchObject([
      { channel: "workers", workerId: worker, data: { target: "cpu", figures: { readGBps: 12.5 }, again: false } },
    ]);
  });

  it("gets no job after a failure, and is told why and when the next try is", () => {
    const { net, consumer, provider } = network();
    const job = net.submit(consumer);
    const worker = net.worker(provider, "w", ABLE);
    verdict(net, worker, WRONG);
    expect(net.job(job).phase).toBe("queued");
    expect(stateOf(net, worker)).toBe("failed");
    expect(eventsOf(net, "proof_failed")).toMatchObject([
      { data: { code: "wrong_product", retryInMs: MINUTE, attempt: 1, unlisted: false } },
    ]);
    expect(counts(net.state).proofs.failed).toEqual({ wrong_product: 1 });
  });

  it("is asked again after 1, 2, 4 … minutes, at most every 6 hours", () => {
    const { net, provider } = network(PATIENT);
    const worker = net.worker(provider, "w", ABLE);
    net.silence(worker);
    const waits: number[] = [];
    for (let failures = 1; failures <= 11; failures += 1) {
      verdict(net, worker, WRONG);
      const fromMs = net.nowMs;
      while (challenges(net).length === failures) net.pass(MINUTE);
      waits.push(Math.round((net.nowMs - fromMs) / MINUTE));
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360]);
  });

  it("that does not know the question is not asked, gets nothing, and is told to update", () => {
    const { net, consumer, provider } = network();
    const worker = net.worker(provider, "old", offerOf());
    const job = net.submit(consumer);
    net.pass(HOUR / 2);
    expect(challenges(net)).toEqual([]);
    expect(net.job(job).phase).toBe("queued");
    expect(stateOf(net, worker)).toBe("unsupported");
  });

  it("that never answers is not blocked for ever: it counts as failed", () => {
    const { net, provider } = network();
    const worker = net.worker(provider, "w", ABLE);
    net.pass(80_000);
    expect(eventsOf(net, "proof_failed")).toMatchObject([{ data: { code: "no_commitment" } }]);
    net.pass(70_000);
    expect(challenges(net, worker)).toHaveLength(2);
    commit(net, worker);
    net.pass(200_000);
    expect(eventsOf(net, "proof_failed").at(-1)).toMatchObject({ data: { code: "no_answer", attempt: 2 } });
  });

  it("is asked again in a minute where its answer could not be judged, and that is no failure", () => {
    const { net, provider } = network();
    const worker = net.worker(provider, "w", ABLE);
    verdict(net, worker, null);
    net.pass(30_000);
    expect(challenges(net)).toHaveLength(1);
    net.pass(31_000);
    expect(challenges(net)).toHaveLength(2);
    expect(eventsOf(net, "proof_failed")).toEqual([]);
  });

  it("is explained by the filter `verified`", () => {
    const { net, provider } = network();
    net.worker(provider, "w", WITH_GPU);
    const explain = (input = {}) => explainPlacement(net.state, specOf(input)).filters.filter((f) => f.removed > 0);
    expect(explain()).toMatchObject([{ filter: "verified", removed: 1 }]);
    expect(explain(GPU_JOB)).toMatchObject([{ filter: "verified" }]);
  });

  it("keeps a standing verdict for a challenge that was given up without effect", () => {
    const { net, provider } = network();
    const worker = net.worker(provider, "w", ABLE);
    net.pass(80_000);
    verdict(net, worker, PASSED);
    expect(stateOf(net, worker)).toBe("failed");
  });
});

describe("an accusation of a failed proof", () => {
  const signed = (nonce: string) => ({ nonce, signature: "s" }) as unknown as WrongClaim;
  const shown = (nonce: string): ProofVerdict => ({ ...WRONG, wrongClaim: signed(nonce) });
  const accused = (net: Network) => eventsOf(net, "accused").map(({ workerId, data }) => ({ workerId, data }));
  /** Until it is asked again. */
  const later = (net: Network) => {
    const before = challenges(net).length;
    while (challenges(net).length === before) net.pass(MINUTE);
  };

  function started(config: Partial<CoreConfig> = {}) {
    const { net, provider } = network({ ...PATIENT, ...config });
    const worker = net.worker(provider, "w", ABLE);
    return { net, provider, worker };
  }

  it("needs two signed answers that are wrong, one after the other", () => {
    const { net, worker } = started();
    verdict(net, worker, shown("a"));
    expect(accused(net)).toEqual([]);
    later(net);
    verdict(net, worker, shown("b"));
    expect(accused(net)).toMatchObject([
      { workerId: worker, data: { kind: "failed_proof", evidence: { proofs: [signed("a"), signed("b")] } } },
    ]);
    expect(eventsOf(net, "slash_proposed")).toHaveLength(1);
    // The next one takes two others.
    later(net);
    verdict(net, worker, shown("c"));
    expect(accused(net)).toHaveLength(1);
  });

  it("survives a restart between the two, and other failures", () => {
    const { net, worker } = started();
    verdict(net, worker, shown("a"));
    later(net);
    verdict(net, worker, BUSY);
    net.restart();
    net.connect(worker, ABLE);
    later(net);
    verdict(net, worker, shown("b"));
    expect(accused(net)).toHaveLength(1);
  });

  it("is not made of one, before and after a proof that holds: a bit may flip", () => {
    const { net, worker } = started();
    verdict(net, worker, shown("a"));
    later(net);
    verdict(net, worker);
    later(net);
    verdict(net, worker, shown("b"));
    expect(accused(net)).toEqual([]);
  });

  it("is not made of two pieces of hardware, each once", () => {
    const { net, provider } = network({ ...PATIENT, workerProofs: "gpus" });
    const worker = net.worker(provider, "w", WITH_GPU);
    verdict(net, worker, shown("a"));
    // The card was replaced.
    net.connect(worker, offerOf({ features: ["proofs"], gpus: [{ ...T4, uuid: "GPU-2" }], pricePerGpuHour: PRICE }));
    verdict(net, worker, shown("b"));
    expect(accused(net)).toEqual([]);
  });

  it("is never made of what is late, missing, declined, unsigned or cut off, however often", () => {
    const { net, worker } = started({ proofRetryMsMax: MINUTE });
    for (const code of ["too_slow", "memory_short", "no_commitment", "no_answer", "busy", "commitment_unsigned"]) {
      for (let times = 0; times < 3; times += 1) {
        verdict(net, worker, { ok: false, code, message: "." });
        later(net);
      }
    }
    // Nobody answers, and the connection goes in mid-proof.
    net.pass(DAY);
    for (let times = 0; times < 3; times += 1) {
      net.close(worker);
      net.connect(worker, ABLE);
    }
    expect(counts(net.state).proofs.failed["no_commitment"]).toBeGreaterThan(3);
    expect(accused(net)).toEqual([]);
    expect(net.state.rows.workers.get(worker)?.reputation?.wrong ?? 0).toBe(0);
  });

  it("is not made of an answer to a challenge that ended with its connection", () => {
    const { net, worker } = started();
    verdict(net, worker, shown("a"));
    later(net);
    const challengeId = challenges(net, worker).at(-1)?.challengeId ?? "";
    net.close(worker);
    net.connect(worker, ABLE);
    net.do({ kind: "worker.proof", workerId: worker, challengeId, verdict: shown("b") });
    expect(accused(net)).toEqual([]);
  });
});

describe("GPUs", () => {
  it("count one by one, when cores and memory do", () => {
    const { net, consumer, provider } = network();
    const worker = net.worker(provider, "w", WITH_GPU);
    const job = net.submit(consumer, GPU_JOB);
    verdict(net, worker);
    expect(challenges(net).at(-1)?.target).toEqual({ kind: "gpu", uuid: "GPU-1" });
    expect(net.job(job).phase).toBe("queued");
    verdict(net, worker, WRONG);
    expect(net.job(job).phase).toBe("queued");
    const plain = net.submit(consumer);
    expect(net.job(plain).phase).toBe("starting");
    net.pass(2 * MINUTE);
    verdict(net, worker);
    expect(net.job(job).phase).toBe("starting");
  });

  it("of one machine are asked at once, so that no card answers for another; each verdict counts for its own", () => {
    const { net, consumer, provider } = network();
    const gpus = [T4, { ...T4, uuid: "GPU-2" }, { ...T4, uuid: "GPU-3" }];
    const worker = net.worker(provider, "w", offerOf({ features: ["proofs"], gpus, pricePerGpuHour: PRICE }));
    verdict(net, worker);
    const [, ...asked] = challenges(net);
    expect(asked.map(({ target }) => target)).toEqual(gpus.map(({ uuid }) => ({ kind: "gpu", uuid })));
    const judge = (at: number, given: ProofVerdict) =>
      net.do({ kind: "worker.proof", workerId: worker, challengeId: asked[at]?.challengeId ?? "", verdict: given });
    judge(0, PASSED);
    judge(1, WRONG);
    const jobs = [net.submit(consumer, GPU_JOB), net.submit(consumer, GPU_JOB)];
    expect(jobs.map((id) => net.job(id).phase)).toEqual(["starting", "queued"]);
    // The third never answers; then the second has another try.
    net.pass(76_000);
    expect(gpus.map(({ uuid }) => stateOf(net, worker, `gpu:${uuid}`))).toEqual(["proven", "proving", "failed"]);
  });

  it("that were asked together are asked together again", () => {
    const { net, provider } = network({ ...PATIENT, proofCommitMsMax: HOUR });
    const gpus = [T4, { ...T4, uuid: "GPU-2" }];
    const worker = net.worker(provider, "w", offerOf({ features: ["proofs"], gpus, pricePerGpuHour: PRICE }));
    net.silence(worker);
    verdict(net, worker);
    for (const { challengeId } of challenges(net).slice(1)) {
      net.do({ kind: "worker.proof", workerId: worker, challengeId, verdict: PASSED });
    }
    const rechecks = net.state.rows.workers
      .get(worker)
      ?.proofs.flatMap((proof) => (proof.target === "cpu" ? [] : [proof.recheckAtMs]));
    expect(rechecks).toHaveLength(2);
    expect(new Set(rechecks).size).toBe(1);
  });

  it("count for one worker alone: for the other while the first is away, and then for the first no more", () => {
    const { net, provider } = network();
    const [first, second] = ["a", "b"].map((name) => {
      const worker = net.worker(provider, name, WITH_GPU);
      verdict(net, worker);
      verdict(net, worker);
      return worker;
    }) as [WorkerId, WorkerId];
    const states = () => [first, second].map((worker) => stateOf(net, worker, "gpu:GPU-1"));
    expect(states()).toEqual(["proven", "failed"]);
    expect(eventsOf(net, "proof_failed").at(-1)?.data["code"]).toBe("uuid_taken");
    net.close(first);
    net.pass(2 * MINUTE);
    verdict(net, second);
    expect(states()).toEqual(["waiting", "proven"]);
    net.connect(first, WITH_GPU);
    verdict(net, first);
    expect(states()).toEqual(["failed", "proven"]);
  });

  it("named `cpu` are not proven by the cores", () => {
    const { net, consumer, provider } = network();
    const sly = offerOf({ features: ["proofs"], gpus: [{ ...T4, uuid: "cpu" }], pricePerGpuHour: PRICE });
    const worker = net.worker(provider, "w", sly);
    verdict(net, worker);
    verdict(net, worker, WRONG);
    const job = net.submit(consumer, GPU_JOB);
    expect(net.job(job).phase).toBe("queued");
  });

  it("alone must be proven under `gpus`", () => {
    const { net, consumer, provider } = network({ workerProofs: "gpus" });
    net.worker(provider, "w", WITH_GPU);
    expect(challenges(net).map(({ target }) => target.kind)).toEqual(["gpu"]);
    const [plain, wanting] = [net.submit(consumer), net.submit(consumer, GPU_JOB)];
    expect([net.job(plain).phase, net.job(wanting).phase]).toEqual(["starting", "queued"]);
  });

  it.each([
    ["another model", { gpus: [{ ...T4, model: "NVIDIA H100" }] }, "gpu:GPU-1"],
    ["more memory on it", { gpus: [{ ...T4, memoryMiB: 32_768 }] }, "gpu:GPU-1"],
    ["another card", { gpus: [{ ...T4, uuid: "GPU-2" }] }, "gpu:GPU-2"],
    ["more cores", { cpus: 8 }, "cpu"],
    ["more memory", { memoryMiB: 16_384 }, "cpu"],
  ])("and cores that are claimed anew need a new proof: %s", (_what, claim, key) => {
    const { net, consumer, provider } = network();
    const worker = net.worker(provider, "w", WITH_GPU);
    verdict(net, worker);
    verdict(net, worker);
    net.say(worker, { kind: "offer", offer: { ...WITH_GPU, ...claim } });
    expect(challenges(net)).toHaveLength(3);
    expect(stateOf(net, worker, key)).toBe("proving");
    const job = net.submit(consumer, GPU_JOB);
    expect(net.job(job).phase).toBe("queued");
    verdict(net, worker);
    expect(net.job(job).phase).toBe("starting");
  });

  it("need no new proof where less is claimed", () => {
    const { net, provider } = network();
    const worker = net.worker(provider, "w", ABLE);
    verdict(net, worker);
    net.say(worker, { kind: "offer", offer: { ...ABLE, cpus: 2, memoryMiB: 1024 } });
    expect(challenges(net)).toHaveLength(1);
    expect(stateOf(net, worker)).toBe("proven");
  });
});

describe("proven hardware", () => {
  function proven(config: Partial<CoreConfig> = {}, offer: WorkerOffer = ABLE) {
    const { net, consumer, provider } = network(config);
    const worker = net.worker(provider, "w", offer);
    verdict(net, worker);
    if (offer.gpus.length > 0) verdict(net, worker);
    return { net, consumer, provider, worker, asked: challenges(net).length };
  }

  it("is challenged again at random times, a day apart on average", () => {
    const { net, worker } = proven({ ...PATIENT, proofCommitMsMax: 2 * HOUR, proofTimeParts: 0 });
    net.silence(worker);
    const fromMs = net.nowMs;
    for (let n = 0; n < 100; n += 1) {
      const { length } = challenges(net);
      while (challenges(net).length === length) net.pass(HOUR);
      verdict(net, worker);
    }
    const days = (net.nowMs - fromMs) / DAY / 100;
    expect(days).toBeGreaterThan(0.6);
    expect(days).toBeLessThan(1.6);
  });

  it("is challenged for no more than a two-hundredth of its time", () => {
    const { net, worker, asked } = proven({ ...PATIENT, proofRecheckMs: 1 });
    net.silence(worker);
    net.pass(1_000);
    expect(challenges(net).length).toBe(asked + 1);
    net.pass(20_000);
    commit(net, worker);
    verdict(net, worker);
    net.pass(199 * 20_000);
    expect(challenges(net).length).toBe(asked + 1);
    net.pass(20 * 20_000);
    expect(challenges(net).length).toBeGreaterThan(asked + 1);
  });

  it("takes no new work while it is challenged, and takes it again once its answer is fixed", () => {
    const { net, consumer, worker, asked } = proven({ proofRecheckMs: 1, proofTimeParts: 0 });
    net.pass(MINUTE / 60);
    expect(challenges(net).length).toBe(asked + 1);
    const job = net.submit(consumer);
    expect(net.job(job).phase).toBe("queued");
    commit(net, worker);
    expect(net.job(job).phase).toBe("starting");
    verdict(net, worker);
    expect(net.job(job).phase).toBe("starting");
  });

  it("leaves the market when it fails, and what runs goes on", () => {
    const { net, consumer, worker } = proven({ proofRecheckMs: 1, proofTimeParts: 0 }, WITH_GPU);
    // Cores are idle no more, and so the GPU alone is asked.
    net.pass(1_000);
    commit(net, worker);
    verdict(net, worker);
    const running = net.submit(consumer);
    expect(net.job(running).phase).toBe("starting");
    net.pass(1_000);
    expect(challenges(net).at(-1)?.target.kind).toBe("gpu");
    commit(net, worker);
    verdict(net, worker, WRONG);
    const [wanting, plain] = [net.submit(consumer, GPU_JOB), net.submit(consumer)];
    expect([net.job(running).phase, net.job(wanting).phase, net.job(plain).phase]).toEqual([
      "starting",
      "queued",
      "starting",
    ]);
    expect(eventsOf(net, "proof_failed").at(-1)?.data["unlisted"]).toBe(true);
  });

  it("is left alone while it is busy, and challenged before its next work", () => {
    const { net, consumer, worker, asked } = proven({ proofRecheckMs: HOUR });
    const job = net.submit(consumer, { durationMaxS: 86_400, resources: { cpus: 4 } });
    net.say(worker, { kind: "started", attempt: refOfNewest(net, job), fromSeq: 0 });
    net.pass(8 * HOUR);
    expect(challenges(net).length).toBe(asked);
    const next = net.submit(consumer);
    const outcome = { kind: "succeeded", outputs: null } as const;
    net.say(worker, { kind: "ended", attempt: refOfNewest(net, job), ranMs: 1_000, outcome });
    expect(challenges(net).length).toBe(asked + 1);
    expect(net.job(next).phase).toBe("queued");
  });

  it("may be excused by its owner a few times, not for ever", () => {
    const { net, worker } = proven({ proofRecheckMs: 1, proofTimeParts: 0 });
    const states: (string | undefined)[] = [];
    for (let n = 0; n < 7; n += 1) {
      const { length } = challenges(net);
      while (challenges(net).length === length) net.pass(MINUTE);
      verdict(net, worker, BUSY);
      states.push(stateOf(net, worker));
    }
    expect(states).toEqual(["proven", "proven", "proven", "proven", "proven", "failed", "failed"]);
  });

  it("stays proven over a restart of the orchestrator", () => {
    const { net, consumer, worker, asked } = proven();
    net.restart();
    net.connect(worker, ABLE);
    expect(challenges(net).length).toBe(asked);
    expect(net.job(net.submit(consumer)).phase).toBe("starting");
  });
});

describe("a connection that ends in mid-proof", () => {
  it("is no failure: the question comes again at the next hello", () => {
    const { net, provider } = network();
    const worker = net.worker(provider, "w", ABLE);
    net.close(worker);
    net.connect(worker, ABLE);
    expect(challenges(net)).toHaveLength(2);
    verdict(net, worker);
    expect(stateOf(net, worker)).toBe("proven");
    expect(eventsOf(net, "proof_failed")).toEqual([]);
  });

  it("lets nobody evade it: what was asked is owed, and takes no work until it is shown", () => {
    const { net, consumer, provider } = network({ proofRecheckMs: 1, proofTimeParts: 0 });
    const worker = net.worker(provider, "w", ABLE);
    verdict(net, worker);
    const job = net.submit(consumer, { queueS: 86_400 });
    // It was placed at once: let it end, so that the worker is idle and asked again.
    const attempt = refOfNewest(net, job);
    net.pass(1_000);
    net.say(worker, { kind: "ended", attempt, ranMs: 1, outcome: { kind: "succeeded", outputs: null } });
    const next = net.submit(consumer, { queueS: 86_400 });
    for (let n = 0; n < 6; n += 1) {
      net.close(worker);
      net.pass(100);
      net.connect(worker, ABLE);
      expect(net.job(next).phase).toBe("queued");
    }
    // It is asked less and less often, because the question may be what ends its connection.
    expect(challenges(net).length).toBeLessThan(6);
    net.pass(11 * MINUTE);
    verdict(net, worker);
    expect(net.job(next).phase).toBe("starting");
  });

  it("makes way for another machine's challenge", () => {
    const { net, provider } = network({ proofsUnderWayMax: 1 });
    const [first, second] = [net.worker(provider, "a", ABLE), net.worker(provider, "b", ABLE)];
    expect(challenges(net).map(({ workerId }) => workerId)).toEqual([first]);
    net.close(first);
    expect(challenges(net).map(({ workerId }) => workerId)).toEqual([first, second]);
  });
});

it("so many challenges are under way over the fleet; what is unproven goes first", () => {
  const { net, provider } = network({ proofsUnderWayMax: 2 });
  const workers = ["a", "b", "c", "d"].map((name) => net.worker(provider, name, ABLE));
  expect(challenges(net)).toHaveLength(2);
  expect(counts(net.state).proofs).toMatchObject({ underWay: 2, waiting: 2 });
  for (const worker of workers) verdict(net, worker);
  expect(challenges(net)).toHaveLength(4);
  expect(workers.map((worker) => stateOf(net, worker))).toEqual(["proven", "proven", "proven", "proven"]);
});

it("whoever connects anew after a failure is asked after a minute, however long the back-off was", () => {
  const { net, provider } = network(PATIENT);
  const worker = net.worker(provider, "w", ABLE);
  net.silence(worker);
  for (let n = 0; n < 8; n += 1) {
    verdict(net, worker, WRONG);
    const { length } = challenges(net);
    while (challenges(net).length === length) net.pass(MINUTE);
  }
  verdict(net, worker, WRONG);
  const { length } = challenges(net);
  net.do({ kind: "worker.closed", workerId: worker, sessionId: net.sessionOf(worker) });
  net.connect(worker, ABLE);
  expect(challenges(net)).toHaveLength(length);
  net.pass(2 * MINUTE);
  expect(challenges(net)).toHaveLength(length + 1);
});

it("nothing is asked where proofs are off", () => {
  const { net, consumer, provider } = network({ workerProofs: "off" });
  const worker = net.worker(provider, "w", WITH_GPU);
  expect(net.job(net.submit(consumer, GPU_JOB)).phase).toBe("starting");
  expect(challenges(net)).toEqual([]);
  expect(workerProofs(net.state, worker)).toEqual([]);
});

function refOfNewest(net: Network, job: Parameters<Network["attempt"]>[0]) {
  const { jobId, replica, epoch } = net.attempt(job);
  return { jobId, replica, epoch };
}

it("no two challenges have one name, also over a restart: an answer to the first would be taken for one to the second", () => {
  const { net, provider } = network(PATIENT);
  const worker = net.worker(provider, "w", ABLE);
  verdict(net, worker);
  // Asked again some day by a timer, and nothing but the challenge comes of that step.
  for (let hours = 0; challenges(net).length < 2 && hours < 400; hours += 1) net.pass(HOUR);
  net.restart(1_000);
  net.connect(worker, ABLE);
  const names = challenges(net).map(({ challengeId }) => challengeId);
  expect(names.length).toBeGreaterThan(2);
  expect(new Set(names).size).toBe(names.length);
});
