// FourQ: -x² + y² = 1 + d·x²·y² over Fp2, its points as 32 bytes, and their multiples. Plain double-and-add: a few signatures a second are all that a
// settlement needs. Not in constant time: the key belongs to an operator's own machine. Source: draft-ladd-cfrg-4q (2016); FourQlib's encoding.
import {
  add,
  equal,
  type Fp2,
  invert,
  mod,
  multiply,
  negate,
  ONE,
  P,
  square,
  squareRoot,
  subtract,
  ZERO,
} from "./field.ts";

/** Order of the group that {@link BASE} generates: 246 bits. */
export const ORDER = 0x0029cbc14e5e0a72f05397829cbc14e5dfbd004dfe0f79992fb2540ec7768ce7n;
const D: Fp2 = { a: 0xe40000000000000142n, b: 0x5e472f846657e0fcb3821488f1fc0c8dn };
export const POINT_BYTES = 32;
const HALF_BYTES = 16;
/** Of the highest byte: which of the two roots x is. */
const SIGN_BIT = 0x80;

/** Extended coordinates: x = X/Z, y = Y/Z, x·y = T/Z. */
export interface Point {
  readonly x: Fp2;
  readonly y: Fp2;
  readonly z: Fp2;
  readonly t: Fp2;
}

const NEUTRAL: Point = { x: ZERO, y: ONE, z: ONE, t: ZERO };

export const BASE: Point = affine(
  { a: 0x1a3472237c2fb305286592ad7b3833aan, b: 0x1e1f553f2878aa9c96869fb360ac77f6n },
  { a: 0x0e3fee9ba120785ab924a2462bcbb287n, b: 0x6e1c4af8630e024249a7c344844c8b5cn },
);

function affine(x: Fp2, y: Fp2): Point {
  return { x, y, z: ONE, t: multiply(x, y) };
}

/** Complete for points of this curve: d is no square. */
export function plus(p: Point, q: Point): Point {
  const a = multiply(p.x, q.x);
  const b = multiply(p.y, q.y);
  const c = multiply(multiply(p.t, D), q.t);
  const d = multiply(p.z, q.z);
  const e = subtract(subtract(multiply(add(p.x, p.y), add(q.x, q.y)), a), b);
  const [f, g, h] = [subtract(d, c), add(d, c), add(b, a)];
  return { x: multiply(e, f), y: multiply(g, h), t: multiply(e, h), z: multiply(f, g) };
}

export function times(scalar: bigint, point: Point): Point {
  let [result, doubling] = [NEUTRAL, point];
  for (let rest = scalar; rest > 0n; rest >>= 1n) {
    if ((rest & 1n) === 1n) result = plus(result, doubling);
    doubling = plus(doubling, doubling);
  }
  return result;
}

/** y, and in the highest bit which of its roots x is. */
export function encodePoint(point: Point): Uint8Array {
  const inverse = invert(point.z);
  const [x, y] = [multiply(point.x, inverse), multiply(point.y, inverse)];
  const bytes = new Uint8Array(POINT_BYTES);
  writeHalf(bytes, 0, y.a);
  writeHalf(bytes, HALF_BYTES, y.b);
  if (signOf(x)) bytes[POINT_BYTES - 1] = (bytes[POINT_BYTES - 1] ?? 0) | SIGN_BIT;
  return bytes;
}

/** `undefined` for bytes that are no point. */
export function decodePoint(bytes: Uint8Array): Point | undefined {
  if (bytes.length !== POINT_BYTES) return undefined;
  const high = bytes[POINT_BYTES - 1] ?? 0;
  const b = readHalf(bytes, HALF_BYTES) & P;
  const y: Fp2 = { a: readHalf(bytes, 0), b };
  if (y.a >= P || b >= P) return undefined;
  // x² = (y² - 1) / (d·y² + 1)
  const squared = square(y);
  const x = squareRoot(multiply(subtract(squared, ONE), invert(add(multiply(D, squared), ONE))));
  if (x === undefined) return undefined;
  const wanted = (high & SIGN_BIT) !== 0;
  const point = affine(signOf(x) === wanted ? x : negate(x), y);
  return isOnCurve(point) ? point : undefined;
}

function isOnCurve({ x, y }: Point): boolean {
  const [xx, yy] = [square(x), square(y)];
  return equal(subtract(yy, xx), add(ONE, multiply(multiply(D, xx), yy)));
}

/** Bit 126 of x's first part, or of its second where the first is 0. */
function signOf(x: Fp2): boolean {
  const part = x.a === 0n ? x.b : x.a;
  return mod(part) >> 126n === 1n;
}

function writeHalf(bytes: Uint8Array, at: number, value: bigint): void {
  for (let n = 0; n < HALF_BYTES; n += 1) bytes[at + n] = Number((value >> BigInt(8 * n)) & 0xffn);
}

function readHalf(bytes: Uint8Array, at: number): bigint {
  let value = 0n;
  for (let n = HALF_BYTES - 1; n >= 0; n -= 1) value = (value << 8n) | BigInt(bytes[at + n] ?? 0);
  return value;
}
