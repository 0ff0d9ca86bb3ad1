// Numbers by the place of their bytes: all first bytes, then all second ones, and so on. Weights that moved a little differ in their low bytes only; grouped,
// the high ones compress to almost nothing. Every function works on whole numbers; what is left over at the end of a piece is the caller's.

/** Bytes of a number: 1 leaves the order as it is. */
export type PlaneWidth = 1 | 2 | 4 | 8;
export const PLANE_WIDTHS: readonly PlaneWidth[] = [1, 2, 4, 8];

/** `bytes` grouped by `width`, in `out`; `bytes.length` is a multiple of it. */
export function splitPlanes(
  bytes: Uint8Array,
  width: PlaneWidth,
  out: Uint8Array = new Uint8Array(bytes.length),
): Uint8Array {
  const count = bytes.length / width;
  // Four numbers make one word of each plane, where those lie on the borders of words.
  const isFast = (width === 2 || width === 4) && count % WORD_BYTES === 0 && isAligned(bytes) && isAligned(out);
  if (isFast && width === 2) splitPairs(wordsOf(bytes, bytes.length), wordsOf(out, out.length));
  else if (isFast) splitQuads(wordsOf(bytes, bytes.length), wordsOf(out, out.length));
  else splitSlowly(bytes, out, width);
  return out;
}

/** The numbers again, in `out`, from what {@link splitPlanes} made. */
export function joinPlanes(
  planes: Uint8Array,
  width: PlaneWidth,
  out: Uint8Array = new Uint8Array(planes.length),
): Uint8Array {
  const count = planes.length / width;
  const isFast = (width === 2 || width === 4) && count % WORD_BYTES === 0 && isAligned(planes) && isAligned(out);
  if (isFast && width === 2) joinPairs(wordsOf(planes, planes.length), wordsOf(out, out.length));
  else if (isFast) joinQuads(wordsOf(planes, planes.length), wordsOf(out, out.length));
  else joinSlowly(planes, out, width);
  return out;
}

/** `into ^= other`, as far as `other` goes. */
export function xorInto(into: Uint8Array, other: Uint8Array): void {
  const length = Math.min(into.length, other.length);
  let at = 0;
  if (isAligned(into) && isAligned(other)) {
    const [a, b] = [wordsOf(into, length), wordsOf(other, length)];
    for (let word = 0; word < a.length; word += 1) a[word] = (a[word] as number) ^ (b[word] as number);
    at = a.length * WORD_BYTES;
  }
  for (; at < length; at += 1) into[at] = (into[at] as number) ^ (other[at] as number);
}

const WORD_BYTES = 4;

function isAligned(bytes: Uint8Array): boolean {
  return bytes.byteOffset % WORD_BYTES === 0;
}

/** Whole words of the first `length` bytes, in the order of this machine's bytes: little-endian on all that Node runs on. */
function wordsOf(bytes: Uint8Array, length: number): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, Math.floor(length / WORD_BYTES));
}

function splitSlowly(bytes: Uint8Array, out: Uint8Array, width: PlaneWidth): void {
  const count = bytes.length / width;
  for (let plane = 0; plane < width; plane += 1) {
    for (let n = 0, at = plane; n < count; n += 1, at += width) out[plane * count + n] = bytes[at] as number;
  }
}

function splitPairs(words: Int32Array, out: Int32Array): void {
  const high = out.length / 2;
  for (let n = 0, at = 0; n < high; n += 1, at += 2) {
    const a = words[at] as number;
    const b = words[at + 1] as number;
    out[n] = (a & 0xff) | ((a >>> 8) & 0xff00) | ((b & 0xff) << 16) | ((b & 0xff0000) << 8);
    out[high + n] = ((a >>> 8) & 0xff) | ((a >>> 16) & 0xff00) | ((b & 0xff00) << 8) | (b & 0xff000000);
  }
}

function splitQuads(words: Int32Array, out: Int32Array): void {
  const count = out.length / 4;
  const [second, third, fourth] = [count, 2 * count, 3 * count];
  for (let n = 0, at = 0; n < count; n += 1, at += 4) {
    const a = words[at] as number;
    const b = words[at + 1] as number;
    const c = words[at + 2] as number;
    const d = words[at + 3] as number;
    out[n] = (a & 0xff) | ((b & 0xff) << 8) | ((c & 0xff) << 16) | (d << 24);
    out[second + n] = ((a >>> 8) & 0xff) | (b & 0xff00) | ((c & 0xff00) << 8) | ((d & 0xff00) << 16);
    out[third + n] = ((a >>> 16) & 0xff) | ((b >>> 8) & 0xff00) | (c & 0xff0000) | ((d & 0xff0000) << 8);
    out[fourth + n] = (a >>> 24) | ((b >>> 16) & 0xff00) | ((c >>> 8) & 0xff0000) | (d & 0xff000000);
  }
}

function joinSlowly(planes: Uint8Array, out: Uint8Array, width: PlaneWidth): void {
  const count = planes.length / width;
  for (let plane = 0; plane < width; plane += 1) {
    for (let n = 0, at = plane; n < count; n += 1, at += width) out[at] = planes[plane * count + n] as number;
  }
}

function joinPairs(planes: Int32Array, out: Int32Array): void {
  const high = planes.length / 2;
  for (let n = 0, at = 0; n < high; n += 1, at += 2) {
    const a = planes[n] as number;
    const b = planes[high + n] as number;
    out[at] = (a & 0xff) | ((b & 0xff) << 8) | ((a & 0xff00) << 8) | ((b & 0xff00) << 16);
    out[at + 1] = ((a >>> 16) & 0xff) | ((b >>> 8) & 0xff00) | ((a >>> 8) & 0xff0000) | (b & 0xff000000);
  }
}

function joinQuads(planes: Int32Array, out: Int32Array): void {
  const count = planes.length / 4;
  const [second, third, fourth] = [count, 2 * count, 3 * count];
  for (let n = 0, at = 0; n < count; n += 1, at += 4) {
    const a = planes[n] as number;
    const b = planes[second + n] as number;
    const c = planes[third + n] as number;
    const d = planes[fourth + n] as number;
    out[at] = (a & 0xff) | ((b & 0xff) << 8) | ((c & 0xff) << 16) | (d << 24);
    out[at + 1] = ((a >>> 8) & 0xff) | (b & 0xff00) | ((c & 0xff00) << 8) | ((d & 0xff00) << 16);
    out[at + 2] = ((a >>> 16) & 0xff) | ((b >>> 8) & 0xff00) | (c & 0xff0000) | ((d & 0xff0000) << 8);
    out[at + 3] = (a >>> 24) | ((b >>> 16) & 0xff00) | ((c >>> 8) & 0xff0000) | (d & 0xff000000);
  }
}
