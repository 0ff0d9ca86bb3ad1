import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  bytesOverLine,
  egressBytesOf,
  egressBytesWithin,
  egressChargeBetween,
  egressChargeFor,
  egressHoldFor,
} from "./egress.ts";

const GIB = 2 ** 30;
const price = fc.bigInt({ min: 0n, max: 10_000_000_000n });
const bytes = fc.nat({ max: 1_000_000 * GIB });

describe("egress by the GiB", () => {
  it("costs the price for a GiB, and rounds down", () => {
    expect(egressChargeFor(50_000n, GIB)).toBe(50_000n);
    expect(egressChargeFor(50_000n, GIB - 1)).toBe(49_999n);
    expect(egressChargeFor(0n, GIB)).toBe(0n);
    expect(egressBytesOf(0.001)).toBe(1_073_741);
    expect(() => egressChargeFor(1n, -1)).toThrow(RangeError);
    expect(() => egressChargeBetween(1n, 2, 1)).toThrow(RangeError);
  });

  it("totals the same however its bytes are cut into windows", () => {
    const run = fc.property(price, fc.array(fc.nat({ max: 100 * GIB }), { maxLength: 40 }), (perGiB, parts) => {
      let at = 0;
      let sum = 0n;
      for (const part of parts) {
        sum += egressChargeBetween(perGiB, at, at + part);
        at += part;
      }
      expect(sum).toBe(egressChargeFor(perGiB, at));
    });
    fc.assert(run, { numRuns: 1_000 });
  });

  it("knows exactly how many bytes an amount pays", () => {
    const run = fc.property(
      fc.bigInt({ min: 1n, max: 10_000_000_000n }),
      fc.bigInt({ min: 0n, max: 1n << 40n }),
      (perGiB, amount) => {
        const most = egressBytesWithin(perGiB, amount);
        if (most === Number.MAX_SAFE_INTEGER) return;
        expect(egressChargeFor(perGiB, most) <= amount).toBe(true);
        expect(egressChargeFor(perGiB, most + 1) > amount).toBe(true);
      },
    );
    fc.assert(run, { numRuns: 1_000 });
    expect(egressBytesWithin(0n, 5n)).toBe(Number.MAX_SAFE_INTEGER);
  });

  it("never comes to more than what is locked for it, at any price up to the highest", () => {
    const run = fc.property(price, price, bytes, bytes, (one, other, a, b) => {
      const [perGiB, most] = one < other ? [one, other] : [other, one];
      const [sent, max] = a < b ? [a, b] : [b, a];
      expect(egressChargeFor(perGiB, sent) <= egressHoldFor(most, max)).toBe(true);
    });
    fc.assert(run, { numRuns: 1_000 });
  });

  it("is bounded by what a line carries", () => {
    expect(bytesOverLine(100, 1_000)).toBe(12_500_000);
    expect(bytesOverLine(0.1, 1)).toBe(12);
    expect(bytesOverLine(1e9, Number.MAX_SAFE_INTEGER)).toBe(Number.MAX_SAFE_INTEGER);
  });
});
