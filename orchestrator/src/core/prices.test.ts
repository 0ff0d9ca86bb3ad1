import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { WorkerOffer } from "@qubix/shared/protocol";
import { requestOf } from "./indexes.ts";
import { admits, findOffer, refreshMarket } from "./market.ts";
import { rateOf } from "./resources.ts";
import { Network, offerOf, refOf } from "./testing/kit.ts";
import { work } from "./testing/words.ts";
import { jobView } from "./views.ts";

const usd = (amount: number | bigint) => ({ amount: BigInt(amount), currency: "USD" });
const NOBODY_IN_THE_WAY = { refuses: () => false, rank: () => 0 };
const gpu = (n: string) => ({ uuid: `GPU-${n}`, model: "NVIDIA T4", memoryMiB: 16_384 });

describe("a job on an offer that prices resources apart", () => {
  it("pays the sum of the parts, which are kept, shown, and sum to the charge", () => {
    const net = new Network();
    const consumer = net.account("consumer", 100n);
    const offer = offerOf({
      pricePerCpuHour: usd(1_000_001),
      pricePerMemoryGiBHour: usd(333_333),
      pricePerDiskGiBHour: usd(7),
    });
    net.worker(net.account("provider"), "w", offer);
    const id = net.submit(consumer, { resources: { cpus: 1.5, memoryMiB: 1_536, diskMiB: 4_096 } });
    const attempt = net.attempt(id);
    expect(attempt.parts).toEqual([
      { name: "cpu", ratePerHour: 1_500_002n },
      { name: "memory", ratePerHour: 500_000n },
      { name: "disk", ratePerHour: 28n },
    ]);
    expect(attempt.ratePerHour).toBe(2_000_030n);
    work(net, id, 60_001);
    const view = jobView(null, { job: net.job(id), attempts: net.attempts(id), standbys: [] }, String);
    const charged = view.attempts[0]?.parts ?? [];
    expect(charged.map(({ part, charge }) => [part, charge.amount])).toEqual([
      ["cpu", "25000"],
      ["memory", "8333"],
      ["disk", "1"],
    ]);
    const sum = (amounts: readonly { readonly amount: string }[]) =>
      amounts.reduce((all, { amount }) => all + BigInt(amount), 0n);
    expect(sum(charged.map(({ charge }) => charge))).toBe(net.job(id).settlement.gross);
    expect(sum(view.settlement.parts?.map(({ amount }) => amount) ?? [])).toBe(net.job(id).settlement.gross);
  });

  it("with a GPU pays for its cores only where they have a price, and a standby in the same parts", () => {
    const net = new Network();
    const consumer = net.account("consumer", 1_000n);
    const prices = {
      pricePerGpuHour: usd(2_000_000),
      pricePerGpuJobCpuHour: usd(100_000),
      pricePerMemoryGiBHour: usd(50_000),
    };
    net.worker(net.account("provider"), "a", offerOf({ gpus: [gpu("a")], ...prices }));
    net.worker(net.account("provider"), "b", offerOf({ gpus: [gpu("b")], ...prices, standbyPercent: 33 }));
    const spec = { resources: { gpus: { count: 1 }, cpus: 2, memoryMiB: 2_048 }, standby: "hot" as const };
    const id = net.submit(consumer, spec);
    const first = net.attempt(id);
    expect(first.ratePerHour).toBe(2_300_000n);
    const standby = net.standby(id);
    expect(standby).toMatchObject({ fullRatePerHour: 2_300_000n, parts: first.parts });
    net.say(first.workerId, { kind: "started", attempt: refOf(first), fromSeq: 0 });
    net.say(standby?.workerId ?? first.workerId, {
      kind: "standby.ready",
      standbyId: standby?.id as never,
      checkpointSeq: 0,
    });
    net.close(first.workerId);
    net.pass(3_000);
    expect(net.attempt(id)).toMatchObject({ epoch: 2, workerId: standby?.workerId, parts: first.parts });
    net.restart(10);
    expect(net.state.rows.attempts.get(net.attempt(id).id)?.parts).toEqual(first.parts);
  });

  it("is not placed where the parts together are beyond its price cap, nor where one is in another currency", () => {
    const net = new Network();
    const consumer = net.account("consumer", 100n);
    const provider = net.account("provider");
    net.worker(provider, "dear", offerOf({ pricePerMemoryGiBHour: usd(1) }));
    net.worker(provider, "foreign", offerOf({ pricePerMemoryGiBHour: { amount: 0n, currency: "EUR" } }));
    const id = net.submit(consumer, { priceMaxPerHour: { amount: "1000000", currency: "USD" } });
    expect(net.job(id).phase).toBe("queued");
    net.worker(provider, "fitting", offerOf());
    expect(net.job(id).phase).toBe("starting");
  });
});

