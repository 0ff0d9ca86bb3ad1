import { createHash, randomBytes } from "node:crypto";
import { CID } from "multiformats/cid";
import * as raw from "multiformats/codecs/raw";
import { create } from "multiformats/hashes/digest";
import { expect, it } from "vitest";
import { cidOf, isNamed } from "./cid.ts";

const SHA2_256 = 0x12;

it("names bytes as every IPFS node does", async () => {
  for (let length = 0; length < 100; length += 1) {
    const bytes = new Uint8Array(randomBytes(length));
    const digest = create(SHA2_256, createHash("sha256").update(bytes).digest());
    expect(cidOf(bytes)).toBe(CID.createV1(raw.code, digest).toString());
    expect(await isNamed(cidOf(bytes), bytes)).toBe(true);
    expect(await isNamed(cidOf(randomBytes(33)), bytes)).toBe(false);
  }
});
