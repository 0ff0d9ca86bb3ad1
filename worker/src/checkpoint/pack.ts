// Ships a tree: cuts its files into chunks, compresses them, asks which the store lacks, sends those, and last the manifest that names them all.
// Reading, compressing and sending overlap; memory is bounded by two batches. Nothing here holds the event loop for more than a chunk's hash.
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { promisify } from "node:util";
import { constants as zlib, zstdCompress } from "node:zlib";
import type { ChunkCid } from "@qubix/shared/domain";
import {
  CHUNK_BYTES_MAX,
  CHUNK_STORED_BYTES_MAX,
  type ChunkRef,
  MANIFEST_CHUNKS_MAX,
  type TreeEntry,
  type TreeManifest,
  type TreeRef,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { cidOf } from "./cid.ts";
import { openInside, type Walked, type WalkedEntry } from "./walk.ts";

const compress = promisify(zstdCompress);
/** Level 1: 485–1,030 MB/s a core here; higher levels gain little on weights. */
const ZSTD_LEVEL = 1;
/** Chunks gathered before the store is asked. */
const BATCH_CHUNKS = 16;
/** Batches being sent while the next is made. */
const BATCHES_IN_FLIGHT = 2;
/** Chunks compressed at once: the size of libuv's pool. */
const COMPRESSING_MAX = 4;

/** Where chunks go. Both may throw a retryable error; asking again is harmless. */
export interface ChunkSink {
  missing(cids: readonly ChunkCid[], signal: AbortSignal): Promise<ReadonlySet<ChunkCid>>;
  put(cid: ChunkCid, stored: Uint8Array, signal: AbortSignal): Promise<void>;
}

interface Chunk {
  readonly ref: ChunkRef;
  readonly stored: Uint8Array;
}

/**
 * Ships what was walked under `root`. Throws `file_changed` when a file changes meanwhile (try again), `tree_too_large`, or what the sink throws.
 */
export async function shipTree(root: string, walked: Walked, sink: ChunkSink, signal: AbortSignal): Promise<TreeRef> {
  const sender = createSender(sink, signal);
  const entries: TreeEntry[] = [];
  let bytes = 0;
  try {
    for (const entry of walked.entries) {
      signal.throwIfAborted();
      if (entry.kind === "directory") {
        entries.push({ kind: "directory", path: entry.path, mode: entry.mode });
        continue;
      }
      const packed = await packFile(root, entry, sender);
      entries.push(packed);
      bytes += packed.bytes;
    }
    await sender.finish();
  } catch (error) {
    await sender.abandon();
    throw error;
  }
  const manifest = await encodeManifest({ version: 1, encoding: "zstd", entries });
  const manifestCid = cidOf(manifest);
  const moved = await sendMissing(
    sink,
    [{ ref: { cid: manifestCid, bytes: 0, stored: manifest.length }, stored: manifest }],
    signal,
  );
  return {
    manifestCid,
    files: entries.filter((entry) => entry.kind === "file").length,
    bytes,
    bytesMoved: sender.moved() + moved,
  };
}

/** A manifest as it is stored: JSON, compressed. Throws `tree_too_large` when it does not fit a chunk. */
export async function encodeManifest(manifest: TreeManifest): Promise<Uint8Array> {
  const chunks = manifest.entries.reduce((sum, entry) => sum + (entry.kind === "file" ? entry.chunks.length : 0), 0);
  const stored = await compressChunk(Buffer.from(JSON.stringify(manifest)));
  if (stored.length > CHUNK_STORED_BYTES_MAX || chunks > MANIFEST_CHUNKS_MAX) {
    throw new QubixError("tree_too_large", `The tree has ${chunks} pieces; that is more than one manifest holds.`, {
      category: "user",
    });
  }
  return stored;
}

async function packFile(
  root: string,
  entry: WalkedEntry,
  sender: Sender,
): Promise<Extract<TreeEntry, { kind: "file" }>> {
  const handle = await openInside(root, entry.path);
  try {
    const before = await handle.stat({ bigint: true });
    const hash = createHash("sha256");
    const chunks: Promise<ChunkRef>[] = [];
    let at = 0;
    for (;;) {
      const piece = await readPiece(handle, at);
      if (piece.length === 0) break;
      hash.update(piece);
      at += piece.length;
      chunks.push((await sender.add(piece)).ref);
    }
    const refs = await Promise.all(chunks);
    const after = await handle.stat({ bigint: true });
    if (before.size !== after.size || before.mtimeNs !== after.mtimeNs || BigInt(at) !== after.size) {
      throw new QubixError("file_changed", `${entry.path} changed while it was read`, {
        category: "conflict",
        retryable: true,
      });
    }
    return { kind: "file", path: entry.path, mode: entry.mode, bytes: at, sha256: hash.digest("hex"), chunks: refs };
  } finally {
    await handle.close();
  }
}

async function readPiece(handle: FileHandle, position: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES_MAX);
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

async function compressChunk(plain: Uint8Array): Promise<Buffer> {
  return compress(plain, { params: { [zlib.ZSTD_c_compressionLevel]: ZSTD_LEVEL } });
}

interface Sender {
  /** Takes a piece when there is room for it; the reference comes when it is compressed. */
  add(plain: Buffer): Promise<{ readonly ref: Promise<ChunkRef> }>;
  finish(): Promise<void>;
  abandon(): Promise<void>;
  moved(): number;
}

function createSender(sink: ChunkSink, signal: AbortSignal): Sender {
  const known = new Set<ChunkCid>();
  const compressing = new Set<Promise<unknown>>();
  const sending = new Set<Promise<void>>();
  let batch: Chunk[] = [];
  let moved = 0;
  let failure: unknown;

  async function make(plain: Buffer): Promise<ChunkRef> {
    const stored = await compressChunk(plain);
    const ref = { cid: cidOf(stored), bytes: plain.length, stored: stored.length };
    if (!known.has(ref.cid)) {
      known.add(ref.cid);
      batch.push({ ref, stored });
      if (batch.length >= BATCH_CHUNKS) dispatch();
    }
    return ref;
  }

  function dispatch(): void {
    const chunks = batch;
    batch = [];
    if (chunks.length === 0) return;
    track(
      sending,
      sendMissing(sink, chunks, signal).then((bytes) => {
        moved += bytes;
      }),
    );
  }

  function track<T>(set: Set<Promise<unknown>>, work: Promise<T>): void {
    const tracked: Promise<void> = work.then(
      () => void set.delete(tracked),
      (error: unknown) => {
        set.delete(tracked);
        failure ??= error;
      },
    );
    set.add(tracked);
  }

  function check(): void {
    if (failure !== undefined) throw failure;
    signal.throwIfAborted();
  }

  return {
    async add(plain) {
      while (compressing.size >= COMPRESSING_MAX) await Promise.race(compressing);
      while (sending.size >= BATCHES_IN_FLIGHT) await Promise.race(sending);
      check();
      const made = make(plain);
      track(compressing, made);
      return { ref: made };
    },
    async finish() {
      while (compressing.size > 0) await Promise.race(compressing);
      check();
      dispatch();
      while (sending.size > 0) await Promise.race(sending);
      check();
    },
    async abandon() {
      await Promise.allSettled([...compressing, ...sending]);
    },
    moved: () => moved,
  };
}

/** Sends those of the chunks that the store lacks; returns how many bytes that were. */
async function sendMissing(sink: ChunkSink, chunks: readonly Chunk[], signal: AbortSignal): Promise<number> {
  const missing = await sink.missing(
    chunks.map((chunk) => chunk.ref.cid),
    signal,
  );
  const lacking = chunks.filter((chunk) => missing.has(chunk.ref.cid));
  await Promise.all(lacking.map((chunk) => sink.put(chunk.ref.cid, chunk.stored, signal)));
  return lacking.reduce((sum, chunk) => sum + chunk.stored.length, 0);
}
