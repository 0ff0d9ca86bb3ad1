/** 2³² divided by the golden ratio: odd, and it spreads consecutive numbers. */
export const GOLDEN = 0x9e3779b1;

/** A one-to-one scrambling of 32 bits (Wellons' lowbias32). Signed result. */
export function scramble(word: number): number {
  let x = word;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return x ^ (x >>> 16);
}
