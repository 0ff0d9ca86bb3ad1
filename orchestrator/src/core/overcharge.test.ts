// Nobody pays for work that died with its provider: whatever was saved when, and whenever and however the provider died.
import { chargeFor } from "@qubix/shared/domain";
import type { JobId, WorkerId } from "@qubix/shared/domain";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Network, offerOf, refOf } from "./testing/kit.ts";
import { saveNext, start, succeed } from "./testing/words.ts";

/** Long enough for any loss to be noticed. */
const NOTICED_MS = 20_000;

const price = fc.bigInt({ min: 1n, max: 9_999_999n });
/** With a standby it has to keep within the cap of 10 USD an hour. */
const cheap = fc.bigInt({ min: 1n, max: 7_999_999n });
/** Between checkpoints, in ms. */
const saves = fc.array(fc.integer({ min: 1, max: 8_000 }), { maxLength: 4 });
const restMs = fc.integer({ min: 0, max: 8_000 });

interface Scene {
  readonly net: Network;
  readonly workers: readonly [WorkerId, WorkerId];
  readonly id: JobId;
}

/** A job on the first of two workers, each of a provider of its own. */
function scene(prices: readonly [bigint, bigint], spec: { readonly standby?: "hot" } = {}): Scene {
  const net = new Network();
  const offers = prices.map((amount) => ({ ...offerOf(), pricePerCpuHour: { amount, currency: "USD" } }));
  const first = net.worker(net.account("provider"), "first", offers[0]);
  const id = net.submit(net.account("consumer", 100n), spec);
  start(net, id);
  const second = net.worker(net.account("provider"), "second", offers[1]);
  return { net, workers: [first, second], id };
}

/** Works and saves; gives the container time of the last checkpoint that was taken. */
function work(net: Network, id: JobId, gaps: readonly number[]): number {
  let ranMs = 0;
  for (const gapMs of gaps) {
    net.pass(gapMs);
    ranMs += gapMs;
    saveNext(net, id, ranMs);
  }
  return ranMs;
}

function paid({ net, id }: Scene, role: "primary" | "standby", worker: WorkerId): bigint {
  const lines = net.job(id).settlement.lines.filter((line) => line.role === role && line.workerId === worker);
  return lines.reduce((sum, { amount }) => sum + amount, 0n);
}

const death = fc.record({
  prices: fc.tuple(price, price),
  before: saves,
  diesAfterMs: restMs,
  how: fc.constantFrom("close" as const, "silence" as const),
  after: saves,
  endsAfterMs: restMs,
});

describe("after a provider's death", () => {
  test("its work is charged up to its last accepted checkpoint, to the unit, and its successor's up to its end", () => {
    const property = fc.property(death, ({ prices, before, diesAfterMs, how, after, endsAfterMs }) => {
      const at = scene(prices);
      const { net, id, workers } = at;
      const savedMs = work(net, id, before);
      net.pass(diesAfterMs);
      net[how](workers[0]);
      net.pass(NOTICED_MS);
      expect(net.attempt(id).workerId).toBe(workers[1]);
      start(net, id);
      const ranMs = work(net, id, after) + endsAfterMs;
      net.pass(endsAfterMs);
      succeed(net, id, ranMs);
      const charges = [chargeFor(prices[0], savedMs), chargeFor(prices[1], ranMs)] as const;
      const { gross, hold } = net.job(id).settlement;
      expect(net.job(id).phase).toBe("succeeded");
      expect(gross).toBe(charges[0] + charges[1]);
      for (const n of [0, 1] as const) expect(paid(at, "primary", workers[n]) <= charges[n]).toBe(true);
      expect(net.job(id).settlement.lines.find(({ role }) => role === "refund")?.amount).toBe(hold - (gross ?? 0n));
    });
    fc.assert(property, { numRuns: 150 });
  });

  test("a standby is paid by its own rate, from ready to its promotion, and the dead primary no more than before", () => {
    const property = fc.property(cheap, saves, restMs, (amount, gaps, restsMs) => {
      const at = scene([amount, amount], { standby: "hot" });
      const { net, id, workers } = at;
      const standbyId = net.standby(id)?.id;
      if (standbyId === undefined) throw new Error("no standby was reserved");
      net.say(workers[1], { kind: "standby.ready", standbyId, checkpointSeq: 0 });
      const readyAtMs = net.nowMs;
      const savedMs = work(net, id, gaps);
      net.pass(restsMs);
      const stoodMs = net.nowMs - readyAtMs;
      net.close(workers[0]);
      start(net, id);
      succeed(net, id, 0);
      const standby = net.kept.all("standbys").find((one) => one.id === standbyId);
      expect(standby?.creditedMs).toBe(stoodMs);
      const due = chargeFor(standby?.ratePerHour ?? 0n, stoodMs) + chargeFor(amount, savedMs);
      expect(net.job(id).settlement.gross).toBe(due);
    });
    fc.assert(property, { numRuns: 100 });
  });

  test("that was a false alarm, the job costs what it would have cost undisturbed", () => {
    const alarm = fc.record({
      amount: price,
      before: saves,
      awayMs: fc.integer({ min: 1_600, max: 3_000 }),
      restsMs: restMs,
    });
    const property = fc.property(alarm, ({ amount, before, awayMs, restsMs }) => {
      const { net, id, workers } = scene([amount, amount]);
      const savedMs = work(net, id, before);
      const lost = net.attempt(id);
      net.close(workers[0]);
      net.pass(awayMs);
      const ranMs = savedMs + awayMs;
      const checkpointSeq = before.length;
      net.connect(workers[0], offerOf(), {
        attempts: [{ attempt: refOf(lost), phase: "running", ranMs, checkpointSeq, progress: null }],
        standbys: [],
      });
      expect(net.attempt(id)).toMatchObject({ epoch: 3, adoptedEpoch: 1 });
      net.pass(restsMs);
      succeed(net, id, ranMs + restsMs);
      expect(net.job(id).settlement.gross).toBe(chargeFor(amount, ranMs + restsMs));
    });
    fc.assert(property, { numRuns: 150 });
  });
});
