import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AccountId } from "@qubix/shared/domain";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BODY_AT, createChunkCipher, SEAL_BYTES, sealInPlace } from "./chunk-cipher.ts";
import { cidOf } from "./cid.ts";
import { createSealer } from "./sealer.ts";

const KEY = Buffer.alloc(32, 7);
const contents = fc.uint8Array({ maxLength: 300 });
const keys = fc.uint8Array({ minLength: 32, maxLength: 32 });

const sumOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();
const seal = (plain: Uint8Array, key: Uint8Array = KEY): Uint8Array => {
  const file = new Uint8Array(plain.length + SEAL_BYTES);
  file.set(plain, BODY_AT);
  const sum = sealInPlace(file, plain.length, key, sumOf(plain));
  expect(sum).toEqual(sumOf(file));
  return file;
};

describe("a sealed chunk", () => {
  it("is opened by its consumer's key alone, whichever chunk it is", () => {
    fc.assert(
      fc.property(contents, keys, (plain, key) => {
        const cipher = createChunkCipher(key);
        const file = seal(plain, key);
        expect(cipher.open(file, sumOf(plain))).toEqual(Buffer.from(plain));
        expect(cipher.openAny(file)).toEqual(Buffer.from(plain));
      }),
    );
  });

  it("is the same file for the same bytes of one consumer, and shares nothing with another's", () => {
    fc.assert(
      fc.property(contents, keys, keys, (plain, one, other) => {
        fc.pre(Buffer.compare(one, other) !== 0);
        expect(seal(plain, one)).toEqual(seal(plain, one));
        expect(seal(plain, one).subarray(1, BODY_AT)).not.toEqual(seal(plain, other).subarray(1, BODY_AT));
        expect(createChunkCipher(other).openAny(seal(plain, one))).toBeUndefined();
      }),
    );
  });

  it("with any bit flipped, or cut anywhere, is not opened", () => {
    const plain = randomBytes(100);
    const cipher = createChunkCipher(KEY);
    const file = seal(plain);
    for (let bit = 0; bit < file.length * 8; bit += 1) {
      const flipped = Uint8Array.from(file);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(cipher.open(flipped, sumOf(plain))).toBeUndefined();
      expect(cipher.openAny(flipped)).toBeUndefined();
    }
    for (let length = 0; length < file.length; length += 1) {
      expect(cipher.open(file.subarray(0, length), sumOf(plain))).toBeUndefined();
      expect(cipher.openAny(file.subarray(0, length))).toBeUndefined();
    }
  });

  it("is not taken for another chunk of the same consumer", () => {
    const cipher = createChunkCipher(KEY);
    expect(cipher.open(seal(Buffer.from("one")), sumOf(Buffer.from("other")))).toBeUndefined();
  });

  it("has the layout that whoever reads it elsewhere relies on", () => {
    const file = seal(Buffer.from("hello"));
    expect(Buffer.from(file).toString("hex")).toMatchInlineSnapshot(
      `"01f03581802c30ec64103b4ac8fbbec643cf5056e1f265662d6c738c31f23c9f92d1051eb9ccd8179f85a638e220dcbf78160da446df"`,
    );
  });
});

describe("the sealer", () => {
  it("makes the same files in its threads as in place, many at a time, and refuses other bytes than were said", async () => {
    const root = mkdtempSync(join(tmpdir(), "qubix-sealer-"));
    const account = "acc-test" as AccountId;
    const sealer = createSealer(root);
    const chunks = Array.from({ length: 40 }, (_, n) => randomBytes(n % 2 === 0 ? 1024 : 300_000));
    const names = await Promise.all(
      chunks.map((plain) => sealer.write(account, [plain.subarray(0, 500), plain.subarray(500)], KEY, sumOf(plain))),
    );
    chunks.forEach((plain, n) => {
      const name = names[n] ?? "";
      expect(readFileSync(join(root, account, name.slice(-2), name)).equals(seal(plain))).toBe(true);
      expect(name).toBe(cidOf(seal(plain)));
    });
    expect(readdirSync(join(root, account, ".tmp"))).toEqual([]);
    const [plain = Buffer.alloc(0)] = chunks.slice(-1);
    expect(await sealer.write(account, [plain], KEY, sumOf(Buffer.from("other")))).toBeUndefined();
    // A folder that cannot be made: this one fails, the next is stored.
    await expect(sealer.write("acc-\0" as AccountId, [plain], KEY, sumOf(plain))).rejects.toThrow(/account/);
    expect(await sealer.write(account, [plain], KEY, sumOf(plain))).toBe(names.at(-1));
    await sealer.stop();
    await sealer.stop();
    await expect(sealer.write(account, [plain], KEY, sumOf(plain))).rejects.toThrow(/stopped/);
    rmSync(root, { recursive: true });
  });
});
