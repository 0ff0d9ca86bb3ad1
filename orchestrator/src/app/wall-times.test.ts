import { expect, test } from "vitest";
import { createMemoryStore } from "../store/index.ts";
import type { EventRecord, MetaRecord } from "../core/index.ts";
import { createWallTimes } from "./wall-times.ts";

const DAY_MS = 86_400_000;

test("a moment is told by the start before it, whatever the clocks did between two lives", () => {
  const store = createMemoryStore();
  // The first life began at clock 0; the machine was off for a day that its clock did not count; the second began at clock 5,000.
  const first = Date.parse("2026-03-01T00:00:00.000Z");
  start(store, 1, 0, first);
  start(store, 2, 5_000, first + DAY_MS);
  const wallOf = createWallTimes(store, { clockMs: 9_000, wallMs: first + 2 * DAY_MS });
  expect(wallOf(0)).toBe("2026-03-01T00:00:00.000Z");
  expect(wallOf(4_999)).toBe("2026-03-01T00:00:04.999Z");
  expect(wallOf(5_000)).toBe("2026-03-02T00:00:00.000Z");
  expect(wallOf(9_500)).toBe("2026-03-03T00:00:00.500Z");
});

test("without any start on record the present one serves for all", () => {
  const wallOf = createWallTimes(createMemoryStore(), {
    clockMs: 1_000,
    wallMs: Date.parse("2026-03-01T00:00:01.000Z"),
  });
  expect(wallOf(0)).toBe("2026-03-01T00:00:00.000Z");
});

function start(store: ReturnType<typeof createMemoryStore>, seq: number, atMs: number, wallMs: number): void {
  const event: EventRecord = {
    seq,
    atMs,
    channel: "system",
    kind: "started",
    accountId: null,
    providerId: null,
    jobId: null,
    workerId: null,
    data: {},
  };
  const meta: MetaRecord = {
    orchestratorId: "orc-1",
    random: 1,
    jobCount: 0,
    workerCount: 0,
    accountCount: 0,
    transferCount: 0,
    eventSeq: seq,
    clockMs: atMs,
  };
  store.commit([{ puts: [], events: [event], transfers: [], logs: [], ticks: [], settled: [], meta }], wallMs);
}
