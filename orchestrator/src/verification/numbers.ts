// Whether two numbers are the same within a job's tolerance, and arrays of them as they lie in files.
import type { Tolerance } from "@qubix/shared/protocol";

/** |a − b| ≤ absolute + relative × the larger of |a| and |b|: the same whichever is called a. NaN is like NaN, an infinity like itself alone. */
export function isClose(a: number, b: number, { relative, absolute }: Tolerance): boolean {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  if (!Number.isFinite(a) || !Number.isFinite(b)) return false;
  return Math.abs(a - b) <= absolute + relative * Math.max(Math.abs(a), Math.abs(b));
}

type Read = (view: DataView, at: number, isLittle: boolean) => number;

export interface NumberType {
  readonly bytes: number;
  readonly read: Read;
}

/** 64-bit integers beyond 2^53 lose their last digits here: with a tolerance that is what was asked for. */
export const NUMBER_TYPES: Readonly<Record<string, NumberType>> = {
  b1: { bytes: 1, read: (view, at) => view.getUint8(at) },
  i1: { bytes: 1, read: (view, at) => view.getInt8(at) },
  u1: { bytes: 1, read: (view, at) => view.getUint8(at) },
  i2: { bytes: 2, read: (view, at, isLittle) => view.getInt16(at, isLittle) },
  u2: { bytes: 2, read: (view, at, isLittle) => view.getUint16(at, isLittle) },
  i4: { bytes: 4, read: (view, at, isLittle) => view.getInt32(at, isLittle) },
  u4: { bytes: 4, read: (view, at, isLittle) => view.getUint32(at, isLittle) },
  i8: { bytes: 8, read: (view, at, isLittle) => Number(view.getBigInt64(at, isLittle)) },
  u8: { bytes: 8, read: (view, at, isLittle) => Number(view.getBigUint64(at, isLittle)) },
  f2: { bytes: 2, read: (view, at, isLittle) => half(view.getUint16(at, isLittle)) },
  bf2: { bytes: 2, read: (view, at, isLittle) => bfloat(view.getUint16(at, isLittle)) },
  f4: { bytes: 4, read: (view, at, isLittle) => view.getFloat32(at, isLittle) },
  f8: { bytes: 8, read: (view, at, isLittle) => view.getFloat64(at, isLittle) },
};

/** IEEE 754 binary16. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** bfloat16: the upper half of a binary32. */
function bfloat(bits: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint16(0, bits);
  return view.getFloat32(0);
}

/** Arrays of one type and length, element by element. Not the same where the lengths do not fit the type. */
export function areClose(
  a: Uint8Array,
  b: Uint8Array,
  type: NumberType,
  isLittle: boolean,
  tolerance: Tolerance,
): boolean {
  if (a.byteLength !== b.byteLength || a.byteLength % type.bytes !== 0) return false;
  const [one, other] = [viewOf(a), viewOf(b)];
  for (let at = 0; at < a.byteLength; at += type.bytes) {
    if (!isClose(type.read(one, at, isLittle), type.read(other, at, isLittle), tolerance)) return false;
  }
  return true;
}

export function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