describe("property: a match with prices apart", () => {
  const price = fc.integer({ min: 0, max: 6 });
  const offer = fc.record({
    cpus: fc.integer({ min: 1, max: 6 }),
    gpus: fc.nat(2),
    price: fc.integer({ min: 1, max: 6 }),
    memory: price,
    disk: price,
    cpuWithGpu: price,
  });
  const wish = fc.record({
    cpus: fc.integer({ min: 1, max: 4 }),
    memoryMiB: fc.integer({ min: 100, max: 3_000 }),
    diskMiB: fc.integer({ min: 100, max: 9_000 }),
    gpus: fc.nat(1),
    priceMax: fc.integer({ min: 1, max: 60 }),
  });

  // Beyond 64 price lists offers lie together in one class.
  it.each([12, 160])("is the cheapest of a fleet of %i", (fleet) => {
    const run = fc.property(
      fc.array(offer, { minLength: fleet / 2, maxLength: fleet }),
      fc.array(wish, { minLength: 1, maxLength: 12 }),
      (offers, wishes) => {
        const net = new Network();
        const consumer = net.account("consumer", 1_000n);
        const provider = net.account("provider");
        for (const [n, one] of offers.entries()) net.worker(provider, `w${n}`, pricedOffer(one, n));
        for (const one of wishes) {
          const { machines, market, workersByImage } = net.state.ix;
          const id = net.submit(consumer, {
            resources: { cpus: one.cpus, memoryMiB: one.memoryMiB, diskMiB: one.diskMiB, gpus: { count: one.gpus } },
            priceMaxPerHour: { amount: String(one.priceMax), currency: "USD" },
          });
          const job = net.job(id);
          const request = requestOf(job);
          refreshMarket(market);
          if (job.phase === "queued") {
            expect([...machines.values()].some((machine) => admits(machine, request))).toBe(false);
            expect(
              findOffer(market, machines, workersByImage, request, NOBODY_IN_THE_WAY, 256, null).machine,
            ).toBeUndefined();
            continue;
          }
          const { ratePerHour, parts } = net.attempt(id);
          expect(parts?.reduce((sum, part) => sum + part.ratePerHour, 0n) ?? ratePerHour).toBe(ratePerHour);
          for (const machine of machines.values()) {
            if (!admits(machine, request) || machine.worker.offer === null) continue;
            // The order is by what was not rounded: of each part less than one unit.
            expect(rateOf(machine.worker.offer, request.needs, "USD") ?? 0n).toBeGreaterThan(ratePerHour - 4n);
          }
        }
      },
    );
    fc.assert(run, { numRuns: fleet > 100 ? 15 : 60 });
  });

  it("looks at no more offers in a fleet ten times as large", () => {
    const looked = [100, 1_000].map((fleet) => {
      const net = new Network();
      const provider = net.account("provider");
      for (let n = 0; n < fleet; n += 1) {
        const one = { cpus: 4, gpus: 0, price: 1_000 + n, memory: n % 5, disk: n % 3, cpuWithGpu: 0 };
        net.connect(net.enrol(provider, `v${n}`), pricedOffer(one, n));
      }
      const { machines, market, workersByImage } = net.state.ix;
      const consumer = net.account("consumer", 1_000n);
      const request = requestOf(net.job(net.submit(consumer, { placement: { regions: ["nowhere"] } })));
      refreshMarket(market);
      const open = { ...request, placement: {} };
      return findOffer(market, machines, workersByImage, open, NOBODY_IN_THE_WAY, 256, null).looked;
    });
    expect(looked[1]).toBeLessThanOrEqual(looked[0] ?? 0);
  });
});

function pricedOffer(
  one: { cpus: number; gpus: number; price: number; memory: number; disk: number; cpuWithGpu: number },
  n: number,
): WorkerOffer {
  return offerOf({
    cpus: one.cpus,
    gpus: Array.from({ length: one.gpus }, (_, at) => gpu(`${n}-${at}`)),
    pricePerGpuHour: usd(one.price * 2),
    pricePerCpuHour: usd(one.price),
    // None, nothing, or something: a price of nothing is a price.
    ...(one.memory === 0 ? {} : { pricePerMemoryGiBHour: usd(one.memory - 1) }),
    ...(one.disk === 0 ? {} : { pricePerDiskGiBHour: usd(one.disk - 1) }),
    ...(one.cpuWithGpu === 0 ? {} : { pricePerGpuJobCpuHour: usd(one.cpuWithGpu - 1) }),
  });
}
