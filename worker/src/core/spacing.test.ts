import fc from "fast-check";
import { expect, it } from "vitest";
import { nextStretch, STRETCH_MAX } from "./spacing.ts";

const ASKED_MS = 30_000;

it.each([
  [1, 29_000, true, 1],
  [1, 31_000, true, 2],
  [1, 31_000, false, 1],
  [1, 130_000, true, 8],
  [1, 10 ** 9, true, 8],
  [8, 119_000, true, 8],
  [8, 60_000, true, 4],
  [8, 0, true, 1],
  [2, 16_000, false, 2],
  [2, 15_000, false, 1],
])("stretch %i, shipped in %i ms, crowded %s: %i", (stretch, shipMs, crowded, next) => {
  expect(nextStretch(ASKED_MS, stretch, shipMs, crowded)).toBe(next);
});

it("settles: the same shipping time twice changes nothing more, whatever it was before", () => {
  fc.assert(
    fc.property(fc.constantFrom(1, 2, 4, 8), fc.nat(10_000_000), fc.boolean(), (stretch, shipMs, crowded) => {
      const once = nextStretch(ASKED_MS, stretch, shipMs, crowded);
      expect(once).toBeGreaterThanOrEqual(1);
      expect(once).toBeLessThanOrEqual(STRETCH_MAX);
      expect(nextStretch(ASKED_MS, once, shipMs, crowded)).toBe(once);
    }),
  );
});
