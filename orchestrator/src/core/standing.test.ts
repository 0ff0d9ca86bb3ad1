import type { JobId, WorkerId } from "@qubix/shared/domain";
import type { EndOutcome } from "@qubix/shared/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { STANDING_HALF_LIFE_MS, standingOf } from "./standing.ts";
import { Network, offerOf, refOf } from "./testing/kit.ts";

const usd = (amount: bigint) => ({ amount, currency: "USD" });

function network(names: readonly string[], prices: readonly bigint[] = []) {
  const net = new Network();
  const consumer = net.account("consumer", 1_000n);
  const workers = names.map((name, n) =>
    net.worker(net.account("provider"), name, offerOf({ pricePerCpuHour: usd(prices[n] ?? 1_000_000n) })),
  );
  const standing = (id: WorkerId) => {
    const row = net.state.rows.workers.get(id);
    return row === undefined ? Number.NaN : standingOf(row, net.nowMs);
  };
  return { net, consumer, workers, standing };
}

function start(net: Network, id: JobId): WorkerId {
  const attempt = net.attempt(id);
  net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: 0 });
  return attempt.workerId;
}

function end(net: Network, id: JobId, outcome: EndOutcome): void {
  const attempt = net.attempt(id);
  net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs: 1, outcome });
}

/** A job is placed on it, and it fails that job. */
function failOnce(net: Network, consumer: Parameters<Network["submit"]>[0], worker: WorkerId): void {
  const id = net.submit(consumer, { placement: { workers: [worker] }, failoversMax: 0 });
  start(net, id);
  end(net, id, { kind: "worker_failed", code: "docker_error", message: "" });
}

describe("the standing of a worker", () => {
  test("is whole at first, and stays so through work, a job's own failure and a planned stop", () => {
    const { net, consumer, workers, standing } = network(["a"]);
    const [a] = workers as [WorkerId];
    for (const outcome of [
      { kind: "succeeded", outputs: null },
      { kind: "failed", code: "exit_code", exitCode: 1, message: "" },
      { kind: "worker_failed", code: "image_pull_failed", message: "" },
      { kind: "stopped" },
    ] as const) {
      const id = net.submit(consumer, { retries: 0, failoversMax: 0 });
      start(net, id);
      end(net, id, outcome);
    }
    expect(standing(a)).toBe(1);
  });

  test("falls with each loss, each return after one and each failure, and is kept over a restart", () => {
    const { net, consumer, workers, standing } = network(["a"]);
    const [a] = workers as [WorkerId];
    const id = net.submit(consumer);
    start(net, id);
    net.silence(a);
    net.pass(6_000);
    expect(standing(a)).toBeCloseTo(0.5, 2);
    const attempt = refOf(net.attempt(id));
    net.connect(a, offerOf(), {
      attempts: [{ attempt, phase: "running", ranMs: 1, checkpointSeq: 0, progress: null }],
      standbys: [],
    });
    expect(net.timeline(id)).toContain("undone");
    expect(standing(a)).toBeCloseTo(2 ** -1.5, 2);
    net.restart(1_000);
    expect(standing(a)).toBeCloseTo(2 ** -1.5, 2);
  });

  test("comes back by half its score every half-life", () => {
    const { net, consumer, workers, standing } = network(["a"]);
    const [a] = workers as [WorkerId];
    for (let n = 0; n < 4; n += 1) failOnce(net, consumer, a);
    expect(standing(a)).toBeCloseTo(2 ** -4, 3);
    net.nowMs += STANDING_HALF_LIFE_MS;
    expect(standing(a)).toBeCloseTo(2 ** -2, 3);
    net.nowMs += STANDING_HALF_LIFE_MS;
    expect(standing(a)).toBeCloseTo(2 ** -1, 3);
    net.nowMs += 10 * STANDING_HALF_LIFE_MS;
    expect(standing(a)).toBeGreaterThan(0.99);
  });

  test("of an idle worker that goes falls little, and not at all where it was draining", () => {
    const { net, workers, standing } = network(["a", "b"]);
    const [a, b] = workers as [WorkerId, WorkerId];
    net.say(b, { kind: "offer", offer: offerOf({ draining: true }) });
    net.close(a);
    net.close(b);
    net.pass(5_000);
    expect(standing(a)).toBeCloseTo(2 ** -0.25, 2);
    expect(standing(b)).toBe(1);
  });

  test("does not fall for mass silence, nor for not being back after a start of ours", () => {
    const names = Array.from({ length: 10 }, (_, n) => `w${n}`);
    const { net, consumer, workers, standing } = network(names);
    for (const _ of workers) start(net, net.submit(consumer, { resources: { cpus: 4 } }));
    net.pass(10_000);
    for (const id of workers) net.silence(id);
    net.pass(60_000);
    expect(net.kept.all("workers").every(({ phase }) => phase === "offline")).toBe(true);
    expect(workers.map(standing)).toEqual(workers.map(() => 1));

    const after = network(["a"]);
    start(after.net, after.net.submit(after.consumer));
    after.net.restart(1_000);
    after.net.pass(20_000);
    expect(after.workers.map(after.standing)).toEqual([1]);
    // Back, it is judged like any other again.
    const [a] = after.workers as [WorkerId];
    after.net.connect(a, offerOf());
    failOnce(after.net, after.consumer, a);
    expect(after.standing(a)).toBeCloseTo(0.5, 3);
  });

  test("never leaves its range, and always recovers", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3 * STANDING_HALF_LIFE_MS), { maxLength: 30 }), (waits) => {
        const { net, consumer, workers, standing } = network(["a"]);
        const [a] = workers as [WorkerId];
        for (const waitMs of waits) {
          failOnce(net, consumer, a);
          expect(standing(a)).toBeGreaterThan(0);
          expect(standing(a)).toBeLessThanOrEqual(0.5);
          net.nowMs += waitMs;
        }
        net.nowMs += 8 * STANDING_HALF_LIFE_MS;
        expect(standing(a)).toBeGreaterThan(0.9);
      }),
      { numRuns: 20 },
    );
  });
});

