// How far numbers moved: floating-point numbers of one sign lie in the order of their bits, so from one to the next is a step of 1, whatever the exponent.
// Weights that moved a little are small steps, and those take less room than an XOR, which is large wherever a carry runs through.

/** Bytes of a number. */
export type StepWidth = 2 | 4;

const SIGN_16 = 0x8000;
const MASK_16 = 0xffff;
const SIGN_32 = 0x8000_0000;

/**
 * Steps from `before` to `now`, as many bytes as they have, in `steps`: small ones of either sign as small numbers; what is no whole number at the end is
 * XORed. `steps` may be the memory of `before`.
 */
export function stepsBetween(
  before: Uint8Array,
  now: Uint8Array,
  width: StepWidth,
  steps: Uint8Array = new Uint8Array(now.length),
): Uint8Array {
  if (width === 2) {
    const [from, to, out] = [halves(before), halves(now), halves(steps)];
    for (let n = 0; n < out.length; n += 1) {
      const step = ((order16(to[n] as number) - order16(from[n] as number)) << 16) >> 16;
      out[n] = (step << 1) ^ (step >> 15);
    }
  } else {
    const [from, to, out] = [words(before), words(now), words(steps)];
    for (let n = 0; n < out.length; n += 1) {
      const step = (order32(to[n] as number) - order32(from[n] as number)) | 0;
      out[n] = (step << 1) ^ (step >> 31);
    }
  }
  for (let at = now.length - (now.length % width); at < now.length; at += 1) {
    steps[at] = (now[at] as number) ^ (before[at] as number);
  }
  return steps;
}

/** Makes `before` what {@link stepsBetween} was told of. */
export function takeSteps(before: Uint8Array, steps: Uint8Array, width: StepWidth): void {
  if (width === 2) {
    const [numbers, by] = [halves(before), halves(steps)];
    for (let n = 0; n < numbers.length; n += 1) {
      const step = by[n] as number;
      const place = (order16(numbers[n] as number) + ((step >>> 1) ^ -(step & 1))) & MASK_16;
      numbers[n] = place & SIGN_16 ? place ^ SIGN_16 : ~place;
    }
  } else {
    const [numbers, by] = [words(before), words(steps)];
    for (let n = 0; n < numbers.length; n += 1) {
      const step = by[n] as number;
      const place = order32(numbers[n] as number) + ((step >>> 1) ^ -(step & 1));
      numbers[n] = place & SIGN_32 ? place ^ SIGN_32 : ~place;
    }
  }
  for (let at = before.length - (before.length % width); at < before.length; at += 1) {
    before[at] = (before[at] as number) ^ (steps[at] as number);
  }
}

/** Where a number's bits stand in the order of numbers, from the least to the greatest; every pattern of bits has a place of its own. */
function order16(bits: number): number {
  return bits & SIGN_16 ? ~bits & MASK_16 : bits | SIGN_16;
}

function order32(bits: number): number {
  return bits & SIGN_32 ? ~bits : bits | SIGN_32;
}

function halves(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 2));
}

function words(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4));
}
