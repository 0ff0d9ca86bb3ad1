// Brings a stored tree to disk: fetched, checked against its names and sums, written under a private name, made durable, and only then moved into place.
// A standby follows every commit: pieces that its last version already has are read from there instead of the line.
import { type FileHandle, mkdir, open, readdir, rename, chmod, chown } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { zstdDecompress } from "node:zlib";
import { cidOf, plainBytes } from "@qubix/shared/chunks";
import type { ChunkCid } from "@qubix/shared/domain";
import {
  CHUNK_STORED_BYTES_MAX,
  type ChunkRef,
  type PieceLayer,
  type TreeEntry,
  type TreeManifest,
  treeManifestSchema,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import type { Threads } from "./encode/threads.ts";
import { removeTree } from "./remove.ts";
import { openInside } from "./walk.ts";

const decompress = promisify(zstdDecompress);
/** Pieces on their way at once: enough for 30 MB/s on a line of 100 ms, few enough to fit in memory. */
const FETCH_AHEAD = 3;
/** Pieces of this size come in memory that is used again: fresh memory takes as long as decoding. */
const LARGE_BYTES = 64 * 1024;
/** A manifest's plain size: names and sums of the largest tree that fits one chunk. */
const MANIFEST_BYTES_MAX = 64 * 1024 * 1024;

/** The first bytes of a zstd frame (RFC 8878). */
const ZSTD_MAGIC = [0x28, 0xb5, 0x2f, 0xfd];

/** Where chunks come from. Throws a retryable error when the line is down, `chunk_missing` where there is none. */
export interface ChunkSource {
  /** The bytes are the caller's from then on. `memory`: of CHUNK_STORED_BYTES_MAX, which may come back with them, or be detached for it. */
  get(cid: ChunkCid, signal: AbortSignal, memory?: ArrayBuffer): Promise<Uint8Array>;
}

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** An older version on disk, whose pieces may be used again. */
export interface Previous {
  readonly root: string;
  readonly manifest: TreeManifest;
}

/** Fetches and reads a manifest. Throws `manifest_invalid` for bytes that are not what their name says. */
export async function fetchManifest(cid: ChunkCid, source: ChunkSource, signal: AbortSignal): Promise<TreeManifest> {
  const stored = await source.get(cid, signal);
  verifyCid(cid, stored);
  try {
    const plain = isZstd(stored) ? await decompress(stored, { maxOutputLength: MANIFEST_BYTES_MAX }) : stored;
    return treeManifestSchema.parse(JSON.parse(Buffer.from(plain).toString("utf8")));
  } catch (cause) {
    throw new QubixError("manifest_invalid", `The manifest ${cid} cannot be read`, { category: "platform", cause });
  }
}

/**
 * Writes the tree into the new folder `into`, owned by `owner`, every file and folder fsynced. Throws `tree_corrupt` when a sum does not match;
 * pieces of `previous` that turn out to be damaged are fetched instead.
 */
export async function unpackTree(
  manifest: TreeManifest,
  into: string,
  source: ChunkSource,
  options: {
    readonly owner: Owner;
    readonly threads: Threads;
    readonly previous?: Previous | undefined;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  await removeTree(into);
  await mkdir(into, { recursive: true });
  const previous = options.previous === undefined ? undefined : indexOf(options.previous);
  const reading = { source, previous, threads: options.threads, signal: options.signal, memory: [] };
  const folders = [into];
  for (const entry of manifest.entries.toSorted((a, b) => (a.path < b.path ? -1 : 1))) {
    options.signal.throwIfAborted();
    const path = join(into, entry.path);
    if (entry.kind === "directory") {
      await mkdir(path, { recursive: true });
      folders.push(path);
      continue;
    }
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, entry, reading, options);
  }
  await finishFolders(into, manifest, folders, options.owner);
}

/** Moves everything in `from` into `to` under its own name, replacing what has the same name; durable when it returns. */
export async function moveInto(from: string, to: string): Promise<string[]> {
  const names = await readdir(from);
  for (const name of names) {
    await removeTree(join(to, name));
    await rename(join(from, name), join(to, name));
  }
  await syncFolder(to);
  return names;
}

/** A manifest may also be stored as plain JSON. */
function isZstd(stored: Uint8Array): boolean {
  return ZSTD_MAGIC.every((byte, index) => stored[index] === byte);
}

type FileEntry = Extract<TreeEntry, { kind: "file" }>;
/** Where a plain piece lies in the previous version, by the names of all that it is made of. */
type PieceIndex = ReadonlyMap<string, { readonly root: string; readonly path: string; readonly position: number }>;

interface Reading {
  readonly source: ChunkSource;
  readonly previous: PieceIndex | undefined;
  readonly threads: Threads;
  readonly signal: AbortSignal;
  /** What pieces came in and need no more: each of CHUNK_STORED_BYTES_MAX. */
  readonly memory: ArrayBuffer[];
}
interface Place {
  readonly fd: number;
  readonly position: number;
}
interface Written {
  readonly bytes: number;
  /** All of it, or what it builds on, came from the previous version. */
  readonly reused: boolean;
}

function indexOf(previous: Previous): PieceIndex {
  const index = new Map<string, { root: string; path: string; position: number }>();
  for (const entry of previous.manifest.entries) {
    if (entry.kind !== "file") continue;
    let position = 0;
    for (const ref of entry.chunks) {
      if (ref.part === undefined) index.set(keyOf(namesOf(ref)), { root: previous.root, path: entry.path, position });
      position += ref.bytes;
    }
  }
  return index;
}

/** A piece's base and its layers, in order. */
function namesOf(ref: ChunkRef): readonly ChunkCid[] {
  return [ref.cid, ...(ref.layers ?? []).map(({ cid }) => cid)];
}

function keyOf(names: readonly ChunkCid[]): string {
  return names.join(" ");
}

async function writeFile(
  path: string,
  entry: FileEntry,
  reading: Reading,
  options: { readonly owner: Owner },
): Promise<void> {
  const handle = await open(path, "wx+", 0o600);
  try {
    const used = await writePieces(handle, entry, reading);
    if (used.sha256 !== entry.sha256 && used.reused > 0) {
      await handle.truncate(0);
      const again = await writePieces(handle, entry, { ...reading, previous: undefined });
      used.sha256 = again.sha256;
    }
    if (used.sha256 !== entry.sha256) throw corrupt(`${entry.path} has another SHA-256 than its manifest says`);
    const isGiven = await gives(handle.chown(options.owner.uid, options.owner.gid));
    await handle.chmod(isGiven ? entry.mode : forAll(entry.mode));
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** `sha256` of all of it, where the entry has one. */
async function writePieces(
  handle: FileHandle,
  entry: FileEntry,
  reading: Reading,
): Promise<{ sha256: string | undefined; reused: number }> {
  const ahead: Promise<Written>[] = [];
  const { fd } = handle;
  let reused = 0;
  let written = 0;
  let position = 0;
  const take = async () => {
    const piece = await (ahead.shift() as Promise<Written>);
    written += piece.bytes;
    if (piece.reused) reused += 1;
  };
  try {
    for (const ref of entry.chunks) {
      if (ahead.length >= FETCH_AHEAD) await take();
      const piece = writePiece(ref, { fd, position }, reading);
      // Looked at in its turn; an earlier failure must not make this one an unhandled rejection.
      piece.catch(() => undefined);
      ahead.push(piece);
      position += ref.bytes;
    }
    while (ahead.length > 0) await take();
  } finally {
    await Promise.allSettled(ahead);
  }
  if (written !== entry.bytes) throw corrupt(`${entry.path} has ${written} bytes, its manifest says ${entry.bytes}`);
  if (entry.sha256 === undefined) return { sha256: undefined, reused };
  return { sha256: await reading.threads.ask("sum", { fd, bytes: entry.bytes }), reused };
}

/** From the previous version as much as it has, the rest from the source; all from there when the previous one turns out to be damaged. */
async function writePiece(ref: ChunkRef, place: Place, reading: Reading): Promise<Written> {
  const known = await readOld(ref, reading.previous);
  if (known === undefined) return { bytes: await fetchPiece(ref, null, 0, place, reading), reused: false };
  try {
    return { bytes: await fetchPiece(ref, known.plain, known.skip, place, reading), reused: true };
  } catch (error) {
    if ((error as { code?: string }).code !== "tree_corrupt") throw error;
    return { bytes: await fetchPiece(ref, null, 0, place, reading), reused: false };
  }
}

/** Returns how many bytes were written. */
async function fetchPiece(
  ref: ChunkRef,
  plain: Uint8Array | null,
  skip: number,
  { fd, position }: Place,
  { source, threads, signal, memory }: Reading,
): Promise<number> {
  const given: ArrayBuffer[] = plain === null ? [] : wholeBuffer(plain);
  const fetch = async ({ cid, stored }: PieceLayer | ChunkRef): Promise<Uint8Array> => {
    if (stored < LARGE_BYTES) {
      const bytes = await source.get(cid, signal);
      given.push(...wholeBuffer(bytes));
      return bytes;
    }
    const lent = memory.pop() ?? new ArrayBuffer(CHUNK_STORED_BYTES_MAX);
    const bytes = await source.get(cid, signal, lent);
    const isLent = bytes.buffer === lent || lent.detached;
    if (!isLent) memory.push(lent);
    given.push(...(isLent && bytes.buffer instanceof ArrayBuffer ? [bytes.buffer] : wholeBuffer(bytes)));
    return bytes;
  };
  const stored = await Promise.all([ref, ...(ref.layers ?? [])].slice(skip).map(fetch));
  const { bytes, spare } = await threads.ask("write", { ref, stored, plain, skip, fd, position }, given);
  memory.push(...spare.filter(({ byteLength }) => byteLength === CHUNK_STORED_BYTES_MAX));
  return bytes;
}

/** The memory of these bytes, where nothing else lies in it. */
function wholeBuffer(bytes: Uint8Array): ArrayBuffer[] {
  const { buffer } = bytes;
  return buffer instanceof ArrayBuffer && buffer.byteLength === bytes.length ? [buffer] : [];
}

/** The plain piece as the previous version has it, or what it was before its last layers; `skip`: how many of its names that makes up for. */
async function readOld(
  ref: ChunkRef,
  previous: PieceIndex | undefined,
): Promise<{ readonly plain: Uint8Array; readonly skip: number } | undefined> {
  if (previous === undefined) return undefined;
  const names = namesOf(ref);
  for (let skip = names.length; skip > 0; skip -= 1) {
    const place = previous.get(keyOf(names.slice(0, skip)));
    const plain = place === undefined ? undefined : await readPlace(place, plainBytes(ref));
    if (plain !== undefined) return { plain, skip };
  }
  return undefined;
}

async function readPlace(
  place: { readonly root: string; readonly path: string; readonly position: number },
  bytes: number,
): Promise<Uint8Array | undefined> {
  try {
    const handle = await openInside(place.root, place.path);
    try {
      const buffer = new Uint8Array(bytes);
      const { bytesRead } = await handle.read(buffer, 0, bytes, place.position);
      return bytesRead === bytes ? buffer : undefined;
    } finally {
      await handle.close();
    }
  } catch {
    // The old version is only a short cut: without it the piece is fetched.
    return undefined;
  }
}

async function finishFolders(into: string, manifest: TreeManifest, folders: string[], owner: Owner): Promise<void> {
  const modes = new Map(
    manifest.entries.flatMap((entry) => (entry.kind === "directory" ? [[join(into, entry.path), entry.mode]] : [])),
  );
  // Deepest first: a folder without write permission for us must be finished after what is in it.
  for (const folder of folders.toReversed()) {
    await syncFolder(folder);
    const mode = modes.get(folder) ?? 0o755;
    const isGiven = await gives(chown(folder, owner.uid, owner.gid));
    await chmod(folder, isGiven ? mode : forAll(mode));
  }
}

/** Makes a folder's entries durable. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Gives a file or folder to the container's user; an agent without that right leaves it readable and writable for all. */
export async function giveTo(path: string, owner: Owner): Promise<void> {
  if (!(await gives(chown(path, owner.uid, owner.gid)))) await chmod(path, 0o777);
}

/** False for an agent that has not the right to give something away. */
async function gives(giving: Promise<void>): Promise<boolean> {
  try {
    await giving;
    return true;
  } catch (error) {
    if (!isForbidden(error)) throw error;
    return false;
  }
}

/** All may do what the owner could: nobody but the agent and the container looks into a slot's folders. */
function forAll(mode: number): number {
  const own = (mode >> 6) & 0o7;
  return mode | (own << 3) | own;
}

function isForbidden(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "EPERM";
}

function verifyCid(cid: ChunkCid, stored: Uint8Array): void {
  if (cidOf(stored) !== cid) throw corrupt(`the bytes that came for chunk ${cid} are others`);
}

function corrupt(what: string, cause?: unknown): QubixError {
  return new QubixError("tree_corrupt", `A stored tree is damaged: ${what}`, { category: "platform", cause });
}
