// States of a job to be saved: normally distributed weights in 32 or 16 bits, and what becomes of them. Made from a seed, so that two runs have the same ones.
import { closeSync, existsSync, mkdirSync, openSync, readSync, renameSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";

export type Format = "fp32" | "bf16";
export type Pattern = "slices" | "pages" | "insert";
export const PATTERNS: readonly Pattern[] = ["slices", "pages", "insert"];

const MIB = 1024 * 1024;
const PAGE_BYTES = 4096;
/** How much of a state changes. */
const CHANGED_SHARE = 0.01;
const DEVIATION = 0.02;

/** A whole state; made once. */
export function makeState(folder: string, format: Format, mib: number): string {
  const path = join(folder, `${format}-${mib}`);
  const random = generator(1);
  return made(path, (write) => {
    for (let n = 0; n < mib; n += 1) write(weights(random, format, MIB));
  });
}

/** What becomes of a state; `changed`: how many bytes are others now. */
export function changeState(path: string, format: Format, pattern: Pattern): { path: string; changed: number } {
  const { size } = statSync(path);
  const random = generator(2);
  const [piece, count] = pattern === "pages" ? [PAGE_BYTES, share(size, PAGE_BYTES)] : [MIB, share(size, MIB)];
  if (pattern === "insert") {
    const next = made(`${path}-insert`, (write) => {
      const half = Math.floor(size / 2 / PAGE_BYTES) * PAGE_BYTES;
      copy(path, 0, half, write);
      write(weights(random, format, MIB));
      copy(path, half, size - half, write);
    });
    return { path: next, changed: MIB };
  }
  const places = new Set<number>();
  while (places.size < count) places.add(Math.floor(random() * (size / piece)) * piece);
  const next = made(`${path}-${pattern}`, (write) => {
    let at = 0;
    for (const place of [...places].toSorted((a, b) => a - b)) {
      copy(path, at, place - at, write);
      write(weights(random, format, piece));
      at = place + piece;
    }
    copy(path, at, size - at, write);
  });
  return { path: next, changed: count * piece };
}

function share(size: number, piece: number): number {
  return Math.max(1, Math.round((size * CHANGED_SHARE) / piece));
}

/** Mulberry32: a number in [0, 1) from a state of 32 bits. */
export function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Box and Muller. */
export function normal(random: () => number): number {
  return DEVIATION * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

function weights(random: () => number, format: Format, bytes: number): Uint8Array {
  const numbers = Float32Array.from({ length: format === "fp32" ? bytes / 4 : bytes / 2 }, () => normal(random));
  return format === "fp32" ? new Uint8Array(numbers.buffer) : bfloats(numbers);
}

/** The upper half of each number, rounded to even as bfloat16 is. */
export function bfloats(numbers: Float32Array): Uint8Array {
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  const halves = Uint16Array.from(words, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16);
  return new Uint8Array(halves.buffer);
}

/** Written under another name first: a run that was broken off leaves no half of a state. */
export function made(path: string, make: (write: (bytes: Uint8Array) => void) => void): string {
  if (existsSync(path)) return path;
  mkdirSync(join(path, ".."), { recursive: true });
  const file = openSync(`${path}.part`, "w");
  make((bytes) => writeSync(file, bytes));
  closeSync(file);
  renameSync(`${path}.part`, path);
  return path;
}

function copy(path: string, from: number, bytes: number, write: (bytes: Uint8Array) => void): void {
  const file = openSync(path, "r");
  const block = Buffer.allocUnsafe(MIB);
  for (let done = 0; done < bytes; ) {
    const got = readSync(file, block, 0, Math.min(MIB, bytes - done), from + done);
    write(block.subarray(0, got));
    done += got;
  }
  closeSync(file);
}
