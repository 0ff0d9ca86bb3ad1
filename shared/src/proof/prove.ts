// The whole of a proof, one thing after the other: what every faster program must match bit for bit.
import { startLane, stepLane } from "./chase.ts";
import { multiplyRows, startMatrix } from "./matrices.ts";
import { fillBlock } from "./memory.ts";
import { BLOCK_WORDS, blocksOf, LANE_BYTES, lanesOf, type ProofWork, roundSteps } from "./parameters.ts";
import { chaseKey, firstState, matrixKey, memoryKey, nextState, startKey } from "./seeds.ts";

/** The answer: for every round the lanes where they ended, then the product, all little endian. Slow: for tests and vectors. */
export function prove(work: ProofWork): Uint8Array {
  const blocks = blocksOf(work.memoryMiB);
  const memory = new Int32Array(blocks * BLOCK_WORDS);
  const parts: Uint8Array[] = [];
  let state = firstState(work);
  for (const steps of roundSteps(work.chaseSteps)) {
    const key = memoryKey(state);
    for (let block = 0; block < blocks; block += 1) fillBlock(key, block, memory, block * BLOCK_WORDS);
    const ends = walk(chaseKey(state), lanesOf(work.target), steps, memory);
    parts.push(ends);
    state = nextState(state, ends);
  }
  let x = startMatrix(startKey(state), work.matrixSize);
  for (let step = 0; step < work.matrixSteps; step += 1) {
    const product = new Uint16Array(x.length);
    multiplyRows(matrixKey(state, step), work.matrixSize, x, product);
    x = product;
  }
  parts.push(encodeProduct(x));
  return Buffer.concat(parts);
}

function walk(key: Uint32Array, lanes: number, steps: number, memory: Int32Array): Uint8Array {
  const blocks = memory.length / BLOCK_WORDS;
  const read = (block: number, word: number) => memory[block * BLOCK_WORDS + word] as number;
  const ends = new DataView(new ArrayBuffer(lanes * LANE_BYTES));
  for (let index = 0; index < lanes; index += 1) {
    const lane = startLane(key, index);
    for (let step = 0; step < steps; step += 1) stepLane(lane, blocks, read);
    ends.setUint32(index * LANE_BYTES, lane.a, true);
    ends.setUint32(index * LANE_BYTES + 4, lane.b, true);
  }
  return new Uint8Array(ends.buffer);
}

function encodeProduct(matrix: Uint16Array): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(matrix.length * 2));
  for (const [index, value] of matrix.entries()) bytes.setUint16(index * 2, value, true);
  return new Uint8Array(bytes.buffer);
}
