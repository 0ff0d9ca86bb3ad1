// The stored bytes of one piece: made from its plain bytes, and back. Synchronous: whoever must not wait calls it in a thread of its own. Memory is used
// again wherever it can be: garbage of a MiB a piece would pile up until a collection, and fresh memory takes as long as the work.
import { constants as zlib } from "node:zlib";
import { CHUNK_BYTES_MAX } from "../protocol/limits.ts";
import type { ChunkRef, PieceEncoding, PieceLayer } from "../protocol/manifest.ts";
import { QubixError } from "../runtime/errors.ts";
import { type Estimate, estimate } from "./entropy.ts";
import { joinPlanes, PLANE_WIDTHS, splitPlanes, xorInto } from "./planes.ts";
import { takeSteps } from "./steps.ts";
import { sumOf } from "./sums.ts";
import { createDeflater, createInflater, deflatedBytesMax } from "./zstd.ts";

export interface Encoded {
  readonly encoding: PieceEncoding;
  readonly stored: Uint8Array;
}

/** Level 1 keeps up with a fast disk; higher levels gain little on numbers. */
const ZSTD_PARAMS = { [zlib.ZSTD_c_compressionLevel]: 1 };
/** In a group of bytes little repeats but the bytes themselves: looking for more takes twice as long, and what it finds takes more room (89 against 103 KB). */
const PLANE_PARAMS = { ...ZSTD_PARAMS, [zlib.ZSTD_c_minMatch]: 7, [zlib.ZSTD_c_hashLog]: 6 };
/** What shrinks by less than this is stored as it is: it costs nothing to read. */
const RAW_SHARE = 0.985;
const TRIAL_BYTES = 16_384;
/** In a group's header: it is stored as it is. */
const RAW_FLAG = 0x8000_0000;
const WIDTH_BYTES = 1;
const WORD_BYTES = 4;
const HEADER_BYTES = 4;
const GROUPS_MAX = 8;

const zstd = createDeflater(ZSTD_PARAMS);
const planeZstd = createDeflater(PLANE_PARAMS);
const inflater = createInflater();

/**
 * Encodes plain bytes, in whatever way an estimate of them says; `known` is that estimate where it was made already. `into`: memory of
 * CHUNK_STORED_BYTES_MAX that the stored bytes may be written to.
 */
export function encodePiece(plain: Uint8Array, known = estimate(plain), into: Uint8Array = fresh(plain)): Encoded {
  if (known.width > 1) {
    if (repeats(plain, known, into)) return encodeSparse(plain, into);
    return shorter(plain, "planes", into, encodePlanes(plain, known, into));
  }
  if (known.share > RAW_SHARE) return { encoding: "raw", stored: plain };
  return encodeSparse(plain, into);
}

/** Of bytes in which long runs are equal, as differences often are. */
export function encodeSparse(plain: Uint8Array, into: Uint8Array = fresh(plain)): Encoded {
  return shorter(plain, "zstd", into, zstd.deflate(plain, into));
}

/** Whether what repeats, which an estimate does not see, counts for more than the place of each byte: tried on a part from the middle. */
function repeats(plain: Uint8Array, known: Estimate, into: Uint8Array): boolean {
  const start = Math.max(0, Math.floor((plain.length - TRIAL_BYTES) / 2 / known.width) * known.width);
  const trial = plain.slice(start, start + TRIAL_BYTES);
  return zstd.deflate(trial, into) <= encodePlanes(trial, known, into);
}

/**
 * The plain bytes of one stored layer, in `out`, of which they fill the beginning; what is stored as it is stays where it is. Throws `tree_corrupt` for
 * what is not `bytes` long or not readable.
 */
export function decodeLayer(
  stored: Uint8Array,
  encoding: PieceEncoding | undefined,
  bytes: number,
  out: Uint8Array = new Uint8Array(bytes),
): Uint8Array {
  try {
    const plain = decode(stored, encoding ?? "zstd", out.subarray(0, bytes));
    if (plain.length === bytes) return plain;
  } catch (cause) {
    throw notDecoded(bytes, cause);
  }
  throw notDecoded(bytes);
}

/**
 * The bytes of a file that one piece brings, from the stored bytes of its base and of each of its layers, in order. They lie in `out` or in what was
 * stored. Throws `tree_corrupt`, also when they are not what the piece's sum says.
 */
export function decodePiece(ref: ChunkRef, stored: readonly Uint8Array[], out?: Uint8Array): Uint8Array {
  const bytes = plainBytes(ref);
  const [base, ...differences] = stored;
  if (base === undefined || differences.length !== (ref.layers?.length ?? 0)) throw corrupt("a piece lacks a layer");
  const memory = out ?? new Uint8Array(bytes);
  let plain = decodeLayer(base, ref.encoding, bytes, memory);
  // What was stored as it is belongs to whoever gave it, and may begin anywhere in memory.
  if (differences.length > 0 && plain.buffer !== memory.buffer) {
    memory.set(plain);
    plain = memory.subarray(0, bytes);
  }
  differences.forEach((layer, index) => applyLayer(plain, layer, ref.layers?.[index]));
  checkSum(ref, plain);
  return partOf(ref, plain);
}

