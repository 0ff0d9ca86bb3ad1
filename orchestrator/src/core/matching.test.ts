import type { JobId, WorkerId } from "@qubix/shared/domain";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { explainPlacement } from "./explain.ts";
import { requestOf } from "./indexes.ts";
import { admits, findOffer, refreshMarket } from "./market.ts";
import { gpuModelMatches, rateOf } from "./resources.ts";
import { Network, offerOf, refOf, specOf } from "./testing/kit.ts";

const usd = (amount: bigint) => ({ amount, currency: "USD" });
const gpu = (uuid: string, model = "NVIDIA RTX 4090", memoryMiB = 24_000) => ({ uuid, model, memoryMiB });

function market() {
  const net = new Network();
  const provider = net.account("provider");
  const consumer = net.account("consumer", 1_000n);
  return { net, provider, consumer };
}

function end(net: Network, id: JobId): void {
  const attempt = net.attempt(id);
  const outcome = { kind: "succeeded", outputs: null } as const;
  net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs: 0, outcome });
}

describe("a match", () => {
  test("is the cheapest offer that fits, then the least loaded", () => {
    const { net, provider, consumer } = market();
    const dear = net.worker(provider, "dear", offerOf({ pricePerCpuHour: usd(2_000_000n) }));
    const cheap = net.worker(provider, "cheap", offerOf({ cpus: 2 }));
    const same = net.worker(provider, "same", offerOf({ cpus: 2 }));
    const placed = Array.from({ length: 5 }, () => net.attempt(net.submit(consumer)).workerId);
    expect(new Set(placed.slice(0, 2))).toEqual(new Set([cheap, same]));
    expect(new Set(placed.slice(2, 4))).toEqual(new Set([cheap, same]));
    expect(placed[4]).toBe(dear);
  });

  test("takes GPUs by model and memory, at the price of GPUs", () => {
    const { net, provider, consumer } = market();
    const prices = { pricePerGpuHour: usd(3_000_000n) };
    net.worker(provider, "small", offerOf({ ...prices, gpus: [gpu("a", "NVIDIA RTX 3060", 12_000)] }));
    const large = net.worker(provider, "large", offerOf({ ...prices, gpus: [gpu("b"), gpu("c")] }));
    const id = net.submit(consumer, { resources: { gpus: { count: 2, model: "rtx 4090" } } });
    expect(net.attempt(id)).toMatchObject({ workerId: large, ratePerHour: 6_000_000n });
    expect(net.attempt(id).allocation.gpuUuids.toSorted()).toEqual(["b", "c"]);
    const next = net.submit(consumer, { resources: { gpus: { count: 1, memoryMiBMin: 20_000 } } });
    expect(net.job(next).phase).toBe("queued");
    end(net, id);
    expect(net.attempt(next).workerId).toBe(large);
  });

  test("knows a model by its words", () => {
    expect(gpuModelMatches("A100", "NVIDIA A100-SXM4-80GB")).toBe(true);
    expect(gpuModelMatches("a100 80gb", "NVIDIA A100-SXM4-80GB")).toBe(true);
    expect(gpuModelMatches("A10", "NVIDIA A100-SXM4-80GB")).toBe(false);
    expect(gpuModelMatches("RTX 4090", "NVIDIA GeForce RTX 4080")).toBe(false);
  });

  test("keeps to placement, price cap and currency", () => {
    const { net, provider, consumer } = market();
    const other = net.account("provider");
    const here = net.worker(provider, "here", offerOf({ region: "eu-west" }));
    const there = net.worker(other, "there", offerOf({ region: "us-east" }));
    net.worker(other, "foreign", offerOf({ pricePerCpuHour: { amount: 1n, currency: "EUR" } }));
    const at = (placement: Parameters<typeof specOf>[0] & object) => {
      const id = net.submit(consumer, placement);
      return net.job(id).phase === "queued" ? null : net.attempt(id).workerId;
    };
    expect(at({ placement: { regions: ["us-east"] } })).toBe(there);
    expect(at({ placement: { workers: [here] } })).toBe(here);
    expect(at({ placement: { providers: [other.accountId] } })).toBe(there);
    expect(at({ placement: { avoid: [other.accountId] } })).toBe(here);
    expect(at({ placement: { avoid: [here, there] } })).toBeNull();
    expect(at({ priceMaxPerHour: { amount: "999999", currency: "USD" } })).toBeNull();
  });

  test("of a local image needs a worker whose owner lists it", () => {
    const { net, provider, consumer } = market();
    const refused = net.do({ kind: "job.create", actor: consumer, spec: specOf({ image: "qubix/train:local" }) });
    expect(refused).toMatchObject({ refusal: { status: 422, code: "image_unknown" } });
    net.worker(provider, "without");
    const lists = net.worker(provider, "lists", offerOf({ localImages: ["qubix/train:local"] }));
    expect(net.attempt(net.submit(consumer, { image: "qubix/train:local" })).workerId).toBe(lists);
  });

  test("is not made on a worker that drains, and again when it no longer does", () => {
    const { net, provider, consumer } = market();
    const worker = net.worker(provider, "one");
    const drain = (draining: boolean) => net.do({ kind: "worker.drain", actor: provider, workerId: worker, draining });
    drain(true);
    const id = net.submit(consumer);
    expect(net.job(id).phase).toBe("queued");
    drain(false);
    expect(net.job(id).phase).toBe("starting");
  });

  test("equals what going through the whole fleet finds", () => {
    const offer = fc.record({
      cpus: fc.integer({ min: 1, max: 9 }),
      memoryMiB: fc.integer({ min: 500, max: 5_000 }),
      gpus: fc.nat(3),
      price: fc.integer({ min: 1, max: 5 }),
      region: fc.constantFrom("a", "b"),
    });
    const wish = fc.record({
      cpus: fc.integer({ min: 1, max: 5 }),
      memoryMiB: fc.integer({ min: 100, max: 3_000 }),
      gpus: fc.nat(2),
      priceMax: fc.integer({ min: 1, max: 30 }),
      region: fc.constantFrom("a", "b", undefined),
    });
    fc.assert(
      fc.property(
        fc.array(offer, { minLength: 1, maxLength: 12 }),
        fc.array(wish, { minLength: 1, maxLength: 15 }),
        (offers, wishes) => {
          const { net, provider, consumer } = market();
          for (const [n, one] of offers.entries()) {
            const gpus = Array.from({ length: one.gpus }, (_, g) => gpu(`${n}-${g}`));
            const prices = { pricePerGpuHour: usd(BigInt(one.price) * 2n), pricePerCpuHour: usd(BigInt(one.price)) };
            net.worker(
              provider,
              `w${n}`,
              offerOf({ cpus: one.cpus, memoryMiB: one.memoryMiB, region: one.region, gpus, ...prices }),
            );
          }
          for (const one of wishes) {
            const { machines, market: index, workersByImage } = net.state.ix;
            const id = net.submit(consumer, {
              resources: { cpus: one.cpus, memoryMiB: one.memoryMiB, gpus: { count: one.gpus } },
              priceMaxPerHour: { amount: String(one.priceMax), currency: "USD" },
              placement: one.region === undefined ? {} : { regions: [one.region] },
            });
            const job = net.job(id);
            const request = requestOf(job);
            refreshMarket(index);
            const anyone = { refuses: () => false, rank: () => 0 };
            if (job.phase === "queued") {
              expect([...machines.values()].some((machine) => admits(machine, request))).toBe(false);
              expect(findOffer(index, machines, workersByImage, request, anyone, 10, null).machine).toBeUndefined();
              continue;
            }
            // Cheaper ones that would have fitted must not exist: everything that still fits costs at least as much.
            const paid = net.attempt(id).ratePerHour;
            for (const machine of machines.values()) {
              if (!admits(machine, request) || machine.worker.offer === null) continue;
              expect(rateOf(machine.worker.offer, request.needs, "USD") ?? 0n).toBeGreaterThanOrEqual(paid);
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("fair share", () => {
  test("lets one job in before ten thousand of another consumer", () => {
    const { net, provider, consumer } = market();
    const modest = net.account("consumer", 100n);
    const worker = net.worker(provider, "one", offerOf({ cpus: 2 }));
    const price = { priceMaxPerHour: { amount: "1000000", currency: "USD" } };
    const first = net.submit(consumer, price);
    net.submit(consumer, price);
    const third = net.submit(consumer, price);
    for (let n = 0; n < 40; n += 1) net.submit(consumer, price);
    const single = net.submit(modest);
    expect(net.job(single).phase).toBe("queued");
    end(net, first);
    expect(net.attempt(single).workerId).toBe(worker);
    expect(net.job(third).phase).toBe("queued");
  });

  test("is first come, first served within one consumer, and a large job does not hold up a small one", () => {
    const { net, provider, consumer } = market();
    net.worker(provider, "one", offerOf({ cpus: 2 }));
    const ask = (cpus: number) => net.submit(consumer, { resources: { cpus } });
    const first = ask(1);
    const second = ask(1);
    const large = ask(2);
    const small = ask(1);
    end(net, first);
    expect(net.job(small).phase).toBe("starting");
    expect(net.job(large).phase).toBe("queued");
    end(net, second);
    end(net, small);
    expect(net.job(large).phase).toBe("starting");
  });

  test("puts a job that lost its worker before those that never had one", () => {
    const { net, provider, consumer } = market();
    const worker = net.worker(provider, "one", offerOf({ cpus: 1 }));
    const had = net.submit(consumer);
    const waits = net.submit(consumer);
    net.close(worker);
    net.pass(2_000);
    expect(net.job(had).phase).toBe("queued");
    net.connect(worker, offerOf({ cpus: 1 }));
    expect(net.job(had).phase).toBe("starting");
    expect(net.job(waits).phase).toBe("queued");
  });

  test("keeps to the order when several things happen before the next dispatch", () => {
    const { net, provider, consumer } = market();
    const worker = net.worker(provider, "one", offerOf({ cpus: 1 }));
    const create = (memoryMiB: number): JobId => {
      const { reply } = net.step({ kind: "job.create", actor: consumer, spec: specOf({ resources: { memoryMiB } }) });
      if (reply.kind !== "job") throw new Error("refused");
      return reply.jobId;
    };
    const [first, second, third] = [create(64), create(65), create(64)];
    net.step({ kind: "job.cancel", actor: consumer, jobId: first });
    net.dispatch();
    expect(net.attempt(second).workerId).toBe(worker);
    // The one that loses its place goes before the one of the same kind that came meanwhile.
    const fourth = create(65);
    const ended = { kind: "ended", msg: 99, attempt: refOf(net.attempt(second)), ranMs: 0 } as const;
    const message = { ...ended, outcome: { kind: "stopped" } } as const;
    net.step({ kind: "worker.message", workerId: worker, sessionId: net.sessionOf(worker), message });
    net.dispatch();
    expect(net.attempt(second)).toMatchObject({ epoch: 2, workerId: worker });
    expect([third, fourth].map((id) => net.job(id).phase)).toEqual(["queued", "queued"]);
  });

  test("serves consumers in turn", () => {
    const { net, provider, consumer } = market();
    const others = [consumer, net.account("consumer", 100n), net.account("consumer", 100n)];
    const jobs = others.map((actor) => Array.from({ length: 3 }, () => net.submit(actor)));
    const cpus = 6;
    net.worker(provider, "late", offerOf({ cpus }));
    const running = jobs.map((ids) => ids.filter((id) => net.job(id).phase === "starting").length);
    expect(running).toEqual([2, 2, 2]);
  });
});

describe("many different requests", () => {
  const job = fc.record({
    consumer: fc.nat(3),
    cpus: fc.integer({ min: 1, max: 4 }),
    memoryMiB: fc.integer({ min: 64, max: 68 }),
  });
  const action = fc.oneof(
    { weight: 3, arbitrary: job },
    { weight: 2, arbitrary: fc.record({ ends: fc.nat(10) }) },
    { weight: 1, arbitrary: fc.record({ cancels: fc.nat(50) }) },
  );

  test("are served in the same order however little is done per step", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const [atOnce, bitByBit] = [{}, { judgementsPerStepMax: 3, dispatchTriesMax: 0.25 }].map((config) => {
          const net = new Network(config);
          const consumers = Array.from({ length: 4 }, () => net.account("consumer", 1_000n));
          const provider = net.account("provider");
          net.worker(provider, "one", offerOf({ cpus: 4 }));
          net.worker(provider, "two", offerOf({ cpus: 5 }));
          for (const what of actions) {
            const jobs = [...net.state.rows.jobs.values()];
            const placed = jobs.filter(({ phase }) => phase === "starting");
            if ("consumer" in what) {
              const { cpus, memoryMiB } = what;
              const consumer = consumers[what.consumer];
              if (consumer !== undefined) net.submit(consumer, { resources: { cpus, memoryMiB } });
            } else if ("ends" in what) {
              const ended = placed[what.ends % placed.length];
              if (ended !== undefined) end(net, ended.id);
            } else {
              const job = jobs[what.cancels % jobs.length];
              const actor = { accountId: job?.accountId ?? provider.accountId, role: "consumer" } as const;
              if (job !== undefined) net.do({ kind: "job.cancel", actor, jobId: job.id });
            }
          }
          expectOldestFirst(net);
          return net.kept.events
            .filter(({ kind }) => kind === "matched")
            .map(({ jobId, workerId }) => [jobId, workerId]);
        });
        expect(bitByBit).toEqual(atOnce);
      }),
      { numRuns: 60 },
    );
  });

  /** Nobody is served before an older job of the same consumer that needs no more. */
  function expectOldestFirst(net: Network): void {
    const waiting = new Map<JobId, ReturnType<Network["job"]>>();
    for (const { kind, jobId } of net.kept.events) {
      if (jobId === null) continue;
      if (kind === "queued") waiting.set(jobId, net.job(jobId));
      else waiting.delete(jobId);
      if (kind !== "matched") continue;
      const { accountId, spec } = net.job(jobId);
      const passed = [...waiting.values()].filter((job) => {
        const { cpus, memoryMiB } = job.spec.resources;
        const isSmaller = cpus <= spec.resources.cpus && memoryMiB <= spec.resources.memoryMiB;
        return job.accountId === accountId && job.id < jobId && isSmaller;
      });
      expect(passed).toEqual([]);
    }
  }

  test("do not make a step longer than its bounds", () => {
    const { net, provider, consumer } = market();
    net.worker(provider, "one", offerOf({ cpus: 1, memoryMiB: 100_000 }));
    const first = net.submit(consumer, { durationMaxS: 60 });
    for (let n = 0; n < 400; n += 1) net.submit(consumer, { durationMaxS: 60, resources: { memoryMiB: 64 + n } });
    Object.assign(net.config, { judgementsPerStepMax: 50, dispatchTriesMax: 10 });
    const attempt = net.attempt(first);
    const outcome = { kind: "succeeded", outputs: null } as const;
    const sessionId = net.sessionOf(attempt.workerId);
    const message = { kind: "ended", msg: 1_000_000, attempt: refOf(attempt), ranMs: 0, outcome } as const;
    net.step({ kind: "worker.message", workerId: attempt.workerId, sessionId, message });
    const { queue } = net.state.ix;
    const open = () => [...queue.accounts.values()].reduce((sum, account) => sum + account.open.size, 0);
    const opened: number[] = [];
    for (let before = 0; ; before = open()) {
      const { changed } = net.step({ kind: "dispatch" });
      opened.push(open() - before);
      if (!changed && !net.state.volatile.dispatchPending) break;
    }
    expect(Math.max(...opened)).toBe(50);
    // A try is eight looks.
    expect(Math.min(...opened)).toBe(-80);
    expect(open()).toBe(0);
    expect(net.state.ix.jobsByPhase.get("starting")).toBe(1);
  });
});

describe("an explanation", () => {
  test("says for each filter how many offers it removed, and what would help", () => {
    const { net, provider } = market();
    net.worker(provider, "fits");
    net.worker(provider, "tiny", offerOf({ cpus: 0.5 }));
    net.worker(provider, "dear", offerOf({ pricePerCpuHour: usd(99_000_000n) }));
    net.enrol(provider, "never seen");
    const found = explainPlacement(net.state, specOf());
    expect(found).toMatchObject({
      total: 4,
      matching: 1,
      ratePerHour: 1_000_000n,
      costMax: 1_000_000n,
      hold: 10_000_000n,
    });
    const removed = Object.fromEntries(found.filters.map(({ filter, removed: count }) => [filter, count]));
    expect(removed).toMatchObject({ online: 1, cpus: 1, price: 1, memory: 0, "gpu count": 0 });
    expect(found.filters.find(({ filter }) => filter === "cpus")?.hint).toContain("large enough when idle");
    expect(found.filters.every(({ removed: count, hint }) => (count === 0) === (hint === ""))).toBe(true);
  });

  test("counts the standby of a hot job, on another worker and within the cap", () => {
    const { net, provider } = market();
    net.worker(provider, "one");
    expect(explainPlacement(net.state, specOf({ standby: "hot" }))).toMatchObject({ matching: 1, standbys: 0 });
    net.worker(provider, "two");
    const found = explainPlacement(net.state, specOf({ standby: "hot" }));
    expect(found).toMatchObject({ matching: 2, standbys: 1, ratePerHour: 1_250_000n });
  });

  test("changes nothing", () => {
    const { net, provider } = market();
    net.worker(provider, "one");
    const before = structuredClone(net.state.rows);
    explainPlacement(net.state, specOf({ standby: "hot" }));
    expect(net.state.rows).toEqual(before);
  });
});

test("a standby goes to another provider's worker first, else to the same provider's, never to the same worker", () => {
  const { net, provider, consumer } = market();
  const run = (id: JobId): WorkerId | undefined => net.standby(id)?.workerId;
  const one = net.worker(provider, "one");
  const id = net.submit(consumer, { standby: "hot" });
  expect(net.attempt(id).workerId).toBe(one);
  expect(run(id)).toBeUndefined();
  const sibling = net.worker(provider, "sibling", offerOf({ pricePerCpuHour: usd(1_500_000n) }));
  expect(run(id)).toBe(sibling);
  const stranger = net.worker(net.account("provider"), "stranger", offerOf({ pricePerCpuHour: usd(1_900_000n) }));
  const next = net.submit(consumer, { standby: "hot" });
  expect(run(next)).toBe(stranger);
});
