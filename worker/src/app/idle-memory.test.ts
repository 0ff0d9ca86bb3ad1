import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { collectGarbage, createIdleMemory, type IdleMemory } from "./idle-memory.ts";

const LOOK_MS = 10_000;
const collect = vi.fn<() => void>();
let memory: IdleMemory;
let isIdle = true;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "setTimeout"] });
  collect.mockClear();
  memory = createIdleMemory({ isIdle: () => isIdle, collect });
  memory.start();
});

afterEach(() => {
  memory.stop();
  vi.useRealTimers();
});

test("memory is collected once the worker is idle, and again only when it has grown", () => {
  isIdle = false;
  vi.advanceTimersByTime(LOOK_MS);
  expect(collect).not.toHaveBeenCalled();
  isIdle = true;
  vi.advanceTimersByTime(2 * LOOK_MS);
  expect(collect).toHaveBeenCalledTimes(1);
  const grown = Buffer.alloc(8 * 1024 * 1024);
  vi.advanceTimersByTime(LOOK_MS);
  expect(collect).toHaveBeenCalledTimes(2);
  expect(grown.length).toBeGreaterThan(0);
});

test("a stopped one does nothing", () => {
  memory.stop();
  vi.advanceTimersByTime(2 * LOOK_MS);
  expect(collect).not.toHaveBeenCalled();
});

test("a collection frees what nobody holds", async () => {
  const garbage = leaveGarbage();
  // What was read of a weak reference is held until the turn ends.
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  collectGarbage();
  expect(garbage.deref()).toBeUndefined();
});

function leaveGarbage(): WeakRef<Buffer> {
  return new WeakRef(Buffer.alloc(1024 * 1024));
}
