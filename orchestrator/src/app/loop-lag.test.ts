import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createLoopLag } from "./loop-lag.ts";

describe("the lag of the event loop", () => {
  let nowMs = 0;
  beforeEach(() => {
    nowMs = 0;
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  /** The loop turns: the clock and the timers go on together. */
  const turn = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 10) {
      nowMs += 10;
      vi.advanceTimersByTime(10);
    }
  };

  it("is nothing while the loop turns, whoever asks however often", () => {
    const lag = createLoopLag(() => nowMs);
    lag.start();
    for (let n = 0; n < 20; n += 1) {
      turn(70);
      expect(lag.takeMs()).toBe(0);
    }
  });

  it("is the time in which it did not, told once", () => {
    const lag = createLoopLag(() => nowMs);
    lag.start();
    turn(500);
    nowMs += 3_000;
    const toldMs = lag.takeMs();
    expect(toldMs).toBeGreaterThanOrEqual(2_950);
    expect(toldMs).toBeLessThanOrEqual(3_000);
    expect(lag.takeMs()).toBe(0);
  });

  it("adds up until it is asked for", () => {
    const lag = createLoopLag(() => nowMs);
    lag.start();
    for (let n = 0; n < 3; n += 1) {
      nowMs += 1_000;
      turn(100);
    }
    const toldMs = lag.takeMs();
    expect(toldMs).toBeGreaterThan(2_700);
    expect(toldMs).toBeLessThanOrEqual(3_000);
  });

  it("is not measured before the start and after the end", () => {
    const lag = createLoopLag(() => nowMs);
    nowMs += 5_000;
    expect(lag.takeMs()).toBe(0);
    lag.start();
    lag.start();
    lag.stop();
    nowMs += 5_000;
    expect(lag.takeMs()).toBe(0);
  });
});
