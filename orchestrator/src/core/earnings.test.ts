import type { WorkerId } from "@qubix/shared/domain";
import { describe, expect, test } from "vitest";
import { Network, offerOf } from "./testing/kit.ts";
import { work } from "./testing/words.ts";

const KNOWS = { features: ["earnings"] };

function earnedBy(net: Network, worker: WorkerId) {
  return net.kept.all("workers").find(({ id }) => id === worker)?.earned;
}

describe("what a worker earned", () => {
  test("grows with each settlement, is told at once and at its next hello", () => {
    const net = new Network();
    const provider = net.account("provider");
    const consumer = net.account("consumer", 100n);
    const worker = net.worker(provider, "alpha", { ...offerOf(), ...KNOWS });
    // From nothing on: what comes later is known to be new.
    expect(net.last(worker, "earnings")?.totals).toEqual([]);
    work(net, net.submit(consumer), 60_000);
    // A minute of one core at 1 USD an hour, less the fee.
    expect(earnedBy(net, worker)).toEqual([{ amount: 15_833n, currency: "USD" }]);
    expect(net.last(worker, "earnings")?.totals).toEqual([{ amount: 15_833n, currency: "USD" }]);
    work(net, net.submit(consumer), 60_000);
    expect(net.last(worker, "earnings")?.totals).toEqual([{ amount: 31_666n, currency: "USD" }]);
    expect(net.balance(`pending:${provider.accountId}`)).toBe(31_666n);
    net.close(worker);
    const told = net.sentTo(worker).length;
    net.connect(worker, { ...offerOf(), ...KNOWS });
    expect(net.sentTo(worker).slice(told)).toContainEqual({
      kind: "earnings",
      totals: [{ amount: 31_666n, currency: "USD" }],
    });
  });

  test("is counted for a worker that does not know the message, and not told to it", () => {
    const net = new Network();
    const worker = net.worker(net.account("provider"), "old");
    work(net, net.submit(net.account("consumer", 100n)), 60_000);
    expect(earnedBy(net, worker)).toEqual([{ amount: 15_833n, currency: "USD" }]);
    expect(net.last(worker, "earnings")).toBeUndefined();
  });
});
