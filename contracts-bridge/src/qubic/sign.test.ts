import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodePoint, encodePoint } from "./curve.ts";
import { identityOf, publicKeyOf } from "./identity.ts";
import { keyPairOf, signDigest, verifyDigest } from "./sign.ts";

interface Vector {
  readonly seed: string;
  readonly identity: string;
  readonly publicKey: string;
  readonly digest: string;
  readonly signature: string;
}

/** Recorded from an independent implementation. */
const VECTORS = JSON.parse(readFileSync(new URL("testing/vectors.json", import.meta.url), "utf8")) as Vector[];
const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (of: Uint8Array) => Buffer.from(of).toString("hex");

describe("keys, identities and signatures", () => {
  it.each(VECTORS)("of $identity are those of another implementation, byte for byte", (vector) => {
    const pair = keyPairOf(vector.seed);
    expect(hex(pair.publicKey)).toBe(vector.publicKey);
    expect(identityOf(pair.publicKey)).toBe(vector.identity);
    expect(hex(publicKeyOf(vector.identity) ?? new Uint8Array())).toBe(vector.publicKey);
    expect(hex(signDigest(pair, bytes(vector.digest)))).toBe(vector.signature);
    expect(verifyDigest(pair.publicKey, bytes(vector.digest), bytes(vector.signature))).toBe(true);
  });
});

describe("a flipped bit", () => {
  const [vector] = VECTORS as [Vector];
  const flipped = (of: Uint8Array, bit: number) => {
    const copy = Uint8Array.from(of);
    copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    return copy;
  };

  it("anywhere in a signature, a digest or a key makes it wrong", () => {
    const [key, digest, signature] = [bytes(vector.publicKey), bytes(vector.digest), bytes(vector.signature)];
    for (let bit = 0; bit < 512; bit += 5) expect(verifyDigest(key, digest, flipped(signature, bit))).toBe(false);
    for (let bit = 0; bit < 256; bit += 9) {
      expect(verifyDigest(key, flipped(digest, bit), signature)).toBe(false);
      expect(verifyDigest(flipped(key, bit), digest, signature)).toBe(false);
    }
  });

  it("in an identity is found by its sum", () => {
    for (let at = 0; at < vector.identity.length; at += 1) {
      const letter = vector.identity[at] === "A" ? "B" : "A";
      expect(publicKeyOf(vector.identity.slice(0, at) + letter + vector.identity.slice(at + 1))).toBeUndefined();
    }
  });
});

it("a point is itself again after 32 bytes, and other bytes are mostly none", () => {
  let points = 0;
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (raw) => {
      const point = decodePoint(raw);
      if (point === undefined) return;
      points += 1;
      expect(hex(encodePoint(point))).toBe(hex(raw));
    }),
    { numRuns: 60 },
  );
  expect(points).toBeGreaterThan(0);
  expect(decodePoint(new Uint8Array(31))).toBeUndefined();
  expect(decodePoint(new Uint8Array(32).fill(0xff))).toBeUndefined();
});

it("a seed is 55 small letters, and nothing else", () => {
  for (const seed of ["", "a".repeat(54), "a".repeat(56), "A".repeat(55), `${"a".repeat(54)}1`]) {
    expect(() => keyPairOf(seed)).toThrow(/55 letters/);
  }
});
