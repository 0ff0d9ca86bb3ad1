// Brings a stored tree to disk: fetched, checked against its names and sums, written under a private name, made durable, and only then moved into place.
// A standby follows every commit: pieces that its last version already has are read from there instead of the line.
import { createHash } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, rename, chmod, chown } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { zstdDecompress } from "node:zlib";
import type { ChunkCid } from "@qubix/shared/domain";
import {
  CHUNK_BYTES_MAX,
  type ChunkRef,
  type TreeEntry,
  type TreeManifest,
  treeManifestSchema,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { cidOf } from "./cid.ts";
import { removeTree } from "./remove.ts";
import { openInside } from "./walk.ts";

const decompress = promisify(zstdDecompress);
/** Pieces on their way at once: enough to fill a line of 100 ms, few enough to fit in memory. */
const FETCH_AHEAD = 8;
/** A manifest's plain size: names and sums of the largest tree that fits one chunk. */
const MANIFEST_BYTES_MAX = 64 * 1024 * 1024;

/** The first bytes of a zstd frame (RFC 8878). */
const ZSTD_MAGIC = [0x28, 0xb5, 0x2f, 0xfd];

/** Where chunks come from. Throws a retryable error when the line is down, `chunk_missing` where there is none. */
export interface ChunkSource {
  get(cid: ChunkCid, signal: AbortSignal): Promise<Uint8Array>;
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
  options: { readonly owner: Owner; readonly previous?: Previous | undefined; readonly signal: AbortSignal },
): Promise<void> {
  await removeTree(into);
  await mkdir(into, { recursive: true });
  const previous = options.previous === undefined ? undefined : indexOf(options.previous);
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
    await writeFile(path, entry, source, previous, options);
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
type PieceIndex = ReadonlyMap<ChunkCid, { readonly root: string; readonly path: string; readonly position: number }>;

function indexOf(previous: Previous): PieceIndex {
  const index = new Map<ChunkCid, { root: string; path: string; position: number }>();
  for (const entry of previous.manifest.entries) {
    if (entry.kind !== "file") continue;
    let position = 0;
    for (const chunk of entry.chunks) {
      index.set(chunk.cid, { root: previous.root, path: entry.path, position });
      position += chunk.bytes;
    }
  }
  return index;
}

async function writeFile(
  path: string,
  entry: FileEntry,
  source: ChunkSource,
  previous: PieceIndex | undefined,
  options: { readonly owner: Owner; readonly signal: AbortSignal },
): Promise<void> {
  const handle = await open(path, "wx", 0o600);
  try {
    const used = await writePieces(handle, entry, source, previous, options.signal);
    if (used.sha256 !== entry.sha256 && used.reused > 0) {
      await handle.truncate(0);
      const again = await writePieces(handle, entry, source, undefined, options.signal);
      used.sha256 = again.sha256;
    }
    if (used.sha256 !== entry.sha256) throw corrupt(`${entry.path} has another SHA-256 than its manifest says`);
    await own(handle, options.owner);
    await handle.chmod(entry.mode);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writePieces(
  handle: FileHandle,
  entry: FileEntry,
  source: ChunkSource,
  previous: PieceIndex | undefined,
  signal: AbortSignal,
): Promise<{ sha256: string; reused: number }> {
  const hash = createHash("sha256");
  const ahead: Promise<{ plain: Uint8Array; reused: boolean }>[] = [];
  let reused = 0;
  let position = 0;
  const chunks = entry.chunks;
  for (let next = 0; ahead.length > 0 || next < chunks.length; ) {
    while (next < chunks.length && ahead.length < FETCH_AHEAD) {
      const piece = loadPiece(chunks[next++] as ChunkRef, source, previous, signal);
      // Looked at below, in order; an earlier failure must not make this one an unhandled rejection.
      piece.catch(() => undefined);
      ahead.push(piece);
    }
    const piece = await (ahead.shift() as Promise<{ plain: Uint8Array; reused: boolean }>);
    hash.update(piece.plain);
    await handle.write(piece.plain, 0, piece.plain.length, position);
    position += piece.plain.length;
    if (piece.reused) reused += 1;
  }
  if (position !== entry.bytes) throw corrupt(`${entry.path} has ${position} bytes, its manifest says ${entry.bytes}`);
  return { sha256: hash.digest("hex"), reused };
}

async function loadPiece(
  ref: ChunkRef,
  source: ChunkSource,
  previous: PieceIndex | undefined,
  signal: AbortSignal,
): Promise<{ plain: Uint8Array; reused: boolean }> {
  const old = await readOld(ref, previous);
  if (old !== undefined) return { plain: old, reused: true };
  const stored = await source.get(ref.cid, signal);
  verifyCid(ref.cid, stored);
  const plain = await decompress(stored, { maxOutputLength: CHUNK_BYTES_MAX }).catch((cause: unknown) => {
    throw corrupt(`chunk ${ref.cid} does not decompress`, cause);
  });
  if (plain.length !== ref.bytes) throw corrupt(`chunk ${ref.cid} has another size than its manifest says`);
  return { plain, reused: false };
}

async function readOld(ref: ChunkRef, previous: PieceIndex | undefined): Promise<Uint8Array | undefined> {
  const place = previous?.get(ref.cid);
  if (place === undefined) return undefined;
  try {
    const handle = await openInside(place.root, place.path);
    try {
      const buffer = Buffer.allocUnsafe(ref.bytes);
      const { bytesRead } = await handle.read(buffer, 0, ref.bytes, place.position);
      return bytesRead === ref.bytes ? buffer : undefined;
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
    await giveTo(folder, owner);
    await chmod(folder, modes.get(folder) ?? 0o755);
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
  try {
    await chown(path, owner.uid, owner.gid);
  } catch (error) {
    if (!isForbidden(error)) throw error;
    await chmod(path, 0o777);
  }
}

async function own(handle: FileHandle, owner: Owner): Promise<void> {
  try {
    await handle.chown(owner.uid, owner.gid);
  } catch (error) {
    if (!isForbidden(error)) throw error;
  }
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
