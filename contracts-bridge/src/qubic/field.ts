// The field of FourQ: pairs of numbers modulo 2^127 - 1, of which the second counts roots of -1. Source: Costello and Longa, "FourQ", 2015.

/** a + b·i. Both below {@link P}. */
export interface Fp2 {
  readonly a: bigint;
  readonly b: bigint;
}

export const P = (1n << 127n) - 1n;
export const ZERO: Fp2 = { a: 0n, b: 0n };
export const ONE: Fp2 = { a: 1n, b: 0n };

/** A number of any size or sign, into the field: a Mersenne prime needs no division. */
export function mod(value: bigint): bigint {
  let rest = value;
  if (rest < 0n) rest = P - (-rest % P);
  while (rest > P) rest = (rest & P) + (rest >> 127n);
  return rest === P ? 0n : rest;
}

export function add(x: Fp2, y: Fp2): Fp2 {
  return { a: mod(x.a + y.a), b: mod(x.b + y.b) };
}

export function subtract(x: Fp2, y: Fp2): Fp2 {
  return { a: mod(x.a - y.a + P), b: mod(x.b - y.b + P) };
}

export function negate(x: Fp2): Fp2 {
  return subtract(ZERO, x);
}

export function multiply(x: Fp2, y: Fp2): Fp2 {
  return { a: mod(x.a * y.a - x.b * y.b), b: mod(x.a * y.b + x.b * y.a) };
}

export function square(x: Fp2): Fp2 {
  return { a: mod((x.a + x.b) * (x.a - x.b)), b: mod(2n * x.a * x.b) };
}

/** 0 of 0. */
export function invert(x: Fp2): Fp2 {
  const norm = power(mod(x.a * x.a + x.b * x.b), P - 2n);
  return { a: mod(x.a * norm), b: mod(-x.b * norm) };
}

export function equal(x: Fp2, y: Fp2): boolean {
  return x.a === y.a && x.b === y.b;
}

/** A root, or `undefined` where there is none. Which of the two is the caller's to choose. */
export function squareRoot(x: Fp2): Fp2 | undefined {
  // (c + d·i)² = x: c² - d² = a, 2cd = b, and c² + d² = ±√(a² + b²).
  const length = rootOf(mod(x.a * x.a + x.b * x.b));
  if (length === undefined) return undefined;
  for (const signed of [length, mod(-length)]) {
    const c = rootOf(mod((x.a + signed) * HALF));
    if (c === undefined) continue;
    const d = c === 0n ? rootOf(mod(-x.a)) : mod(x.b * power(mod(2n * c), P - 2n));
    if (d === undefined) continue;
    const root = { a: c, b: d };
    if (equal(square(root), x)) return root;
  }
  return undefined;
}

const HALF = (P + 1n) / 2n;

/** p is 3 modulo 4: a root is the (p + 1) / 4 th power. */
function rootOf(x: bigint): bigint | undefined {
  const root = power(x, (P + 1n) >> 2n);
  return mod(root * root) === x ? root : undefined;
}

function power(base: bigint, exponent: bigint): bigint {
  let [result, factor] = [1n, base];
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if ((rest & 1n) === 1n) result = mod(result * factor);
    factor = mod(factor * factor);
  }
  return result;
}
