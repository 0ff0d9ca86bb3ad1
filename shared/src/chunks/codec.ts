// The stored bytes of one piece: made from its plain bytes, and back. Synchronous: whoever must not wait calls it in a thread of its own.
import { createHash } from "node:crypto";
import { constants as zlib, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { ChunkRef, PieceEncoding, PieceLayer } from "../protocol/manifest.ts";
import { CHUNK_BYTES_MAX } from "../protocol/limits.ts";
import { QubixError } from "../runtime/errors.ts";
import { entropyShare, estimate, type Estimate } from "./entropy.ts";
import { joinPlanes, PLANE_WIDTHS, type PlaneWidth, splitPlanes, xorInto } from "./planes.ts";
import { takeSteps } from "./steps.ts";

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

/**
 * Encodes plain bytes, in whatever way an estimate of them says; `known` is that estimate where it was made already. `into`: memory of
 * CHUNK_STORED_BYTES_MAX that the stored bytes may be written to, because fresh memory for each piece takes as long as compressing it.
 */
export function encodePiece(plain: Uint8Array, known: Estimate = estimate(plain), into?: Uint8Array): Encoded {
  if (known.width > 1) {
    if (repeats(plain, known.width)) return encodeSparse(plain);
    return shorter(plain, { encoding: "planes", stored: encodePlanes(plain, known.width, into) });
  }
  if (known.share > RAW_SHARE) return { encoding: "raw", stored: plain };
  return shorter(plain, { encoding: "zstd", stored: deflate(plain) });
}

/** Whether what repeats, which an estimate does not see, counts for more than the place of each byte: tried on a part from the middle. */
function repeats(plain: Uint8Array, width: PlaneWidth): boolean {
  const start = Math.max(0, Math.floor((plain.length - TRIAL_BYTES) / 2 / width) * width);
  const trial = Uint8Array.from(plain.subarray(start, start + TRIAL_BYTES));
  return deflate(trial).length <= encodePlanes(trial, width).length;
}

/** Of bytes in which long runs are equal, as differences often are. */
export function encodeSparse(plain: Uint8Array): Encoded {
  return shorter(plain, { encoding: "zstd", stored: deflate(plain) });
}

/** The plain bytes of one stored layer. Throws `tree_corrupt` for what is not `bytes` long or not readable. */
export function decodeLayer(stored: Uint8Array, encoding: PieceEncoding | undefined, bytes: number): Uint8Array {
  try {
    const plain = decode(stored, encoding ?? "zstd");
    if (plain.length === bytes) return plain;
  } catch (cause) {
    throw corrupt("a piece cannot be decoded", cause);
  }
  throw corrupt(`a piece has not the ${bytes} bytes that its manifest says`);
}

/**
 * The bytes of a file that one piece brings, from the stored bytes of its base and of each of its layers, in order. Throws `tree_corrupt`, also when they
 * are not what the piece's sum says.
 */
export function decodePiece(ref: ChunkRef, stored: readonly Uint8Array[]): Uint8Array {
  const bytes = plainBytes(ref);
  const [base, ...differences] = stored;
  if (base === undefined || differences.length !== (ref.layers?.length ?? 0)) throw corrupt("a piece lacks a layer");
  let plain = decodeLayer(base, ref.encoding, bytes);
  // What was stored as it is belongs to whoever gave it, and may begin anywhere in memory.
  if (differences.length > 0 && (plain === base || plain.byteOffset % WORD_BYTES !== 0)) plain = Uint8Array.from(plain);
  differences.forEach((layer, index) => applyLayer(plain, layer, ref.layers?.[index]));
  checkSum(ref, plain);
  return partOf(ref, plain);
}

/** Makes a plain piece what its next layer says. Throws `tree_corrupt`. */
export function applyLayer(plain: Uint8Array, stored: Uint8Array, layer: PieceLayer | undefined): void {
  const decoded = decodeLayer(stored, layer?.encoding, plain.length);
  if (layer?.kind === undefined || layer.kind === "xor") return xorInto(plain, decoded);
  takeSteps(plain, aligned(decoded), layer.kind === "steps2" ? 2 : 4);
}

/** In memory where words begin at their borders. */
function aligned(bytes: Uint8Array): Uint8Array {
  return bytes.byteOffset % WORD_BYTES === 0 ? bytes : Uint8Array.from(bytes);
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

/** As a manifest has it: SHA-256, base64url. */
export function sumOf(plain: Uint8Array): string {
  return createHash("sha256").update(plain).digest("base64url");
}

function decode(stored: Uint8Array, encoding: PieceEncoding): Uint8Array {
  if (encoding === "raw") return stored;
  return encoding === "zstd" ? inflate(stored) : decodePlanes(stored);
}

/** Width; then each group, headed by its stored length; then what is left over at the end. */
function encodePlanes(plain: Uint8Array, width: PlaneWidth, into?: Uint8Array): Uint8Array {
  const whole = plain.length - (plain.length % width);
  const planes = splitPlanes(plain.subarray(0, whole), width, scratch(whole));
  const count = whole / width;
  const parts: Uint8Array[] = [Uint8Array.of(width)];
  for (let start = 0; start < whole; start += count) {
    const plane = planes.subarray(start, start + count);
    const packed = entropyShare(plane) > RAW_SHARE ? plane : deflate(plane, PLANE_PARAMS);
    const isRaw = packed.length >= plane.length;
    parts.push(header(isRaw ? plane.length + RAW_FLAG : packed.length), isRaw ? plane : packed);
  }
  parts.push(plain.subarray(whole));
  return into === undefined ? Buffer.concat(parts) : joined(parts, into);
}

function decodePlanes(stored: Uint8Array): Uint8Array {
  const view = Buffer.from(stored.buffer, stored.byteOffset, stored.length);
  const width = PLANE_WIDTHS.find((candidate) => candidate === view[0]);
  if (width === undefined) throw new RangeError("no such width");
  const planes: Uint8Array[] = [];
  let at = WIDTH_BYTES;
  for (let plane = 0; plane < width; plane += 1) {
    const head = view.readUInt32LE(at);
    const length = head & ~RAW_FLAG;
    const packed = view.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length);
    if (packed.length !== length) throw new RangeError("it ends early");
    planes.push(head >= RAW_FLAG ? packed : inflate(packed));
    if (planes[plane]?.length !== planes[0]?.length) throw new RangeError("its groups differ in length");
    at += HEADER_BYTES + length;
  }
  const numbers = joinPlanes(gathered(planes), width);
  return at === view.length ? numbers : Buffer.concat([numbers, view.subarray(at)]);
}

/** All of them, one after the other, in memory that the next piece is gathered in. */
function gathered(planes: readonly Uint8Array[]): Uint8Array {
  const length = planes.reduce((sum, plane) => sum + plane.length, 0);
  if (length > CHUNK_BYTES_MAX) throw new RangeError("it is longer than a piece may be");
  return joined(planes, scratch(length));
}

/** The parts one after the other in `memory`: as much of it as they fill. */
function joined(parts: readonly Uint8Array[], memory: Uint8Array): Uint8Array {
  let at = 0;
  for (const part of parts) {
    memory.set(part, at);
    at += part.length;
  }
  return memory.subarray(0, at);
}

let scratchMemory = new Uint8Array(0);

/** Memory that is used anew for each piece: garbage of a MiB a piece would pile up until a collection. */
function scratch(bytes: number): Uint8Array {
  if (scratchMemory.length < bytes) scratchMemory = new Uint8Array(bytes);
  return scratchMemory.subarray(0, bytes);
}

function header(value: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES);
  bytes.writeUInt32LE(value);
  return bytes;
}

function shorter(plain: Uint8Array, encoded: Encoded): Encoded {
  return encoded.stored.length < plain.length ? encoded : { encoding: "raw", stored: plain };
}

function deflate(bytes: Uint8Array, params: Readonly<Record<number, number>> = ZSTD_PARAMS): Uint8Array {
  return zstdCompressSync(bytes, { params });
}

function inflate(bytes: Uint8Array): Uint8Array {
  return zstdDecompressSync(bytes, { maxOutputLength: CHUNK_BYTES_MAX });
}

function corrupt(what: string, cause?: unknown): QubixError {
  return new QubixError("tree_corrupt", `A stored tree is damaged: ${what}`, { category: "platform", cause });
}
