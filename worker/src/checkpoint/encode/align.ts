// Where the bytes of a new file lie in its parent when its size has changed: the same beginning, the same end, and between them what content-defined
// cuts find again elsewhere. Reads both files; runs in a thread of its own.
import { createHash } from "node:crypto";
import { readSync } from "node:fs";
import { estimate, xorInto } from "@qubix/shared/chunks";
import type { Move } from "./segments.ts";

export interface OpenFile {
  readonly fd: number;
  readonly bytes: number;
}

const BLOCK_BYTES = 1024 * 1024;
/** Cuts lie this far apart at least, at most, and in the mean beyond the least: small enough that an edit costs little. */
const CUT_BYTES_MIN = 4096;
const CUT_BYTES_MAX = 65_536;
const CUT_MASK = 0x3fff << 18;
/** Places compared, to find out which end of two stretches their contents hang on. */
const SAMPLE_BYTES = 32_768;

/** The moves that make `now` of `before`, in order, from its first byte to its last. */
export function align(now: OpenFile, before: OpenFile): Move[] {
  const shorter = Math.min(now.bytes, before.bytes);
  const head = equalFrom(now, before, shorter);
  const tail = equalTo(now, before, shorter - head);
  const moves: Move[] = [];
  if (head > 0) moves.push({ kind: "copy", at: 0, bytes: head, from: 0 });
  moves.push(...middle(now, before, head, tail));
  if (tail > 0) moves.push({ kind: "copy", at: now.bytes - tail, bytes: tail, from: before.bytes - tail });
  return moves;
}

function middle(now: OpenFile, before: OpenFile, head: number, tail: number): Move[] {
  const [nowEnd, beforeEnd] = [now.bytes - tail, before.bytes - tail];
  const known = new Map<string, number>();
  if (nowEnd > head) cut(before.fd, head, beforeEnd, (at, _bytes, sum) => void known.set(sum, at));
  const moves: Move[] = [];
  /** Ends of what is told of both files. */
  let [at, from] = [head, head];
  const tellChange = (untilAt: number, untilFrom: number) => {
    if (untilAt > at) moves.push(change(now, before, { at, bytes: untilAt - at, from, fromBytes: untilFrom - from }));
  };
  if (known.size > 0) {
    cut(now.fd, head, nowEnd, (place, bytes, sum) => {
      const found = known.get(sum);
      // Only forwards: what moved back is sent again, and the likes of what changed stay in order.
      if (found === undefined || found < from) return;
      tellChange(place, found);
      const last = moves.at(-1);
      if (last?.kind === "copy" && last.at + last.bytes === place && last.from + last.bytes === found) {
        moves[moves.length - 1] = { ...last, bytes: last.bytes + bytes };
      } else moves.push({ kind: "copy", at: place, bytes, from: found });
      [at, from] = [place + bytes, found + bytes];
    });
  }
  tellChange(nowEnd, beforeEnd);
  return moves;
}

/** Contents that grew by a header hang on their end, those that were appended to on their beginning: what leaves less is right. */
function change(
  now: OpenFile,
  before: OpenFile,
  place: { readonly at: number; readonly bytes: number; readonly from: number; readonly fromBytes: number },
): Move {
  const { at, bytes, from, fromBytes } = place;
  const byStart = from - at;
  const byEnd = from + fromBytes - (at + bytes);
  const isByEnd = byStart !== byEnd && likeness(now, before, place, byEnd) < likeness(now, before, place, byStart);
  return { kind: "change", ...place, shift: isByEnd ? byEnd : byStart };
}

/** Share that is left of a difference in the middle. */
function likeness(
  now: OpenFile,
  before: OpenFile,
  place: { readonly at: number; readonly bytes: number },
  shift: number,
): number {
  const length = Math.min(SAMPLE_BYTES, place.bytes);
  const at = place.at + Math.floor((place.bytes - length) / 2);
  if (at + shift < 0 || at + shift + length > before.bytes) return 1;
  const difference = Uint8Array.from(read(now.fd, at, length, nowBlock));
  xorInto(difference, read(before.fd, at + shift, length, beforeBlock));
  return estimate(difference).share;
}

