import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  answerBytes,
  BLOCK_WORDS,
  chaseKey,
  commitmentOf,
  fillBlock,
  matrixKey,
  matrixWord,
  memoryKey,
  type ProofWork,
  prove,
  startLane,
} from "./index.ts";

interface Vectors {
  readonly state: string;
  readonly blocks: readonly { index: number; sha256: string; first: number; last: number }[];
  readonly lanes: readonly { lane: number; a: number; b: number }[];
  readonly words: readonly { index: number; word: number }[];
  readonly answers: readonly {
    work: Omit<ProofWork, "nonce"> & { readonly nonce: string };
    bytes: number;
    commitment: string;
  }[];
}

const file = new URL("../../fixtures/proof-v1.json", import.meta.url);
const vectors = JSON.parse(readFileSync(file, "utf8")) as Vectors;
const state = Buffer.from(vectors.state, "hex");

// Workers that are out there compute just this: vectors are added, never edited.
describe("the reference", () => {
  it.each(vectors.blocks)("makes block $index", ({ index, sha256, first, last }) => {
    const block = new Int32Array(BLOCK_WORDS);
    fillBlock(memoryKey(state), index, block);
    expect(createHash("sha256").update(new Uint8Array(block.buffer)).digest("hex")).toBe(sha256);
    const unsigned = new Uint32Array(block.buffer);
    expect([unsigned[0], unsigned.at(-1)]).toEqual([first, last]);
  });

  it("makes as much of a block as is asked for", () => {
    const whole = new Int32Array(BLOCK_WORDS);
    const part = new Int32Array(BLOCK_WORDS);
    fillBlock(memoryKey(state), 5, whole);
    fillBlock(memoryKey(state), 5, part, 0, 100);
    expect(part.subarray(0, 3200)).toEqual(whole.subarray(0, 3200));
    expect(part.subarray(3200)).not.toEqual(whole.subarray(3200));
  });

  it.each(vectors.lanes)("starts lane $lane", ({ lane, a, b }) => {
    expect(startLane(chaseKey(state), lane)).toEqual({ a, b });
  });

  it.each(vectors.words)("makes word $index of a matrix", ({ index, word }) => {
    expect(matrixWord(matrixKey(state, 7), index)).toBe(word);
  });

  it.each(vectors.answers)("answers $commitment", ({ work, bytes, commitment }) => {
    const given = { ...work, nonce: Buffer.from(work.nonce, "base64url") };
    const answer = prove(given);
    expect(answer).toHaveLength(bytes);
    expect(answerBytes(given)).toBe(bytes);
    expect(commitmentOf(answer)).toBe(commitment);
  });
});
