import { createHash, randomBytes } from "node:crypto";
import { CID } from "multiformats/cid";
import * as raw from "multiformats/codecs/raw";
import { create } from "multiformats/hashes/digest";
import { expect, it } from "vitest";
import { cidOf, cidOfSum } from "@qubix/shared/chunks";

const SHA2_256 = 0x12;

it("are those that every IPFS node gives", () => {
  for (let length = 0; length < 100; length += 1) {
    const bytes = randomBytes(length);
    const sum = createHash("sha256").update(bytes).digest();
    expect(cidOf(bytes)).toBe(CID.createV1(raw.code, create(SHA2_256, sum)).toString());
    expect(cidOfSum(sum)).toBe(cidOf(bytes));
  }
});
