import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { publicKeyOf } from "./identity.ts";
import { keyPairOf } from "./sign.ts";
import { contractAddress, signTransaction } from "./transaction.ts";

interface Vector {
  readonly seed: string;
  readonly destination: string;
  readonly amount: number;
  readonly tick: number;
  readonly bytes: string;
}

/** Recorded from an independent implementation. */
const VECTORS = JSON.parse(readFileSync(new URL("testing/transactions.json", import.meta.url), "utf8")) as Vector[];

describe("a transaction", () => {
  it.each(VECTORS)("of $amount qu for tick $tick is what another implementation makes, byte for byte", (vector) => {
    const destination = publicKeyOf(vector.destination);
    if (destination === undefined) throw new Error("the vector's destination is none");
    const call = {
      destination,
      amount: BigInt(vector.amount),
      tick: vector.tick,
      inputType: 0,
      input: new Uint8Array(),
    };
    const { bytes } = signTransaction(keyPairOf(vector.seed), call);
    expect(Buffer.from(bytes).toString("hex")).toBe(vector.bytes);
  });

  it("carries its input before the signature, and says how long that is", () => {
    const call = { destination: contractAddress(27), amount: 5n, tick: 9, inputType: 3, input: Uint8Array.of(1, 2, 3) };
    const { bytes } = signTransaction(keyPairOf("a".repeat(55)), call);
    expect(bytes).toHaveLength(80 + 3 + 64);
    expect([...bytes.subarray(32, 40)]).toEqual([27, 0, 0, 0, 0, 0, 0, 0]);
    expect([...bytes.subarray(76, 83)]).toEqual([3, 0, 3, 0, 1, 2, 3]);
  });

  it("says no to what it cannot say", () => {
    const pair = keyPairOf("b".repeat(55));
    const call = { destination: contractAddress(1), amount: 0n, tick: 1, inputType: 1, input: new Uint8Array() };
    expect(() => signTransaction(pair, { ...call, amount: -1n })).toThrow(RangeError);
    expect(() => signTransaction(pair, { ...call, amount: 10n ** 15n + 1n })).toThrow(RangeError);
    expect(() => signTransaction(pair, { ...call, input: new Uint8Array(1_025) })).toThrow(RangeError);
    expect(() => signTransaction(pair, { ...call, destination: new Uint8Array(31) })).toThrow(RangeError);
  });
});
