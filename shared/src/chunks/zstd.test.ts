import { randomBytes } from "node:crypto";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createDeflater, createInflater, deflatedBytesMax } from "./zstd.ts";

const repeating = fc
  .tuple(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.integer({ min: 1, max: 900 }))
  .map(([bytes, times]) => Buffer.concat(Array.from({ length: times }, () => bytes)));
const plain = fc.oneof(fc.uint8Array({ maxLength: 200_000 }), repeating);

function packed(bytes: Uint8Array, deflater = createDeflater({})): Uint8Array {
  const out = new Uint8Array(deflatedBytesMax(bytes.length));
  return out.subarray(0, deflater.deflate(bytes, out));
}

describe("zstd in memory that is used again", () => {
  it("makes frames that Node reads, one after the other, and reads those that Node makes", () => {
    const [deflater, inflater] = [createDeflater({}), createInflater()];
    fc.assert(
      fc.property(plain, (bytes) => {
        expect(Buffer.compare(zstdDecompressSync(packed(bytes, deflater)), bytes)).toBe(0);
        const out = new Uint8Array(bytes.length);
        inflater.inflate(zstdCompressSync(bytes), out);
        expect(Buffer.compare(out, bytes)).toBe(0);
      }),
    );
  });

  it("refuses what is damaged, cut, longer or shorter than said, and then goes on as before", () => {
    const inflater = createInflater();
    const bytes = Buffer.concat([randomBytes(700), Buffer.alloc(5000, "abc"), randomBytes(700)]);
    const frame = packed(bytes);
    const out = new Uint8Array(bytes.length);
    const isRead = (input: Uint8Array, into = out) => {
      try {
        inflater.inflate(input, into);
        return true;
      } catch {
        return false;
      }
    };
    for (let length = 0; length < frame.length; length += 1) expect(isRead(frame.subarray(0, length))).toBe(false);
    expect(isRead(frame, new Uint8Array(bytes.length - 1))).toBe(false);
    expect(isRead(frame, new Uint8Array(bytes.length + 1))).toBe(false);
    expect(isRead(Buffer.concat([frame, Buffer.from("x")]))).toBe(false);
    expect(isRead(Buffer.concat([frame, frame]), new Uint8Array(2 * bytes.length))).toBe(false);
    expect(isRead(randomBytes(50))).toBe(false);
    expect(isRead(frame)).toBe(true);
    expect(Buffer.compare(out, bytes)).toBe(0);
  });

  it("says when there is no room, and then goes on as before", () => {
    const deflater = createDeflater({});
    const bytes = randomBytes(10_000);
    for (const room of [0, 1, 5000, 10_000]) {
      expect(() => deflater.deflate(bytes, new Uint8Array(room))).toThrow(/no room/);
    }
    expect(Buffer.compare(zstdDecompressSync(packed(bytes, deflater)), bytes)).toBe(0);
  });
});