describe("who is unsteady", () => {
  test("is chosen last for jobs, whatever the price, but chosen where there is nobody else; one loss is not enough", () => {
    const { net, consumer, workers } = network(["cheap", "dear"], [500_000n, 1_000_000n]);
    const [cheap, dear] = workers as [WorkerId, WorkerId];
    failOnce(net, consumer, cheap);
    expect(net.attempt(net.submit(consumer)).workerId).toBe(cheap);
    failOnce(net, consumer, cheap);
    expect(net.attempt(net.submit(consumer)).workerId).toBe(dear);
    expect(net.attempt(net.submit(consumer, { resources: { cpus: 3 } })).workerId).toBe(dear);
    expect(net.attempt(net.submit(consumer)).workerId).toBe(cheap);
  });

  test("is chosen again once it was quiet for long enough", () => {
    const { net, consumer, workers } = network(["cheap", "dear"], [500_000n, 1_000_000n]);
    const [cheap] = workers as [WorkerId];
    failOnce(net, consumer, cheap);
    failOnce(net, consumer, cheap);
    net.nowMs += STANDING_HALF_LIFE_MS;
    expect(net.attempt(net.submit(consumer)).workerId).toBe(cheap);
  });

  test("is chosen last for standbys: a steady one of the same provider comes first", () => {
    const net = new Network();
    const consumer = net.account("consumer", 1_000n);
    const provider = net.account("provider");
    const primary = net.worker(provider, "primary", offerOf({ pricePerCpuHour: usd(100_000n) }));
    const shaky = net.worker(net.account("provider"), "shaky", offerOf({ pricePerCpuHour: usd(200_000n) }));
    const sibling = net.worker(provider, "sibling");
    failOnce(net, consumer, shaky);
    failOnce(net, consumer, shaky);
    const id = net.submit(consumer, { standby: "hot" });
    expect(net.attempt(id).workerId).toBe(primary);
    expect(net.standby(id)?.workerId).toBe(sibling);
  });

  test("a word of a worker that is no known reason moves nothing", () => {
    const net = new Network();
    const consumer = net.account("consumer", 1_000n);
    net.worker(net.account("provider"), "primary", offerOf({ pricePerCpuHour: usd(100_000n) }));
    const second = net.worker(net.account("provider"), "second");
    const id = net.submit(consumer, { standby: "hot" });
    const standby = net.standby(id);
    if (standby === undefined) throw new Error("no standby");
    net.say(second, { kind: "standby.failed", standbyId: standby.id, code: "constructor", message: "" });
    expect(net.state.rows.workers.get(second)?.trouble).toBeUndefined();
  });
});
