// One stretch of a file made into a piece: known by the parent, a difference to it, or whole. Reads files; runs in a thread of its own.
import { readSync } from "node:fs";
import {
  cidOf,
  type Encoded,
  encodePiece,
  encodeSparse,
  estimate,
  stepsBetween,
  sumOf,
  xorInto,
} from "@qubix/shared/chunks";
import { CHUNK_BYTES_MAX, PIECE_LAYERS_MAX } from "@qubix/shared/limits";
import type { ChunkRef, LayerKind } from "@qubix/shared/protocol";
import type { Segment } from "./segments.ts";

/** A piece, and the bytes to be stored for it; null where they are stored already. */
export interface Piece {
  readonly ref: ChunkRef;
  readonly stored: Uint8Array | null;
}

/** Equal bytes come in pages: files are mapped, and tables are written row by row. */
const PAGE_BYTES = 4096;
/** A difference with this share of its pages all zero is mostly long runs, which zstd takes in at once. */
const SPARSE_SHARE = 0.5;
/** Differences on a piece together may take so much more than the piece itself: all of them are fetched by a restore. */
const LAYERS_SHARE_MAX = 2;

const nowBuffer = new Uint8Array(CHUNK_BYTES_MAX);
const beforeBuffer = new Uint8Array(CHUNK_BYTES_MAX);

export interface PieceOptions {
  readonly nowFd: number;
  readonly beforeFd: number | null;
  /** The piece gets a sum of its own. */
  readonly withSum: boolean;
  /** What is not equal to the parent's is stored whole. */
  readonly isBase: boolean;
}

/** Throws `file_changed` where a file ends early. What is stored lies in `into` (CHUNK_STORED_BYTES_MAX bytes). */
export function makePiece(
  segment: Exclude<Segment, { kind: "known" }>,
  options: PieceOptions,
  into: Uint8Array,
): Piece {
  const { ref, stored } = pieceOf(segment, options, into);
  if (stored === null || stored.buffer === into.buffer) return { ref, stored };
  into.set(stored);
  return { ref, stored: into.subarray(0, stored.length) };
}

function pieceOf(
  segment: Exclude<Segment, { kind: "known" }>,
  { nowFd, beforeFd, withSum, isBase }: PieceOptions,
  into: Uint8Array,
): Piece {
  const now = read(nowFd, nowBuffer, segment.at, segment.bytes);
  if (segment.kind === "new" || beforeFd === null) return wholePiece(now, withSum, into);
  const { ref } = segment;
  const before = read(beforeFd, beforeBuffer, segment.from, segment.bytes);
  if (Buffer.compare(now, before) === 0) return { ref, stored: null };
  return (
    (!isBase && canDiffer(ref, before) ? difference(now, before, ref, into) : null) ?? wholePiece(now, withSum, into)
  );
}

function wholePiece(now: Uint8Array, withSum: boolean, into: Uint8Array): Piece {
  const { encoding, stored } = encodePiece(now, estimate(now), into);
  const ref = { cid: cidOf(stored), bytes: now.length, stored: stored.length, encoding };
  return { ref: withSum ? { ...ref, sum: sumOf(now) } : ref, stored };
}

/** The parent's bytes on this disk must be those that are stored, or nobody could restore what is told relative to them. */
function canDiffer(ref: ChunkRef, before: Uint8Array): boolean {
  const layers = ref.layers?.length ?? 0;
  return ref.part === undefined && ref.sum !== undefined && layers < PIECE_LAYERS_MAX && sumOf(before) === ref.sum;
}

/** Null where the piece is better stored whole. `before` is overwritten. */
function difference(now: Uint8Array, before: Uint8Array, ref: ChunkRef, into: Uint8Array): Piece | null {
  const isSparse = equalPages(now, before) >= SPARSE_SHARE * Math.ceil(now.length / PAGE_BYTES);
  const encoded = isSparse ? sparse(now, before, into) : dense(now, before, into);
  if (encoded === null) return null;
  const { encoding, stored, kind } = encoded;
  const layers = [...(ref.layers ?? []), { cid: cidOf(stored), stored: stored.length, encoding, kind }];
  const layersBytes = layers.reduce((sum, layer) => sum + layer.stored, 0);
  if (layersBytes > LAYERS_SHARE_MAX * ref.stored) return null;
  return { ref: { ...ref, layers, sum: sumOf(now) }, stored };
}

interface Layer extends Encoded {
  readonly kind: LayerKind;
}

function sparse(now: Uint8Array, before: Uint8Array, into: Uint8Array): Layer {
  xorInto(before, now);
  return { kind: "xor", ...encodeSparse(before, into) };
}

/** Steps where the piece is made of numbers of 2 or 4 bytes, else the bits that changed. */
function dense(now: Uint8Array, before: Uint8Array, into: Uint8Array): Layer | null {
  const whole = estimate(now);
  const { width } = whole;
  if (width === 2 || width === 4) {
    const steps = stepsBetween(before, now, width, before);
    const moved = estimate(steps);
    return moved.share < whole.share ? { kind: `steps${width}`, ...encodePiece(steps, moved, into) } : null;
  }
  xorInto(before, now);
  const changed = estimate(before);
  return changed.share < whole.share ? { kind: "xor", ...encodePiece(before, changed, into) } : null;
}

function equalPages(now: Uint8Array, before: Uint8Array): number {
  let equal = 0;
  for (let at = 0; at < now.length; at += PAGE_BYTES) {
    const end = Math.min(at + PAGE_BYTES, now.length);
    if (Buffer.compare(now.subarray(at, end), before.subarray(at, end)) === 0) equal += 1;
  }
  return equal;
}

function read(fd: number, into: Uint8Array, at: number, bytes: number): Uint8Array {
  let filled = 0;
  while (filled < bytes) {
    const got = readSync(fd, into, filled, bytes - filled, at + filled);
    if (got === 0) throw Object.assign(new Error("a file ended early"), { code: "file_changed" });
    filled += got;
  }
  return into.subarray(0, bytes);
}
