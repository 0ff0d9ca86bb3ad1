// A new file as stretches, each with what is known of it from the parent: the same file in the checkpoint before. Pure: nothing is read here.
import { plainBytes } from "@qubix/shared/chunks";
import { CHUNK_BYTES_MAX } from "@qubix/shared/limits";
import type { ChunkRef } from "@qubix/shared/protocol";

/** A stretch of the new file, at `at`. */
export type Segment =
  /** Nothing is known of it. */
  | { readonly kind: "new"; readonly at: number; readonly bytes: number }
  /** Perhaps what the parent has at `from`, which is the piece `ref`; or like it. */
  | {
      readonly kind: "like";
      readonly at: number;
      readonly bytes: number;
      readonly from: number;
      readonly ref: ChunkRef;
    }
  /** Known to be what this piece, or a part of it, brings. */
  | { readonly kind: "known"; readonly at: number; readonly bytes: number; readonly ref: ChunkRef };

/** How stretches of a new file lie in its parent, in order and without gaps. */
export type Move =
  /** Equal bytes. */
  | { readonly kind: "copy"; readonly at: number; readonly bytes: number; readonly from: number }
  /** In the place of `fromBytes` others at `from`; `shift`: where a byte of it would have its like in the parent, relative to its own place. */
  | {
      readonly kind: "change";
      readonly at: number;
      readonly bytes: number;
      readonly from: number;
      readonly fromBytes: number;
      readonly shift: number;
    };

/** A file of which nothing is known. */
export function newSegments(at: number, bytes: number): Segment[] {
  const segments: Segment[] = [];
  for (let start = 0; start < bytes; start += CHUNK_BYTES_MAX) {
    segments.push({ kind: "new", at: at + start, bytes: Math.min(CHUNK_BYTES_MAX, bytes - start) });
  }
  return segments;
}

/** A file of its parent's size: each stretch is compared with the piece at its place. */
export function likeSegments(pieces: readonly ChunkRef[]): Segment[] {
  let at = 0;
  return pieces.map((ref) => {
    const segment = { kind: "like", at, bytes: ref.bytes, from: at, ref } as const;
    at += ref.bytes;
    return segment;
  });
}

/** A file in which bytes moved. */
export function movedSegments(moves: readonly Move[], pieces: readonly ChunkRef[]): Segment[] {
  const placed = place(pieces);
  return moves.flatMap((move) => (move.kind === "copy" ? copied(move, placed) : changed(move, placed)));
}

interface Placed {
  readonly at: number;
  readonly ref: ChunkRef;
}

function place(pieces: readonly ChunkRef[]): Placed[] {
  let at = 0;
  return pieces.map((ref) => {
    const placed = { at, ref };
    at += ref.bytes;
    return placed;
  });
}

/** The pieces of the parent that reach into a stretch of it. A large file has thousands of pieces and of moves: not each is compared with each. */
function within(placed: readonly Placed[], from: number, bytes: number): readonly Placed[] {
  const first = firstWhere(placed, (piece) => piece.at + piece.ref.bytes > from);
  const after = firstWhere(placed, (piece) => piece.at >= from + bytes);
  return placed.slice(first, after);
}

/** Of places in order: where those begin for which it holds. */
function firstWhere(placed: readonly Placed[], holds: (piece: Placed) => boolean): number {
  let [low, high] = [0, placed.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(placed[middle] as Placed)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function copied(move: Extract<Move, { kind: "copy" }>, placed: readonly Placed[]): Segment[] {
  return within(placed, move.from, move.bytes).map(({ at, ref }) => {
    const start = Math.max(at, move.from);
    const end = Math.min(at + ref.bytes, move.from + move.bytes);
    const part = { from: (ref.part?.from ?? 0) + start - at, of: plainBytes(ref) };
    const isWhole = end - start === ref.bytes;
    return {
      kind: "known",
      at: move.at + start - move.from,
      bytes: end - start,
      ref: isWhole ? ref : { ...ref, bytes: end - start, part },
    };
  });
}

/** Pieces that lie wholly in what was replaced are likes of what stands there now; around them nothing is known. */
function changed(move: Extract<Move, { kind: "change" }>, placed: readonly Placed[]): Segment[] {
  const segments: Segment[] = [];
  let at = move.at;
  for (const { at: from, ref } of within(placed, move.from, move.fromBytes)) {
    const start = from - move.shift;
    const end = start + ref.bytes;
    const isInside = from >= move.from && from + ref.bytes <= move.from + move.fromBytes;
    if (!isInside || start < at || end > move.at + move.bytes) continue;
    segments.push(...newSegments(at, start - at), { kind: "like", at: start, bytes: ref.bytes, from, ref });
    at = end;
  }
  return [...segments, ...newSegments(at, move.at + move.bytes - at)];
}
