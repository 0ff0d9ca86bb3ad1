// Ships a tree: cuts its files into pieces, asks which the store lacks, sends those, and last the manifest that names them all. Reading, encoding
// and sending overlap; memory is bounded by the pieces being made and two batches being sent. Threads do what takes time.
import type { BigIntStats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { promisify } from "node:util";
import { constants as zlib, zstdCompress } from "node:zlib";
import { cidOf } from "@qubix/shared/chunks";
import {
  CHUNK_STORED_BYTES_MAX,
  type ChunkRef,
  MANIFEST_CHUNKS_MAX,
  type TreeEntry,
  type TreeManifest,
  type TreeRef,
  UPLOAD_MANIFEST_BYTES_MAX,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import type { Piece, PieceOptions } from "./encode/pieces.ts";
import { likeSegments, movedSegments, newSegments, type Segment } from "./encode/segments.ts";
import type { Threads } from "./encode/threads.ts";
import { closeFiles, markOf, type Parent, PARENT_FILES_OPEN_MAX, type ParentFile, type TreeOnDisk } from "./parent.ts";
import { type ChunkSink, createSender, type Sender, sendMissing } from "./send.ts";
import { openInside, type Walked, type WalkedEntry } from "./walk.ts";

const compress = promisify(zstdCompress);
const ZSTD_LEVEL = 1;
/** Stretches that a thread makes pieces of at a time, at most: long enough that asking costs nothing, short enough that all threads end together. */
const TASK_SEGMENTS_MAX = 2;
/** Tasks asked and not yet sent, a thread: each holds some MiB. */
const TASKS_AHEAD = 2;

export interface ShipOptions {
  readonly threads: Threads;
  /** What the new tree is told relative to. */
  readonly parent?: Parent | null | undefined;
  /** Each file gets a sum, as outputs need it for whoever fetches them; else each piece has one. */
  readonly fileSums?: boolean | undefined;
}

interface PackOptions extends ShipOptions {
  /** No piece of it is to have differences: those of the parent that have none count as before, if they are equal. */
  readonly isBase?: boolean;
}

/** What was shipped, as the next one's parent needs it. The handles are the caller's to close. */
export interface ShippedTree extends TreeOnDisk {
  readonly tree: TreeRef;
  readonly open: ReadonlyMap<string, FileHandle>;
}

/**
 * Ships what was walked under `root`. Throws `file_changed` when a file changes meanwhile (try again), `tree_too_large`, or what the sink throws.
 * Differences make a manifest longer from one checkpoint to the next: where they have no room in it any more, what has some is stored whole.
 */
export async function shipTree(
  root: string,
  walked: Walked,
  sink: ChunkSink,
  signal: AbortSignal,
  options: ShipOptions,
): Promise<ShippedTree> {
  try {
    return await shipOnce(root, walked, sink, signal, options);
  } catch (error) {
    const hasParent = options.parent !== undefined && options.parent !== null;
    if (!hasParent || (error as { code?: unknown }).code !== "tree_too_large") throw error;
    return await shipOnce(root, walked, sink, signal, { ...options, isBase: true });
  }
}

async function shipOnce(
  root: string,
  walked: Walked,
  sink: ChunkSink,
  signal: AbortSignal,
  options: PackOptions,
): Promise<ShippedTree> {
  const sender = createSender(sink, signal);
  const entries: TreeEntry[] = [];
  const marks: Record<string, string> = {};
  const open = new Map<string, FileHandle>();
  try {
    for (const entry of walked.entries) {
      signal.throwIfAborted();
      if (entry.kind === "directory") {
        entries.push({ kind: "directory", path: entry.path, mode: entry.mode });
        continue;
      }
      const handle = await openInside(root, entry.path);
      if (open.size < PARENT_FILES_OPEN_MAX) open.set(entry.path, handle);
      try {
        const before = await handle.stat({ bigint: true });
        entries.push(await packFile(handle, before, entry, sender, options));
        marks[entry.path] = markOf(before);
      } finally {
        if (!open.has(entry.path)) await handle.close();
      }
    }
    await sender.finish();
    const tree = await sendManifest(entries, sink, sender.moved(), signal);
    return { tree, manifest: manifestOf(entries), marks, open };
  } catch (error) {
    await sender.abandon();
    await closeFiles(open);
    throw error;
  }
}

function manifestOf(entries: TreeEntry[]): TreeManifest {
  return { version: 2, encoding: "zstd", entries };
}

async function sendManifest(
  entries: TreeEntry[],
  sink: ChunkSink,
  moved: number,
  signal: AbortSignal,
): Promise<TreeRef> {
  const stored = await encodeManifest(manifestOf(entries));
  const cid = cidOf(stored);
  const files = entries.filter((entry) => entry.kind === "file");
  return {
    manifestCid: cid,
    files: files.length,
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    bytesMoved: moved + (await sendMissing(sink, [{ cid, stored }], signal)),
  };
}

/** A manifest as it is stored: JSON, compressed. Throws `tree_too_large` when it does not fit a chunk. */
export async function encodeManifest(manifest: TreeManifest): Promise<Uint8Array> {
  const pieces = manifest.entries.reduce((sum, entry) => sum + (entry.kind === "file" ? entry.chunks.length : 0), 0);
  const plain = Buffer.from(JSON.stringify(manifest));
  const stored = await compress(plain, { params: { [zlib.ZSTD_c_compressionLevel]: ZSTD_LEVEL } });
  const isTooLong = plain.length > UPLOAD_MANIFEST_BYTES_MAX || stored.length > CHUNK_STORED_BYTES_MAX;
  if (isTooLong || pieces > MANIFEST_CHUNKS_MAX) {
    throw new QubixError(
      "tree_too_large",
      `The tree has ${manifest.entries.length} files and folders of ${pieces} pieces; that is more than one manifest holds. Save less, or pack it into fewer files, e.g. an archive.`,
      { category: "user" },
    );
  }
  return stored;
}

async function packFile(
  handle: FileHandle,
  before: BigIntStats,
  entry: WalkedEntry,
  sender: Sender,
  options: PackOptions,
): Promise<Extract<TreeEntry, { kind: "file" }>> {
  const bytes = Number(before.size);
  const parent = await options.parent?.fileFor(entry.path);
  const { threads, isBase = false } = options;
  const told = await segmentsOf(handle, bytes, parent, threads);
  const segments = isBase ? told.map(withoutLayers) : told;
  const withSum = options.fileSums !== true;
  const asked = { nowFd: handle.fd, beforeFd: parent?.handle.fd ?? null, withSum, isBase };
  const making = makePieces(segments, asked, sender, threads);
  const summing = withSum ? Promise.resolve(undefined) : threads.ask("sum", { fd: handle.fd, bytes });
  // When one fails the other still reads the file, which must not be closed before: its number may be another file's then.
  await Promise.allSettled([making, summing]);
  const [chunks, sha256] = await Promise.all([making, summing]);
  const after = await handle.stat({ bigint: true });
  if (before.size !== after.size || before.mtimeNs !== after.mtimeNs) {
    throw fileChanged(entry.path);
  }
  // What is equal to bytes that the job has only now put there is not what is stored under the parent's names.
  if (parent !== undefined && !(await parent.isSame())) throw fileChanged(parent.entry.path);
  const file = { kind: "file", path: entry.path, mode: entry.mode, bytes, chunks } as const;
  return sha256 === undefined ? file : { ...file, sha256 };
}

function fileChanged(path: string): QubixError {
  return new QubixError("file_changed", `${path} changed while it was read`, { category: "conflict", retryable: true });
}

async function segmentsOf(
  handle: FileHandle,
  bytes: number,
  parent: ParentFile | undefined,
  threads: Threads,
): Promise<readonly Segment[]> {
  if (parent === undefined) return newSegments(0, bytes);
  const { entry } = parent;
  if (entry.bytes === bytes) return likeSegments(entry.chunks);
  const moves = await threads.ask("align", {
    now: { fd: handle.fd, bytes },
    before: { fd: parent.handle.fd, bytes: entry.bytes },
  });
  return movedSegments(moves, entry.chunks);
}

/** Pieces of the parent that have differences are not built on. */
function withoutLayers(segment: Segment): Segment {
  if (segment.kind === "new" || segment.ref.layers === undefined) return segment;
  return { kind: "new", at: segment.at, bytes: segment.bytes };
}

/** The pieces in order, each handed to the sender as it comes. */
async function makePieces(
  segments: readonly Segment[],
  options: PieceOptions,
  sender: Sender,
  threads: Threads,
): Promise<ChunkRef[]> {
  const refs: ChunkRef[] = [];
  const ahead: Promise<readonly Piece[]>[] = [];
  /** Memory goes round: from a thread with a piece, and back when that is stored. */
  const memory: ArrayBuffer[] = [];
  const take = async () => {
    for (const { ref, stored } of (await ahead.shift()) ?? []) {
      refs.push(ref);
      if (stored === null) continue;
      const cid = ref.layers?.at(-1)?.cid ?? ref.cid;
      await sender.add({ cid, stored, done: () => memory.push(stored.buffer as ArrayBuffer) });
    }
  };
  const ask = async (asked: readonly AskedSegment[]) => {
    const given = memory.splice(0, asked.length);
    const { pieces, spare } = await threads.ask("pieces", { segments: asked, memory: given, ...options }, given);
    memory.push(...spare);
    return pieces;
  };
  try {
    for (const task of tasksOf(segments, threads.count)) {
      while (ahead.length >= threads.count * TASKS_AHEAD) await take();
      const answer = task.kind === "known" ? Promise.resolve(known(task.segments)) : ask(task.segments);
      // Looked at in its turn; an earlier failure must not make this one an unhandled rejection.
      answer.catch(() => undefined);
      ahead.push(answer);
    }
    while (ahead.length > 0) await take();
    return refs;
  } finally {
    // The files are read until the last thread has answered.
    await Promise.allSettled(ahead);
  }
}

type Task =
  | { readonly kind: "known"; readonly segments: readonly Extract<Segment, { kind: "known" }>[] }
  | { readonly kind: "ask"; readonly segments: readonly AskedSegment[] };
type AskedSegment = Exclude<Segment, { kind: "known" }>;

/** Some stretches at a time, in order: those that are known need no thread. */
function* tasksOf(segments: readonly Segment[], threads: number): Iterable<Task> {
  const together = Math.min(TASK_SEGMENTS_MAX, Math.ceil(segments.length / threads));
  let asked: AskedSegment[] = [];
  for (const segment of segments) {
    if (segment.kind === "known") {
      if (asked.length > 0) yield { kind: "ask", segments: asked };
      asked = [];
      yield { kind: "known", segments: [segment] };
      continue;
    }
    asked.push(segment);
    if (asked.length < together) continue;
    yield { kind: "ask", segments: asked };
    asked = [];
  }
  if (asked.length > 0) yield { kind: "ask", segments: asked };
}

function known(segments: readonly Extract<Segment, { kind: "known" }>[]): readonly Piece[] {
  return segments.map(({ ref }) => ({ ref, stored: null }));
}
