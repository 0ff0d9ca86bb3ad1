// One thread of the program for cores: does the part that it is told, on memory that all of them share.
import { parentPort, workerData } from "node:worker_threads";
import { BLOCK_WORDS, fillBlock, LANE_BYTES, multiplyRows, startLane, stepLane } from "@qubix/shared/proof";

/** Made once, given to every thread. */
export interface Shared {
  readonly memory: Int32Array;
  readonly ends: Uint8Array;
  readonly matrices: readonly [Uint16Array, Uint16Array];
  readonly size: number;
}

interface Range {
  readonly key: Uint32Array;
  readonly from: number;
  readonly to: number;
}

export type Part =
  | (Range & { readonly kind: "fill" })
  | (Range & { readonly kind: "walk"; readonly steps: number; readonly blocks: number })
  /** `source`: which of the two matrices is X now; the other one becomes the next. */
  | (Range & { readonly kind: "multiply"; readonly source: number });

const shared = workerData as Shared;

parentPort?.on("message", (part: Part) => {
  carryOut(part);
  parentPort?.postMessage("done", []);
});

parentPort?.postMessage("ready", []);

function carryOut(part: Part): void {
  const { memory, matrices, size } = shared;
  switch (part.kind) {
    case "fill":
      for (let block = part.from; block < part.to; block += 1) fillBlock(part.key, block, memory, block * BLOCK_WORDS);
      return;
    case "walk":
      walk(part);
      return;
    case "multiply": {
      const source = matrices[part.source as 0 | 1];
      const target = matrices[(1 - part.source) as 0 | 1];
      multiplyRows(part.key, size, source, target, part.from, part.to);
    }
  }
}

function walk({ key, from, to, steps, blocks }: Extract<Part, { kind: "walk" }>): void {
  const { memory } = shared;
  const ends = new DataView(shared.ends.buffer);
  const read = (block: number, word: number) => memory[block * BLOCK_WORDS + word] as number;
  for (let index = from; index < to; index += 1) {
    const lane = startLane(key, index);
    for (let step = 0; step < steps; step += 1) stepLane(lane, blocks, read);
    ends.setUint32(index * LANE_BYTES, lane.a, true);
    ends.setUint32(index * LANE_BYTES + 4, lane.b, true);
  }
}
