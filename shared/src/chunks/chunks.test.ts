import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ChunkCid } from "../domain/index.ts";
import type { ChunkRef } from "../protocol/index.ts";
import { decodeLayer, decodePiece, encodePiece, encodeSparse } from "./codec.ts";
import { stepsBetween, takeSteps } from "./steps.ts";
import { estimate } from "./entropy.ts";
import { sumOf } from "./sums.ts";
import { joinPlanes, PLANE_WIDTHS, splitPlanes, xorInto } from "./planes.ts";

const CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e" as ChunkCid;
const bytes = fc.uint8Array({ maxLength: 4096 });

describe("planes", () => {
  it.each(PLANE_WIDTHS)("of width %i are joined to what was split, at any place in memory", (width) => {
    fc.assert(
      fc.property(bytes, fc.integer({ min: 0, max: 7 }), (plain, offset) => {
        const moved = new Uint8Array(plain.length + offset).subarray(offset);
        moved.set(plain);
        const whole = moved.subarray(0, plain.length - (plain.length % width));
        expect(joinPlanes(splitPlanes(whole, width), width)).toEqual(Uint8Array.from(whole));
      }),
    );
  });

  it("group the bytes of numbers by their place", () => {
    const numbers = Uint32Array.from({ length: 9 }, (_, n) => 0x04030200 + n);
    const planes = splitPlanes(new Uint8Array(numbers.buffer), 4);
    expect([...planes.subarray(0, 9)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect([...planes.subarray(27)]).toEqual(Array.from({ length: 9 }, () => 4));
  });

  it("XORed twice with the same are what they were, as far as that goes", () => {
    fc.assert(
      fc.property(bytes, bytes, (one, other) => {
        const twice = Uint8Array.from(one);
        xorInto(twice, other);
        expect(twice.every((byte, at) => byte === ((one[at] ?? 0) ^ (other[at] ?? 0)))).toBe(true);
        xorInto(twice, other);
        expect(twice).toEqual(one);
      }),
    );
  });
});

describe("steps", () => {
  it.each([2, 4] as const)("of numbers of %i bytes lead from any bits to any others", (width) => {
    fc.assert(
      fc.property(bytes, fc.nat(), (before, seed) => {
        const now = before.map((byte, at) => (byte * 31 + at * seed) & 0xff);
        const taken = Uint8Array.from(before);
        takeSteps(taken, stepsBetween(before, now, width), width);
        expect(taken).toEqual(now);
      }),
    );
  });

  it("are small where numbers are near, also across zero and exponents", () => {
    const before = Float32Array.of(1, -1, 0.999_999_94, 0, -0);
    const now = Float32Array.of(1.000_000_1, -1.000_000_1, 1, -0, 1e-45);
    const steps = stepsBetween(new Uint8Array(before.buffer), new Uint8Array(now.buffer), 4);
    expect([...new Uint32Array(steps.buffer)]).toEqual([2, 1, 2, 1, 4]);
  });
});

describe("a piece", () => {
  it("is decoded to what was encoded, whatever the estimate says", () => {
    fc.assert(
      fc.property(
        bytes,
        fc.constantFrom(...PLANE_WIDTHS),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 8, maxLength: 8 }),
        (plain, width, [share = 1, ...shares]) => {
          const known = { width, share, shares: [share, ...shares].slice(0, width) };
          for (const { encoding, stored } of [encodePiece(plain, known), encodeSparse(plain)]) {
            expect(decodeLayer(stored, encoding, plain.length)).toEqual(plain);
          }
        },
      ),
    );
  });

  it.each([
    ["weights in 32 bits", weights(), 4, "planes", 0.9],
    ["weights in bfloat16", bfloats(), 2, "planes", 0.75],
    ["text", new Uint8Array(Buffer.from("the same line again\n".repeat(5_000))), 1, "zstd", 0.05],
    ["bytes at random", new Uint8Array(randomBytes(100_000)), 1, "raw", 1],
  ] as const)("of %s is encoded as suits it", (_, plain, width, encoding, shareMax) => {
    if (encoding === "planes") expect(estimate(plain).width).toBe(width);
    const encoded = encodePiece(plain);
    expect(encoded.encoding).toBe(encoding);
    expect(encoded.stored.length / plain.length).toBeLessThanOrEqual(shareMax);
    expect(Buffer.compare(decodeLayer(encoded.stored, encoded.encoding, plain.length), plain)).toBe(0);
  });

  it("with layers and a part is what the last layer made it", () => {
    const [first, second] = [weights(), weights()];
    const difference = Uint8Array.from(second);
    xorInto(difference, first);
    const [base, layer] = [encodePiece(first), encodePiece(difference)];
    const ref: ChunkRef = {
      cid: CID,
      bytes: 100,
      stored: base.stored.length,
      encoding: base.encoding,
      layers: [{ cid: CID, stored: layer.stored.length, encoding: layer.encoding }],
      part: { from: 1001, of: second.length },
      sum: sumOf(second),
    };
    expect(decodePiece(ref, [base.stored, layer.stored])).toEqual(second.subarray(1001, 1101));
    const otherSum = { ...ref, sum: sumOf(first) };
    expect(() => decodePiece(otherSum, [base.stored, layer.stored])).toThrow(/another sum/);
    expect(() => decodePiece(ref, [base.stored])).toThrow(/lacks a layer/);
    expect(() => decodePiece({ ...ref, part: { from: 0, of: 100 } }, [base.stored, layer.stored])).toThrow(
      /to the 100/,
    );
  });

  it("with any bit flipped, or cut anywhere, is refused or decoded as it was, never otherwise", () => {
    const plain = weights().subarray(0, 8192);
    const ref = { cid: CID, bytes: plain.length, sum: sumOf(plain) };
    for (const { encoding, stored } of [
      encodePiece(plain),
      encodeSparse(plain),
      encodePiece(plain, { width: 1, share: 1, shares: [1] }),
    ]) {
      const decoded = (changed: Uint8Array) => {
        try {
          return decodePiece({ ...ref, stored: changed.length, encoding }, [changed]);
        } catch (error) {
          expect((error as { code?: string }).code).toBe("tree_corrupt");
          return plain;
        }
      };
      for (let bit = 0; bit < 2_000; bit += 7) {
        const flipped = Uint8Array.from(stored);
        const at = bit < 400 ? bit >> 3 : Math.floor((bit / 2_000) * stored.length);
        flipped[at] = (flipped[at] ?? 0) ^ (1 << (bit % 8));
        expect(Buffer.compare(decoded(flipped), plain)).toBe(0);
      }
      for (let length = 0; length < stored.length; length += 97) {
        expect(Buffer.compare(decoded(stored.slice(0, length)), plain)).toBe(0);
      }
    }
  });
});

/** Normally distributed, as weights are. */
function weights(): Uint8Array {
  const numbers = Float32Array.from({ length: 32_768 }, (_, n) => {
    const [u, v] = [(((n * 7919) % 32_749) + 1) / 32_750, ((n * 104_729) % 32_719) / 32_719];
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v) * 0.02 * (1 + Math.random() * 1e-3);
  });
  return new Uint8Array(numbers.buffer);
}

function bfloats(): Uint8Array {
  const words = new Uint32Array(weights().buffer);
  return new Uint8Array(Uint16Array.from(words, (word) => word >>> 16).buffer);
}