/** Makes a plain piece what its next layer says. Throws `tree_corrupt`. */
export function applyLayer(plain: Uint8Array, stored: Uint8Array, layer: PieceLayer | undefined): void {
  const decoded = decodeLayer(stored, layer?.encoding, plain.length, layerMemory());
  if (layer?.kind === undefined || layer.kind === "xor") return xorInto(plain, decoded);
  takeSteps(plain, aligned(decoded), layer.kind === "steps2" ? 2 : 4);
}

/** In memory where words begin at their borders. */
function aligned(bytes: Uint8Array): Uint8Array {
  return bytes.byteOffset % WORD_BYTES === 0 ? bytes : bytes.slice();
}

/** Plain bytes of the piece itself, of which a file may have a part only. */
export function plainBytes(ref: ChunkRef): number {
  return ref.part?.of ?? ref.bytes;
}

/** What the file has of a plain piece. */
export function partOf(ref: ChunkRef, plain: Uint8Array): Uint8Array {
  return ref.part === undefined ? plain : plain.subarray(ref.part.from, ref.part.from + ref.bytes);
}

/** Throws `tree_corrupt` when a plain piece is not what its sum says. */
export function checkSum(ref: ChunkRef, plain: Uint8Array): void {
  if (ref.sum !== undefined && sumOf(plain) !== ref.sum)
    throw corrupt("a piece has another sum than its manifest says");
}

/** In `out`, all of which it is to fill. */
function decode(stored: Uint8Array, encoding: PieceEncoding, out: Uint8Array): Uint8Array {
  if (encoding === "raw") return stored;
  if (encoding === "zstd") inflater.inflate(stored, out);
  else decodePlanes(stored, out);
  return out;
}

/** Width; then each group, headed by its stored length; then what is left over at the end. Returns the bytes that fill `into`. */
function encodePlanes(plain: Uint8Array, { width, shares }: Estimate, into: Uint8Array): number {
  const whole = plain.length - (plain.length % width);
  const planes = splitPlanes(plain.subarray(0, whole), width, scratch(whole));
  const view = viewOf(into);
  const count = whole / width;
  let at = WIDTH_BYTES;
  view.writeUInt8(width, 0);
  shares.forEach((share, place) => {
    const plane = planes.subarray(place * count, (place + 1) * count);
    const room = into.subarray(at + HEADER_BYTES);
    const packed = share > RAW_SHARE ? count : planeZstd.deflate(plane, room);
    const isRaw = packed >= count;
    if (isRaw) room.set(plane);
    view.writeUInt32LE(isRaw ? count + RAW_FLAG : packed, at);
    at += HEADER_BYTES + (isRaw ? count : packed);
  });
  into.set(plain.subarray(whole), at);
  return at + plain.length - whole;
}

function decodePlanes(stored: Uint8Array, out: Uint8Array): void {
  const view = viewOf(stored);
  const width = PLANE_WIDTHS.find((candidate) => candidate === view[0]);
  if (width === undefined) throw new RangeError("no such width");
  const whole = out.length - (out.length % width);
  const planes = scratch(whole);
  const count = whole / width;
  let at = WIDTH_BYTES;
  for (let start = 0; start < whole; start += count) {
    const head = view.readUInt32LE(at);
    const length = head & ~RAW_FLAG;
    const packed = view.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length);
    const plane = planes.subarray(start, start + count);
    if (head < RAW_FLAG) inflater.inflate(packed, plane);
    else if (packed.length === count) plane.set(packed);
    else throw new RangeError("a group has another length");
    at += HEADER_BYTES + length;
  }
  if (view.length - at !== out.length - whole) throw new RangeError("it has another length");
  joinPlanes(planes, width, out.subarray(0, whole));
  out.set(view.subarray(at), whole);
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

let scratchMemory = new Uint8Array(0);

/** Where a piece's groups lie. */
function scratch(bytes: number): Uint8Array {
  if (scratchMemory.length < bytes) scratchMemory = new Uint8Array(bytes);
  return scratchMemory.subarray(0, bytes);
}

let layer: Uint8Array | undefined;

/** Where a difference lies until it is applied. */
function layerMemory(): Uint8Array {
  return (layer ??= new Uint8Array(CHUNK_BYTES_MAX));
}

/** For whoever gives no memory: what any encoding of these bytes may write before it is known to be too long. */
function fresh(plain: Uint8Array): Uint8Array {
  return new Uint8Array(WIDTH_BYTES + GROUPS_MAX * HEADER_BYTES + deflatedBytesMax(plain.length));
}

/** As encoded where that is shorter, else as it is. */
function shorter(plain: Uint8Array, encoding: PieceEncoding, into: Uint8Array, bytes: number): Encoded {
  return bytes < plain.length ? { encoding, stored: into.subarray(0, bytes) } : { encoding: "raw", stored: plain };
}

function notDecoded(bytes: number, cause?: unknown): QubixError {
  return corrupt(`a piece cannot be decoded to the ${bytes} bytes that its manifest says`, cause);
}

function corrupt(what: string, cause?: unknown): QubixError {
  return new QubixError("tree_corrupt", `A stored tree is damaged: ${what}`, { category: "platform", cause });
}
