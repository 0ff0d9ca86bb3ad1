// The sizes of a proof that are fixed, and what follows from a challenge. The README beside this file is the specification.
import type { ProofTarget } from "../protocol/worker-messages.ts";

/** Words (32 bits) side by side: one warp of a GPU, or a few vector registers. */
export const ROW_WORDS = 32;
export const BLOCK_ROWS = 512;
export const BLOCK_WORDS = ROW_WORDS * BLOCK_ROWS;
export const BLOCK_BYTES = BLOCK_WORDS * 4;
export const BLOCKS_PER_MIB = (1024 * 1024) / BLOCK_BYTES;
/** After the first filling every row is rewritten this often, each time from a place that the content itself chooses. */
export const MIXING_PASSES = 2;
/** Steps of a walk in one round; then the memory is filled anew. A verifier recomputes a block for each of them. */
export const ROUND_STEPS = 256;
/** Walks side by side. A GPU needs many to be busy; on cores each costs time. */
export const LANES = { gpu: 32_768, cpu: 1_024 } as const;
/** Where a walk stands: two words. */
export const LANE_BYTES = 8;
/** The largest prime of 16 bits. */
export const MODULUS = 65_521;
/** Addresses of blocks are 26 bits: 4 TiB. */
export const MEMORY_MIB_MAX = 2 ** 26 / BLOCKS_PER_MIB;
export const MATRIX_SIZE_MULTIPLE = 16;
export const NONCE_BYTES = 32;

/** What a challenge asks for; `memoryMiB` is what was filled in the end, as the commit says it. */
export interface ProofWork {
  readonly target: ProofTarget;
  readonly nonce: Uint8Array;
  readonly memoryMiB: number;
  readonly chaseSteps: number;
  readonly matrixSize: number;
  readonly matrixSteps: number;
}

export function lanesOf(target: ProofTarget): number {
  return LANES[target.kind];
}

export function blocksOf(memoryMiB: number): number {
  return memoryMiB * BLOCKS_PER_MIB;
}

/** How many steps each round takes: whole rounds, and what is left. */
export function roundSteps(chaseSteps: number): number[] {
  const rounds = Math.ceil(chaseSteps / ROUND_STEPS);
  return Array.from({ length: rounds }, (_, round) => Math.min(ROUND_STEPS, chaseSteps - round * ROUND_STEPS));
}

/** How long the answer to this work is. */
export function answerBytes(work: Pick<ProofWork, "target" | "chaseSteps" | "matrixSize">): number {
  const walks = Math.ceil(work.chaseSteps / ROUND_STEPS) * lanesOf(work.target) * LANE_BYTES;
  return walks + productBytes(work.matrixSize);
}

export function productBytes(matrixSize: number): number {
  return matrixSize * matrixSize * 2;
}
