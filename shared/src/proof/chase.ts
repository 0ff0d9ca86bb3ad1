// The walks through the memory: where the next step goes is known only when the last one has been read.
import { BLOCK_WORDS } from "./parameters.ts";
import { GOLDEN, scramble } from "./scramble.ts";

/** Where a walk stands; unsigned words. */
export interface Lane {
  a: number;
  b: number;
}

export function startLane(key: Uint32Array, lane: number): Lane {
  const [k0 = 0, k1 = 0, k2 = 0, k3 = 0] = key;
  const spread = Math.imul(lane + 1, GOLDEN);
  return {
    a: scramble(scramble(spread ^ k0) ^ k1) >>> 0,
    b: scramble(scramble(spread ^ k2) ^ k3) >>> 0,
  };
}

/** The block that a lane looks into: 26 bits of `a`, scaled to how many there are. */
export function blockAt(a: number, blocks: number): number {
  return Math.floor(((a >>> 6) * blocks) / 2 ** 26);
}

export function wordAt(b: number): number {
  return b & (BLOCK_WORDS - 1);
}

/** One step, in place; `read` gives a word of a block, signed or not. */
export function stepLane(lane: Lane, blocks: number, read: (block: number, word: number) => number): void {
  const { a, b } = lane;
  const value = read(blockAt(a, blocks), wordAt(b));
  lane.a = scramble(((a ^ value) + b) | 0) >>> 0;
  lane.b = scramble(((b + value) | 0) ^ ((a << 16) | (a >>> 16))) >>> 0;
}
