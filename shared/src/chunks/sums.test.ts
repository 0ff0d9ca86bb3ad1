import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sumOf } from "./sums.ts";

describe("a sum", () => {
  it("is that of its bytes alone", () => {
    const some = fc.uint8Array({ minLength: 1, maxLength: 20_000 });
    fc.assert(
      fc.property(some, fc.nat(), fc.integer({ min: 1, max: 255 }), (bytes, at, bits) => {
        const place = at % bytes.length;
        const changed = Uint8Array.from(bytes);
        changed[place] = (changed[place] ?? 0) ^ bits;
        const others = [changed, bytes.subarray(1), bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.alloc(1)])];
        for (const other of others) expect(sumOf(other)).not.toBe(sumOf(bytes));
        expect(sumOf(Uint8Array.from(bytes))).toBe(sumOf(bytes));
      }),
    );
  });

  it("is that of the standard's test case", () => {
    // McGrew and Viega, "The Galois/Counter Mode of Operation", test case 1: no text, nothing to authenticate, everything zero.
    expect(Buffer.from(sumOf(new Uint8Array(0)), "base64url").toString("hex")).toBe("58e2fccefa7e3061367f1d57a4e7455a");
  });
});
