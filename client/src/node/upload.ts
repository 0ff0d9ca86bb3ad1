// Uploads a file or folder from this disk: cut into chunks, compressed, only what the store lacks is sent. A cut upload is resumed by starting it
// again: what arrived is found to be there.
import { createHash, type Hash } from "node:crypto";
import { lstat, open, readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { promisify } from "node:util";
import { constants, zstdCompress } from "node:zlib";
import { type CallOptions, type Client, QubixError, type TreeManifest, type Upload } from "../sdk/index.ts";
import { CHUNK_BYTES_MAX, HAVE_CHUNKS_MAX, MANIFEST_CHUNKS_MAX, MANIFEST_ENTRIES_MAX } from "@qubix/shared/protocol";
import { cidOf } from "./cid.ts";

/** Level 1 keeps up with a fast disk; higher levels gain little on data that is mostly numbers. */
const ZSTD_LEVEL = 1;
/** Chunks that are asked about, and then sent, together: bounds the memory to about this many MiB. */
const WINDOW_CHUNKS = 64;
/** Chunks on their way at a time. */
const PUTS_IN_FLIGHT = 4;
const PERMISSION_BITS = 0o777;

const compress = promisify(zstdCompress);

export interface UploadProgress {
  readonly files: number;
  /** Plain bytes read so far, and in all. */
  readonly bytes: number;
  readonly bytesTotal: number;
  /** Compressed bytes that went over the line. */
  readonly bytesMoved: number;
}
export interface UploadOptions extends CallOptions {
  readonly onProgress?: ((progress: UploadProgress) => void) | undefined;
}

type Entry = TreeManifest["entries"][number];
type FileEntry = Extract<Entry, { kind: "file" }>;
interface LocalEntry {
  readonly kind: "file" | "directory";
  readonly path: string;
  readonly local: string;
  readonly mode: number;
  readonly bytes: number;
}
interface PendingChunk {
  readonly cid: string;
  readonly stored: Uint8Array;
}

/**
 * Uploads `path` (a file, or a folder with all it holds) and returns the upload, whose `id` goes into a job's `inputs`.
 * A file becomes a tree of that one file under its own name. Errors: `input_not_found`, `input_unsupported`, and those of the API.
 */
export async function uploadPath(client: Client, path: string, options: UploadOptions = {}): Promise<Upload> {
  const { onProgress, ...call } = options;
  const locals = await scan(path);
  const sender = createSender(client, call);
  const bytesTotal = locals.reduce((sum, entry) => sum + entry.bytes, 0);
  let bytes = 0;
  let files = 0;
  const entries: Entry[] = [];
  for (const local of locals) {
    call.signal?.throwIfAborted();
    if (local.kind === "directory") {
      entries.push({ kind: "directory", path: local.path, mode: local.mode });
      continue;
    }
    entries.push(
      await readFileInto(local, async (chunk, plainBytes) => {
        bytes += plainBytes;
        await sender.add(chunk);
        onProgress?.({ files, bytes, bytesTotal, bytesMoved: sender.bytesMoved() });
      }),
    );
    files += 1;
  }
  await sender.flush();
  onProgress?.({ files, bytes, bytesTotal, bytesMoved: sender.bytesMoved() });
  return await client.uploads.create({ version: 1, encoding: "zstd", entries }, call);
}

async function scan(path: string): Promise<readonly LocalEntry[]> {
  const root = resolve(path);
  const found: LocalEntry[] = [];
  const visit = async (local: string, inside: string): Promise<void> => {
    const stat = await statOf(local);
    const mode = stat.mode & PERMISSION_BITS;
    if (stat.isFile()) found.push({ kind: "file", path: inside, local, mode, bytes: stat.size });
    else if (stat.isDirectory()) {
      if (inside !== "") found.push({ kind: "directory", path: inside, local, mode, bytes: 0 });
      const names = (await readdir(local)).toSorted();
      for (const name of names) await visit(join(local, name), inside === "" ? name : `${inside}/${name}`);
    } else {
      throw new QubixError(
        "input_unsupported",
        `${local} is neither a file nor a folder (a symbolic link or a device). Replace it by what it points to, or leave it out.`,
        { category: "user" },
      );
    }
    if (found.length > MANIFEST_ENTRIES_MAX) {
      throw new QubixError(
        "input_too_large",
        `${path} holds more than ${MANIFEST_ENTRIES_MAX} files and folders. Pack them into an archive, or upload a part.`,
        { category: "user" },
      );
    }
  };
  const top = await statOf(root);
  await visit(root, top.isFile() ? basename(root) : "");
  return found;
}

async function statOf(path: string) {
  try {
    return await lstat(path);
  } catch (cause) {
    throw new QubixError("input_not_found", `Cannot read the input ${path}: ${(cause as Error).message}.`, {
      category: "user",
      cause,
    });
  }
}

async function readFileInto(
  local: LocalEntry,
  onChunk: (chunk: PendingChunk, plainBytes: number) => Promise<void>,
): Promise<FileEntry> {
  const hash: Hash = createHash("sha256");
  const chunks: { cid: string; bytes: number; stored: number }[] = [];
  let total = 0;
  const file = await open(local.local, "r");
  try {
    for (;;) {
      const plain = Buffer.allocUnsafe(CHUNK_BYTES_MAX);
      const length = await readFully(file, plain);
      if (length === 0) break;
      const part = plain.subarray(0, length);
      hash.update(part);
      total += length;
      const stored = await compress(part, { params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL } });
      const cid = cidOf(stored);
      chunks.push({ cid, bytes: length, stored: stored.length });
      if (chunks.length > MANIFEST_CHUNKS_MAX) {
        throw new QubixError("input_too_large", `${local.local} is larger than 64 GiB. Split it.`, {
          category: "user",
        });
      }
      await onChunk({ cid, stored }, length);
    }
  } finally {
    await file.close();
  }
  const ids = chunks as FileEntry["chunks"];
  return { kind: "file", path: local.path, mode: local.mode, bytes: total, sha256: hash.digest("hex"), chunks: ids };
}

async function readFully(file: Awaited<ReturnType<typeof open>>, into: Buffer): Promise<number> {
  let length = 0;
  while (length < into.length) {
    const { bytesRead } = await file.read(into, length, into.length - length, null);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return length;
}

interface Sender {
  add(chunk: PendingChunk): Promise<void>;
  flush(): Promise<void>;
  bytesMoved(): number;
}

function createSender(client: Client, call: CallOptions): Sender {
  const known = new Set<string>();
  let window = new Map<string, Uint8Array>();
  let moved = 0;
  const flush = async (): Promise<void> => {
    if (window.size === 0) return;
    const batch = window;
    window = new Map();
    const missing = [...(await client.uploads.missing([...batch.keys()], call))];
    const put = async (): Promise<void> => {
      for (let cid = missing.pop(); cid !== undefined; cid = missing.pop()) {
        const stored = batch.get(cid);
        if (stored === undefined) continue;
        await client.uploads.putChunk(cid, stored, call);
        moved += stored.length;
      }
    };
    await Promise.all(Array.from({ length: PUTS_IN_FLIGHT }, put));
    for (const cid of batch.keys()) known.add(cid);
  };
  return {
    add: async ({ cid, stored }) => {
      if (known.has(cid)) return;
      window.set(cid, stored);
      if (window.size >= Math.min(WINDOW_CHUNKS, HAVE_CHUNKS_MAX)) await flush();
    },
    flush,
    bytesMoved: () => moved,
  };
}