/** How many bytes are equal from the beginning, up to `most`. */
function equalFrom(now: OpenFile, before: OpenFile, most: number): number {
  for (let at = 0; at < most; at += BLOCK_BYTES) {
    const length = Math.min(BLOCK_BYTES, most - at);
    const [a, b] = [read(now.fd, at, length, nowBlock), read(before.fd, at, length, beforeBlock)];
    if (Buffer.compare(a, b) !== 0) return at + firstDifference(a, b);
  }
  return most;
}

/** How many bytes are equal before the end, up to `most`. */
function equalTo(now: OpenFile, before: OpenFile, most: number): number {
  for (let done = 0; done < most; done += BLOCK_BYTES) {
    const length = Math.min(BLOCK_BYTES, most - done);
    const a = read(now.fd, now.bytes - done - length, length, nowBlock);
    const b = read(before.fd, before.bytes - done - length, length, beforeBlock);
    if (Buffer.compare(a, b) !== 0) return done + firstDifference(a.toReversed(), b.toReversed());
  }
  return most;
}

function firstDifference(a: Uint8Array, b: Uint8Array): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at += 1;
  return at;
}

/** Read into again and again: blocks of fresh memory would pile up until a collection. */
const nowBlock = Buffer.allocUnsafeSlow(BLOCK_BYTES);
const beforeBlock = Buffer.allocUnsafeSlow(BLOCK_BYTES);
/** While a block is cut, the others are read into. */
const cutBlock = Buffer.allocUnsafeSlow(BLOCK_BYTES);

function read(fd: number, at: number, bytes: number, into: Buffer): Buffer {
  const buffer = into.subarray(0, bytes);
  let filled = 0;
  while (filled < bytes) {
    const got = readSync(fd, buffer, filled, bytes - filled, at + filled);
    // The file became shorter: whoever asked finds out when it looks again.
    if (got === 0) return buffer.fill(0, filled);
    filled += got;
  }
  return buffer;
}

/** Cuts where a rolling sum of the last 32 bytes says so, whatever lies before: the same contents are cut alike wherever they are. Gear hash (Xia et al., 2014). */
function cut(fd: number, from: number, to: number, found: (at: number, bytes: number, sum: string) => void): void {
  let carried = Buffer.alloc(0);
  let at = from;
  for (let next = from; next < to || carried.length > 0; ) {
    const fresh = read(fd, next, Math.min(BLOCK_BYTES, to - next), cutBlock);
    next += fresh.length;
    const block = carried.length === 0 ? fresh : Buffer.concat([carried, fresh]);
    let start = 0;
    for (;;) {
      const end = cutIn(block, start, next >= to);
      if (end === null) break;
      const piece = block.subarray(start, end);
      found(at, piece.length, createHash("sha256").update(piece).digest("base64"));
      at += piece.length;
      start = end;
    }
    carried = Buffer.from(block.subarray(start));
  }
}

/** Where the piece that begins at `start` ends; null where more bytes are needed to know. */
function cutIn(block: Buffer, start: number, isLast: boolean): number | null {
  const end = Math.min(start + CUT_BYTES_MAX, block.length);
  let sum = 0;
  for (let at = start + CUT_BYTES_MIN - 32; at < end; at += 1) {
    sum = (sum << 1) + (GEAR[block[at] as number] as number);
    if ((sum & CUT_MASK) === 0 && at >= start + CUT_BYTES_MIN) return at + 1;
  }
  if (end === start + CUT_BYTES_MAX || (isLast && end > start)) return end;
  return null;
}

/** A number at random for each byte: always the same ones. */
const GEAR = Int32Array.from({ length: 256 }, (_, byte) =>
  createHash("sha256").update(Uint8Array.of(byte)).digest().readInt32LE(0),
);
