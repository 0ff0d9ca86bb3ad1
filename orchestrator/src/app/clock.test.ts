import { describe, expect, it } from "vitest";
import { createMemoryStore } from "../store/memory.ts";
import { changesOf, metaOf } from "../store/testing/records.ts";
import { createOrchestratorClock, type MachineTime } from "./clock.ts";

/** A machine whose time stands until it is told. */
function machine(bootId: string, uptimeMs: number): MachineTime & { pass(ms: number): void } {
  let passed = 0;
  return {
    bootId: () => bootId,
    uptimeMs: () => uptimeMs + passed,
    monotonicMs: () => 77.5 + passed,
    pass: (ms) => {
      passed += ms;
    },
  };
}

describe("the orchestrator's clock", () => {
  it("counts whole milliseconds from zero on the first start", () => {
    const time = machine("a", 5_000);
    const clock = createOrchestratorClock(createMemoryStore(), time);
    time.pass(10.7);
    expect(clock.nowMs()).toBe(10);
  });

  it("counts the time between two starts on one boot, without any commit", () => {
    const store = createMemoryStore();
    const time = machine("a", 5_000);
    createOrchestratorClock(store, time);
    time.pass(60_000);
    expect(createOrchestratorClock(store, time).nowMs()).toBe(60_000);
  });

  it("goes on after a reboot from the newest commit, by the uptime", () => {
    const store = createMemoryStore();
    createOrchestratorClock(store, machine("a", 5_000));
    store.commit([changesOf({ meta: metaOf(40) })], 0);
    expect(createOrchestratorClock(store, machine("b", 2_000)).nowMs()).toBe(42_000);
    expect(createOrchestratorClock(store, machine("b", 3_000)).nowMs()).toBe(43_000);
  });

  it("never stands before the newest commit, whatever the machine says of its boot", () => {
    const store = createMemoryStore();
    createOrchestratorClock(store, machine("unknown", 90_000));
    store.commit([changesOf({ meta: metaOf(500) })], 0);
    expect(createOrchestratorClock(store, machine("unknown", 1_000)).nowMs()).toBe(501_000);
  });

  it("runs by the system's own time", () => {
    const clock = createOrchestratorClock(createMemoryStore());
    const first = clock.nowMs();
    expect(Number.isSafeInteger(first)).toBe(true);
    expect(clock.nowMs()).toBeGreaterThanOrEqual(first);
  });
});
