// Freivalds' test of a chain of products: the answer times a random vector must be what the matrices make of that vector, one after the other.
// Costs n² a step where the product costs n³; a wrong product passes one vector with a chance of 1 in 65,521.
import { MODULUS, matrixWord } from "@qubix/shared/proof";

export interface ProductClaim {
  readonly size: number;
  readonly steps: number;
  /** X₀. */
  readonly start: Uint16Array;
  readonly key: (step: number) => Uint32Array;
  readonly product: Uint16Array;
}

/** Two vectors: 2 in 4 thousand million wrong products pass both, at most. They must be unknown to whoever made the product. */
export function productHolds(claim: ProductClaim, random: (bytes: number) => Uint8Array): boolean {
  return wrongRow(claim, random) === null;
}

/** The first row of the product that is not right; null where all of them are. */
export function wrongRow(claim: ProductClaim, random: (bytes: number) => Uint8Array): number | null {
  const { size, steps, start, key, product } = claim;
  const first = randomVector(size, random);
  const second = randomVector(size, random);
  let [left, right] = project(start, size, first, second);
  for (let step = 0; step < steps; step += 1) [left, right] = advance(key(step), size, left, right);
  const [wantedLeft, wantedRight] = project(product, size, first, second);
  const row = left.findIndex((value, at) => value !== wantedLeft[at] || right[at] !== wantedRight[at]);
  return row < 0 ? null : row;
}

/** Entries below the modulus, from four bytes each: the bias is one in 65,536. */
function randomVector(size: number, random: (bytes: number) => Uint8Array): Float64Array {
  const bytes = random(size * 4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float64Array.from({ length: size }, (_, index) => view.getUint32(index * 4, true) % MODULUS);
}

type Pair = [Float64Array, Float64Array];

/** A matrix times both vectors. Sums stay below 2⁴⁴: 4,096 × 65,520². */
function project(matrix: Uint16Array, size: number, left: Float64Array, right: Float64Array): Pair {
  const out: Pair = [new Float64Array(size), new Float64Array(size)];
  for (let row = 0; row < size; row += 1) {
    let sumLeft = 0;
    let sumRight = 0;
    for (let column = 0; column < size; column += 1) {
      const entry = matrix[row * size + column] as number;
      sumLeft += entry * (left[column] as number);
      sumRight += entry * (right[column] as number);
    }
    out[0][row] = sumLeft % MODULUS;
    out[1][row] = sumRight % MODULUS;
  }
  return out;
}

/** The same for a matrix that is made as it is used: four entries a word. */
function advance(key: Uint32Array, size: number, left: Float64Array, right: Float64Array): Pair {
  const out: Pair = [new Float64Array(size), new Float64Array(size)];
  let index = 0;
  for (let row = 0; row < size; row += 1) {
    let sumLeft = 0;
    let sumRight = 0;
    for (let column = 0; column < size; column += 4) {
      const word = matrixWord(key, index);
      index += 1;
      const [e0, e1, e2, e3] = [word & 0xff, (word >>> 8) & 0xff, (word >>> 16) & 0xff, word >>> 24];
      sumLeft +=
        e0 * (left[column] as number) +
        e1 * (left[column + 1] as number) +
        e2 * (left[column + 2] as number) +
        e3 * (left[column + 3] as number);
      sumRight +=
        e0 * (right[column] as number) +
        e1 * (right[column + 1] as number) +
        e2 * (right[column + 2] as number) +
        e3 * (right[column + 3] as number);
    }
    out[0][row] = sumLeft % MODULUS;
    out[1][row] = sumRight % MODULUS;
  }
  return out;
}
