// The stored bytes of one piece: made from its plain bytes, and back. Synchronous: whoever must not wait calls it in a thread of its own.
import { createHash } from "node:crypto";
import { constants as zlib, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { ChunkRef, PieceEncoding } from "../protocol/manifest.ts";
import { CHUNK_BYTES_MAX } from "../protocol/limits.ts";
import { QubixError } from "../runtime/errors.ts";
import { entropyShare, estimate, type Estimate } from "./entropy.ts";
import { joinPlanes, PLANE_WIDTHS, type PlaneWidth, splitPlanes, xorInto } from "./planes.ts";

export interface Encoded {
  readonly encoding: PieceEncoding;
  readonly stored: Uint8Array;
}

/** Level 1 keeps up with a fast disk; higher levels gain little on numbers. */
const ZSTD_LEVEL = 1;
/** What shrinks by less than this is stored as it is: it costs nothing to read. */
const RAW_SHARE = 0.985;
const TRIAL_BYTES = 16_384;
/** In a group's header: it is stored as it is. */
const RAW_FLAG = 0x8000_0000;
const WIDTH_BYTES = 1;
const HEADER_BYTES = 4;

/** Encodes plain bytes, in whatever way an estimate of them says; `known` is that estimate where it was made already. */
export function encodePiece(plain: Uint8Array, known: Estimate = estimate(plain)): Encoded {
  if (known.width > 1) {
    if (repeats(plain, known.width)) return encodeSparse(plain);
    return shorter(plain, { encoding: "planes", stored: encodePlanes(plain, known.width) });
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
  // What was stored as it is belongs to whoever gave it.
  if (differences.length > 0 && plain === base) plain = Uint8Array.from(plain);
  differences.forEach((layer, index) => xorInto(plain, decodeLayer(layer, ref.layers?.[index]?.encoding, bytes)));
  checkSum(ref, plain);
  return partOf(ref, plain);
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
function encodePlanes(plain: Uint8Array, width: PlaneWidth): Uint8Array {
  const whole = plain.length - (plain.length % width);
  const planes = splitPlanes(plain.subarray(0, whole), width);
  const count = whole / width;
  const parts: Uint8Array[] = [Uint8Array.of(width)];
  for (let start = 0; start < whole; start += count) {
    const plane = planes.subarray(start, start + count);
    const packed = entropyShare(plane) > RAW_SHARE ? plane : deflate(plane);
    const isRaw = packed.length >= plane.length;
    parts.push(header(isRaw ? plane.length + RAW_FLAG : packed.length), isRaw ? plane : packed);
  }
  parts.push(plain.subarray(whole));
  return Buffer.concat(parts);
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
  const joined = joinPlanes(Buffer.concat(planes), width);
  return at === view.length ? joined : Buffer.concat([joined, view.subarray(at)]);
}

function header(value: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES);
  bytes.writeUInt32LE(value);
  return bytes;
}

function shorter(plain: Uint8Array, encoded: Encoded): Encoded {
  return encoded.stored.length < plain.length ? encoded : { encoding: "raw", stored: plain };
}

function deflate(bytes: Uint8Array): Uint8Array {
  return zstdCompressSync(bytes, { params: { [zlib.ZSTD_c_compressionLevel]: ZSTD_LEVEL } });
}

function inflate(bytes: Uint8Array): Uint8Array {
  return zstdDecompressSync(bytes, { maxOutputLength: CHUNK_BYTES_MAX });
}

function corrupt(what: string, cause?: unknown): QubixError {
  return new QubixError("tree_corrupt", `A stored tree is damaged: ${what}`, { category: "platform", cause });
}
