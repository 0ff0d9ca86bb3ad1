import { describe, expect, it } from "vitest";
import { RecentMap } from "./recent-map.ts";

const KEPT_MIN = 5;

describe("a recent map", () => {
  it("has at least the newest so many, and at most twice as many", () => {
    const map = new RecentMap<number, string>(KEPT_MIN);
    for (let n = 0; n < 10 * KEPT_MIN; n += 1) {
      map.add(n, `value ${n}`);
      for (let newest = Math.max(0, n - KEPT_MIN + 1); newest <= n; newest += 1) {
        expect(map.get(newest)).toBe(`value ${newest}`);
      }
      expect(map.get(n - 2 * KEPT_MIN)).toBeUndefined();
      expect(map.size).toBeLessThanOrEqual(2 * KEPT_MIN);
    }
  });

  it("forgets what is deleted, new or older, and nothing else", () => {
    const map = new RecentMap<number, number>(KEPT_MIN);
    for (let n = 0; n < KEPT_MIN + 2; n += 1) map.add(n, n);
    map.delete(1);
    map.delete(KEPT_MIN + 1);
    expect([map.get(1), map.get(KEPT_MIN + 1), map.size]).toEqual([undefined, undefined, KEPT_MIN]);
    expect([map.get(0), map.get(KEPT_MIN)]).toEqual([0, KEPT_MIN]);
    // A step that was undone may come again.
    map.add(1, 11);
    expect(map.get(1)).toBe(11);
  });
});
