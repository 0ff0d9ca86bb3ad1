import fc from "fast-check";
import { expect, test } from "vitest";
import { DeadlineHeap } from "./deadline-heap.ts";
import { newJobId, nextRandom } from "./random.ts";

test("gives deadlines in order, each key once, as a plain map with transactions would", () => {
  const action = fc.record({
    what: fc.constantFrom("set", "setNoLater", "clear", "pop", "commit", "rollBack"),
    key: fc.constantFrom("a", "b", "c", "d", "e"),
    atMs: fc.nat(50),
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
      const heap = new DeadlineHeap();
      let model = new Map<string, number>();
      let committed = new Map<string, number>();
      for (const { what, key, atMs } of actions) {
        if (what === "set") {
          heap.set(key, atMs);
          model.set(key, atMs);
        } else if (what === "setNoLater") {
          heap.setNoLater(key, atMs);
          model.set(key, Math.min(atMs, model.get(key) ?? atMs));
        } else if (what === "clear") {
          heap.clear(key);
          model.delete(key);
        } else if (what === "commit") {
          heap.commit();
          committed = new Map(model);
        } else if (what === "rollBack") {
          heap.rollBack();
          model = new Map(committed);
        } else {
          const due = heap.pop(atMs);
          const least = Math.min(...model.values());
          expect(due?.atMs).toBe(least <= atMs ? least : undefined);
          if (due !== undefined) expect(model.get(due.key)).toBe(due.atMs);
          if (due !== undefined) model.delete(due.key);
        }
        expect(heap.nextMs()).toBe(model.size === 0 ? null : Math.min(...model.values()));
        expect(new Map(heap.all())).toEqual(model);
        expect(heap.size).toBe(model.size);
      }
    }),
  );
});

test("does not grow with deadlines that were cleared", () => {
  const heap = new DeadlineHeap();
  for (let n = 0; n < 50_000; n += 1) {
    heap.set(`job-${n}`, 3_600_000 + n);
    heap.clear(`job-${n}`);
  }
  heap.set("last", 5);
  expect(heap.size).toBe(1);
  expect(heap.pop(5)?.key).toBe("last");
});

test("ids sort by creation and come from the seed alone", () => {
  const source = () => ({ random: 42, jobCount: 0, workerCount: 0, accountCount: 0, transferCount: 0 });
  const ids = (from: ReturnType<typeof source>) => Array.from({ length: 100 }, () => newJobId(from));
  const made = ids(source());
  expect(made).toEqual(made.toSorted());
  expect(new Set(made.map((id) => id.slice(-6))).size).toBeGreaterThan(90);
  expect(ids(source())).toEqual(made);
  expect(nextRandom({ random: 1 })).toBe(nextRandom({ random: 1 }));
});
