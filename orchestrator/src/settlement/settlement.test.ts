import { describe, expect, test } from "vitest";
import type { EscrowDriver, PostedTransfer } from "@qubix/contracts-bridge/port";
import type { TransferId } from "@qubix/shared/domain";
import { createLogger } from "@qubix/shared/runtime";
import type { MetaRecord, TransferRecord } from "../core/index.ts";
import { createMemoryStore } from "../store/index.ts";
import { createSettlement } from "./settlement.ts";

const logger = createLogger("test", "silent");
const META: MetaRecord = {
  orchestratorId: "orc-1",
  random: 1,
  jobCount: 0,
  workerCount: 0,
  accountCount: 0,
  transferCount: 0,
  eventSeq: 0,
  clockMs: 0,
};

describe("settlement", () => {
  test("a driver that moves value gets everything posted, oldest first, and once per life", async () => {
    const store = createMemoryStore();
    post(store, 1, 1203);
    const { driver, taken, reached } = createDriver();
    const settlement = createSettlement({ driver, store, logger, random: () => 0 });
    settlement.start();
    settlement.start();
    await reached(1203);
    const more = post(store, 1204, 1210);
    for (const transfer of more) settlement.settle(transfer);
    await reached(1210);
    await settlement.stop();
    expect(taken.map(({ id }) => id)).toEqual(Array.from({ length: 1210 }, (_, n) => transferId(n + 1)));
  });

  test("a driver that fails is asked again with the same transfer; a stop does not wait for it", async () => {
    const store = createMemoryStore();
    post(store, 1, 2);
    const { driver, taken, reached, failNext } = createDriver();
    failNext(1);
    const settlement = createSettlement({ driver, store, logger, random: () => 0 });
    settlement.start();
    await reached(2);
    expect(taken.map(({ id }) => id)).toEqual([transferId(1), transferId(2)]);
    failNext(Infinity);
    for (const transfer of post(store, 3, 3)) settlement.settle(transfer);
    await settlement.stop();
    expect(taken).toHaveLength(2);
  });

  test("a new life begins the books again: nothing that a crash cut short is lost", async () => {
    const store = createMemoryStore();
    post(store, 1, 3);
    const { driver, taken, reached } = createDriver();
    for (const total of [3, 6]) {
      const settlement = createSettlement({ driver, store, logger, random: () => 0 });
      settlement.start();
      await reached(total);
      await settlement.stop();
    }
    expect(taken.map(({ id }) => id)).toEqual([1, 2, 3, 1, 2, 3].map(transferId));
  });

  test("a driver that moves nothing is told as it happens, and needs no store", async () => {
    const store = createMemoryStore();
    const [before] = post(store, 1, 1);
    const { driver, taken } = createDriver(false);
    const settlement = createSettlement({ driver, store, logger, random: () => 0 });
    settlement.start();
    expect(taken).toHaveLength(0);
    if (before !== undefined) settlement.settle(before);
    await settlement.stop();
    expect(taken.map(({ id }) => id)).toEqual([transferId(1)]);
  });
});

function createDriver(movesValue = true) {
  const taken: PostedTransfer[] = [];
  let failures = 0;
  let waiting: { count: number; resolve: () => void } | undefined;
  const driver: EscrowDriver = {
    capabilities: () => ({ name: "recording", enforced: "custodial", movesValue }),
    submit: async (transfer) => {
      if (failures > 0) {
        failures -= 1;
        throw new Error("the chain is away");
      }
      taken.push(transfer);
      if (waiting !== undefined && taken.length >= waiting.count) waiting.resolve();
    },
  };
  const reached = (count: number) =>
    taken.length >= count
      ? Promise.resolve()
      : new Promise<void>((resolve) => {
          waiting = { count, resolve };
        });
  return { driver, taken, reached, failNext: (count: number) => void (failures = count) };
}

function post(store: ReturnType<typeof createMemoryStore>, from: number, to: number): readonly TransferRecord[] {
  const transfers = Array.from(
    { length: to - from + 1 },
    (_, n): TransferRecord => ({
      id: transferId(from + n),
      kind: "deposit",
      jobId: null,
      currency: "USD",
      postings: [
        { account: "external:ledger", amount: -1n },
        { account: "customer:acc-1", amount: 1n },
      ],
      memo: "",
      atMs: from + n,
    }),
  );
  const balance = BigInt(to);
  store.commit(
    [
      {
        puts: [
          {
            table: "balances",
            key: "external:ledger USD",
            record: { account: "external:ledger", currency: "USD", amount: -balance },
          },
          {
            table: "balances",
            key: "customer:acc-1 USD",
            record: { account: "customer:acc-1", currency: "USD", amount: balance },
          },
        ],
        events: [],
        transfers,
        logs: [],
        ticks: [],
        settled: [],
        meta: META,
      },
    ],
    0,
  );
  return transfers;
}

function transferId(n: number): TransferId {
  return `trf-${String(n).padStart(8, "0")}` as TransferId;
}
