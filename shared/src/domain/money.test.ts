import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  chargeBetween,
  chargeFor,
  divideHold,
  feeOf,
  formatUnits,
  holdFor,
  msUntil,
  msWithin,
  splitByLargestRemainder,
} from "./money.ts";

const rate = fc.bigInt({ min: 0n, max: 10_000_000_000n });

describe("chargeFor", () => {
  it("floors to whole micro-units", () => {
    expect(chargeFor(3_600_000n, 1)).toBe(1n);
    expect(chargeFor(3_599_999n, 1)).toBe(0n);
    expect(chargeFor(600_000n, 3_600_000)).toBe(600_000n);
  });
  it("refuses negative and fractional time", () => {
    expect(() => chargeFor(1n, -1)).toThrow(RangeError);
    expect(() => chargeFor(1n, 0.5)).toThrow(RangeError);
    expect(() => chargeFor(-1n, 1)).toThrow(RangeError);
  });
  it("never lets a part of the duration cost more than the hold", () => {
    fc.assert(
      fc.property(
        rate,
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (price, durationS, part) => {
          const ms = Math.floor(durationS * 1000 * part);
          expect(chargeFor(price, ms) <= holdFor(price, durationS)).toBe(true);
        },
      ),
    );
  });
});

describe("msWithin and msUntil", () => {
  it("are the last moment that an amount pays, and the first at which it is charged", () => {
    const amount = fc.bigInt({ min: 1n, max: 1_000_000_000n });
    fc.assert(
      fc.property(fc.bigInt({ min: 1n, max: 10_000_000_000n }), amount, (perHour, units) => {
        const ms = msWithin(perHour, units);
        expect(chargeFor(perHour, ms) <= units && chargeFor(perHour, ms + 1) > units).toBe(true);
        const first = msUntil(perHour, units);
        expect(chargeFor(perHour, first) >= units && chargeFor(perHour, first - 1) < units).toBe(true);
      }),
    );
  });
  it("never end where nothing is charged, and begin at once where nothing is left", () => {
    expect(msWithin(0n, 0n)).toBe(Number.MAX_SAFE_INTEGER);
    expect(msUntil(1n, 10n ** 30n)).toBe(Number.MAX_SAFE_INTEGER);
    expect([msWithin(3_600_000n, 0n), msUntil(3_600_000n, 0n)]).toEqual([0, 0]);
    expect(() => msWithin(1n, -1n)).toThrow(RangeError);
  });
});

describe("splitByLargestRemainder", () => {
  it("gives sums that are exact and shares within one unit of their proportion", () => {
    const claims = fc.uniqueArray(
      fc.record({ id: fc.string({ minLength: 1 }), weight: fc.bigInt({ min: 0n, max: 1_000_000_000n }) }),
      {
        minLength: 1,
        maxLength: 8,
        selector: (claim) => claim.id,
      },
    );
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 1_000_000_000_000n }), claims, (total, list) => {
        const weights = list.reduce((sum, claim) => sum + claim.weight, 0n);
        fc.pre(weights > 0n);
        const shares = splitByLargestRemainder(total, list);
        expect([...shares.values()].reduce((sum, share) => sum + share, 0n)).toBe(total);
        for (const claim of list) {
          const exact = total * claim.weight;
          const distance = (shares.get(claim.id) ?? -1n) * weights - exact;
          expect(distance > -weights && distance <= weights).toBe(true);
        }
      }),
    );
  });
  it("breaks ties by id", () => {
    const shares = splitByLargestRemainder(1n, [
      { id: "b", weight: 1n },
      { id: "a", weight: 1n },
    ]);
    expect([...shares].sort()).toEqual([
      ["a", 1n],
      ["b", 0n],
    ]);
  });
  it("refuses to split something among nobody", () => {
    expect(() => splitByLargestRemainder(1n, [{ id: "a", weight: 0n }])).toThrow(RangeError);
  });
});

describe("chargeBetween", () => {
  it("adds up to the charge of the whole, however it is cut into windows", () => {
    const cuts = fc.array(fc.nat(100_000_000), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(rate, cuts, (ratePerHour, moments) => {
        const ends = moments.toSorted((a, b) => a - b);
        const windows = ends.map((endMs, n) => chargeBetween(ratePerHour, ends[n - 1] ?? 0, endMs));
        expect(windows.every((charge) => charge >= 0n)).toBe(true);
        expect(windows.reduce((sum, charge) => sum + charge, 0n)).toBe(chargeFor(ratePerHour, ends.at(-1) ?? 0));
      }),
      { numRuns: 5_000 },
    );
  });
  it("is not for windows that end before they begin", () => {
    expect(() => chargeBetween(1n, 2, 1)).toThrow(RangeError);
  });
});

describe("divideHold", () => {
  it("gives net + fee + refund = hold for any job with 1 to 8 payees, each paid by what its work cost", () => {
    const payees = fc.array(fc.record({ ratePerHour: rate, ms: fc.nat(864_000_000) }), { minLength: 1, maxLength: 8 });
    const job = fc.record({ payees, hold: fc.oneof(fc.bigInt({ min: 0n, max: 10_000n }), fc.constant(10n ** 14n)) });
    let capped = 0;
    fc.assert(
      fc.property(job, ({ payees: all, hold }) => {
        const claims = all.map(({ ratePerHour, ms }, n) => ({ id: `payee-${n}`, weight: chargeFor(ratePerHour, ms) }));
        const due = claims.reduce((sum, { weight }) => sum + weight, 0n);
        const { gross, fee, shares, refund } = divideHold(hold, claims);
        const net = [...shares.values()].reduce((sum, share) => sum + share, 0n);
        if (due > hold) capped += 1;
        expect(net + fee + refund).toBe(hold);
        expect([gross, fee, net]).toEqual([due < hold ? due : hold, feeOf(gross), gross - fee]);
        for (const { id, weight } of claims) {
          const share = shares.get(id) ?? -1n;
          // Within one unit of its exact part, and nobody without work is paid.
          const apart = share * due - (gross - fee) * weight;
          expect(apart < due && apart > -due).toBe(due > 0n);
          expect(share >= 0n && (weight > 0n || share === 0n)).toBe(true);
        }
      }),
      { numRuns: 20_000 },
    );
    expect(capped).toBeGreaterThan(1_000);
  });
  it("takes the fee once a job, not once a payee", () => {
    const claims = ["a", "b", "c"].map((id) => ({ id, weight: 19n }));
    expect(divideHold(100n, claims)).toMatchObject({ gross: 57n, fee: 2n, refund: 43n });
  });
});

describe("fee, hold and format", () => {
  it("takes 5% rounded down", () => {
    expect(feeOf(1_000n)).toBe(50n);
    expect(feeOf(19n)).toBe(0n);
  });
  it("rounds the hold up", () => {
    expect(holdFor(1n, 1)).toBe(1n);
    expect(holdFor(3_600n, 7)).toBe(7n);
  });
  it("shows units for people", () => {
    expect(formatUnits(1_250_000n)).toBe("1.25");
    expect(formatUnits(-5n)).toBe("-0.000005");
    expect(formatUnits(2_000_000n)).toBe("2.00");
  });
});
