// How far numbers moved: floating-point numbers of one sign lie in the order of their bits, so from one to the next is a step of 1, whatever the exponent.
// Weights that moved a little are small steps, and those take less room than an XOR, which is large wherever a carry runs through.

/** Bytes of a number. */
export type StepWidth = 2 | 4;

/** Two numbers of 2 bytes lie in a word: the sign of both, their lowest bits, and all but their signs. */
const SIGNS_16 = 0x8000_8000 | 0;
const ONES_16 = 0x0001_0001;
const REST_16 = 0x7fff_7fff;
const SIGN_32 = 0x8000_0000 | 0;
const WORD_BYTES = 4;

/**
 * Steps from `before` to `now`, as many bytes as they have, in `steps`: small ones of either sign as small numbers; what is no whole number at the end is
 * XORed. `steps` may be the memory of `before`. All begin at the border of a word.
 */
export function stepsBetween(
  before: Uint8Array,
  now: Uint8Array,
  width: StepWidth,
  steps: Uint8Array = new Uint8Array(now.length),
): Uint8Array {
  const end = lastWord(now);
  if (width === 2) pairSteps(words(before), words(now), words(steps));
  else wordSteps(words(before), words(now), words(steps));
  if (width === 2 && now.length - end >= width) {
    const [from, to, by] = [pairAt(before, end), pairAt(now, end), new Int32Array(1)];
    pairSteps(from, to, by);
    steps.set(new Uint8Array(by.buffer, 0, width), end);
  }
  for (let at = now.length - (now.length % width); at < now.length; at += 1) {
    steps[at] = (now[at] as number) ^ (before[at] as number);
  }
  return steps;
}

/** Makes `before` what {@link stepsBetween} was told of. Both begin at the border of a word. */
export function takeSteps(before: Uint8Array, steps: Uint8Array, width: StepWidth): void {
  const end = lastWord(before);
  if (width === 2) stepPairs(words(before), words(steps));
  else stepWords(words(before), words(steps));
  if (width === 2 && before.length - end >= width) {
    const numbers = pairAt(before, end);
    stepPairs(numbers, pairAt(steps, end));
    before.set(new Uint8Array(numbers.buffer, 0, width), end);
  }
  for (let at = before.length - (before.length % width); at < before.length; at += 1) {
    before[at] = (before[at] as number) ^ (steps[at] as number);
  }
}

// Where a number's bits stand in the order of numbers, from the least to the greatest: all bits turned where the sign is set, else the sign alone. Every
// pattern of bits has a place of its own. Steps wrap round, and are told with their sign as the lowest bit. Numbers of 2 bytes are reckoned with by two.

function wordSteps(from: Int32Array, to: Int32Array, out: Int32Array): void {
  for (let n = 0; n < out.length; n += 1) {
    const a = from[n] as number;
    const b = to[n] as number;
    const step = ((b ^ ((b >> 31) | SIGN_32)) - (a ^ ((a >> 31) | SIGN_32))) | 0;
    out[n] = (step << 1) ^ (step >> 31);
  }
}

function stepWords(numbers: Int32Array, by: Int32Array): void {
  for (let n = 0; n < numbers.length; n += 1) {
    const a = numbers[n] as number;
    const step = by[n] as number;
    const place = ((a ^ ((a >> 31) | SIGN_32)) + ((step >>> 1) ^ -(step & 1))) | 0;
    numbers[n] = place ^ (~(place >> 31) | SIGN_32);
  }
}

function pairSteps(from: Int32Array, to: Int32Array, out: Int32Array): void {
  for (let n = 0; n < out.length; n += 1) {
    const a = from[n] as number;
    const b = to[n] as number;
    const x = b ^ (Math.imul((b >>> 15) & ONES_16, 0xffff) | SIGNS_16);
    const y = a ^ (Math.imul((a >>> 15) & ONES_16, 0xffff) | SIGNS_16);
    // Nothing is borrowed from the upper number: its lower neighbour's sign is set for the subtraction, and put right after it.
    const step = ((x | SIGNS_16) - (y & REST_16)) ^ ((x ^ ~y) & SIGNS_16);
    out[n] = ((step & REST_16) << 1) ^ Math.imul((step >>> 15) & ONES_16, 0xffff);
  }
}

function stepPairs(numbers: Int32Array, by: Int32Array): void {
  for (let n = 0; n < numbers.length; n += 1) {
    const a = numbers[n] as number;
    const told = by[n] as number;
    const x = a ^ (Math.imul((a >>> 15) & ONES_16, 0xffff) | SIGNS_16);
    const step = ((told >>> 1) & REST_16) ^ Math.imul(told & ONES_16, 0xffff);
    const place = ((x & REST_16) + (step & REST_16)) ^ ((x ^ step) & SIGNS_16);
    numbers[n] = place ^ (~Math.imul((place >>> 15) & ONES_16, 0xffff) | SIGNS_16);
  }
}

/** Whole words, in the order of this machine's bytes: little-endian on all that Node runs on. */
function words(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / WORD_BYTES));
}

/** Where the whole words end. */
function lastWord(bytes: Uint8Array): number {
  return bytes.length - (bytes.length % WORD_BYTES);
}

/** A number of 2 bytes that stands alone, as the lower one of a pair. */
function pairAt(bytes: Uint8Array, at: number): Int32Array {
  return Int32Array.of((bytes[at] as number) | ((bytes[at + 1] as number) << 8));
}
