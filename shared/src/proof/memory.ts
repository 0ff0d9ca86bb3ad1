// The memory: blocks of 64 KiB, each made from its number alone, and only from its beginning to its end.
import { BLOCK_ROWS, MIXING_PASSES, ROW_WORDS } from "./parameters.ts";
import { GOLDEN, scramble } from "./scramble.ts";

const LANE_SPREAD = 0x85ebca77;
const MIX_A = 0x7feb352d;
const MIX_B = 0x846ca68b;
const LAST_ROW = (BLOCK_ROWS - 1) * ROW_WORDS;
const ROW_MASK = BLOCK_ROWS - 1;
const LAST_LANE = ROW_WORDS - 1;

/**
 * Fills block `index` into `out`, from word `at` on. `lastRows`: how many rows of the last pass are wanted; rows after them stay as the pass before
 * left them, which is all that a verifier needs who looks at one word. Signed words, because they are the faster ones here; the bits are the same.
 */
export function fillBlock(key: Uint32Array, index: number, out: Int32Array, at = 0, lastRows = BLOCK_ROWS): void {
  firstPass(key, index, out, at);
  for (let pass = 1; pass <= MIXING_PASSES; pass += 1) {
    mixingPass(out, at, pass === MIXING_PASSES ? lastRows : BLOCK_ROWS);
  }
}

/** The seed stands where the row before the first one is looked for: in the last. Then each row follows from the one before. */
function firstPass(key: Uint32Array, index: number, out: Int32Array, at: number): void {
  for (let lane = 0; lane < ROW_WORDS; lane += 1) {
    const salt = Math.imul(index, GOLDEN) ^ (key[lane & 7] as number);
    out[at + LAST_ROW + lane] = scramble((salt + Math.imul(lane + 1, LANE_SPREAD)) | 0);
  }
  let before = at + LAST_ROW;
  for (let row = 0; row < BLOCK_ROWS; row += 1) {
    const to = at + row * ROW_WORDS;
    const first = out[before] as number;
    let own = first;
    for (let lane = 0; lane < LAST_LANE; lane += 1) {
      const beside = out[before + lane + 1] as number;
      out[to + lane] = firstWord(own, beside, row);
      own = beside;
    }
    out[to + LAST_LANE] = firstWord(own, first, row);
    before = to;
  }
}

function firstWord(own: number, beside: number, row: number): number {
  let x = (own + ((beside << 11) | (beside >>> 21)) + row) | 0;
  x = Math.imul(x ^ (x >>> 15), MIX_A);
  x = Math.imul(x ^ (x >>> 13), MIX_B);
  return x ^ (x >>> 16);
}

/** Each row anew: from the one before, from itself, and from one that the row before chooses. */
function mixingPass(out: Int32Array, at: number, rows: number): void {
  let before = at + LAST_ROW;
  for (let row = 0; row < rows; row += 1) {
    const to = at + row * ROW_WORDS;
    const first = out[before] as number;
    const chosen = at + (first & ROW_MASK) * ROW_WORDS;
    let own = first;
    // A chosen row that is the row itself is read before it is written, word by word.
    for (let lane = 0; lane < LAST_LANE; lane += 1) {
      const beside = out[before + lane + 1] as number;
      out[to + lane] = mixedWord(own, beside, out[to + lane] as number, out[chosen + lane] as number);
      own = beside;
    }
    out[to + LAST_LANE] = mixedWord(own, first, out[to + LAST_LANE] as number, out[chosen + LAST_LANE] as number);
    before = to;
  }
}

function mixedWord(own: number, beside: number, here: number, far: number): number {
  let x = ((own + ((beside << 11) | (beside >>> 21))) | 0) ^ here;
  x = (Math.imul(x ^ (x >>> 15), MIX_A) + far) | 0;
  x = Math.imul(x ^ (x >>> 13), MIX_B);
  return x ^ (x >>> 16);
}
