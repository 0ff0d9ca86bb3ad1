// The matrices: X₀ has entries below the modulus, every A has entries of one byte, and X of step t + 1 is A of step t times X of step t.
import { MODULUS } from "./parameters.ts";
import { scramble } from "./scramble.ts";

/** Word `index` of a matrix: four entries of an A, the lowest byte first, or two of X₀. Unsigned. */
export function matrixWord(key: Uint32Array, index: number): number {
  const x = scramble(index ^ (key[0] as number));
  return scramble((x + (key[1] as number)) | 0) >>> 0;
}

/** X₀, row by row: halves of words, the lower first. */
export function startMatrix(key: Uint32Array, size: number): Uint16Array {
  const matrix = new Uint16Array(size * size);
  for (let index = 0; index < matrix.length / 2; index += 1) {
    const word = matrixWord(key, index);
    matrix[2 * index] = (word & 0xffff) % MODULUS;
    matrix[2 * index + 1] = (word >>> 16) % MODULUS;
  }
  return matrix;
}

/** Row `row` of an A, into `out`. */
export function matrixRow(key: Uint32Array, size: number, row: number, out: Uint8Array): void {
  const words = size / 4;
  for (let index = 0; index < words; index += 1) {
    const word = matrixWord(key, row * words + index);
    out[4 * index] = word & 0xff;
    out[4 * index + 1] = (word >>> 8) & 0xff;
    out[4 * index + 2] = (word >>> 16) & 0xff;
    out[4 * index + 3] = word >>> 24;
  }
}

/** Rows `from` to `to` of A × X, into `out`. Sums stay whole numbers below 2³⁶: 4,096 × 255 × 65,520. */
export function multiplyRows(
  key: Uint32Array,
  size: number,
  x: Uint16Array,
  out: Uint16Array,
  from = 0,
  to = size,
): void {
  const factors = new Uint8Array(size);
  const sums = new Float64Array(size);
  for (let row = from; row < to; row += 1) {
    matrixRow(key, size, row, factors);
    sums.fill(0);
    for (let k = 0; k < size; k += 4) {
      const [f0, f1, f2, f3] = [
        factors[k] as number,
        factors[k + 1] as number,
        factors[k + 2] as number,
        factors[k + 3] as number,
      ];
      const [r0, r1, r2, r3] = [k * size, (k + 1) * size, (k + 2) * size, (k + 3) * size];
      for (let column = 0; column < size; column += 1) {
        sums[column] =
          (sums[column] as number) +
          f0 * (x[r0 + column] as number) +
          f1 * (x[r1 + column] as number) +
          f2 * (x[r2 + column] as number) +
          f3 * (x[r3 + column] as number);
      }
    }
    for (let column = 0; column < size; column += 1) out[row * size + column] = (sums[column] as number) % MODULUS;
  }
}
