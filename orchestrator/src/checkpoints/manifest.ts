// Manifests: how they are stored (JSON under zstd, or plain JSON), and what makes a tree valid beyond its schema.
import { promisify } from "node:util";
import { zstdCompress, zstdDecompress } from "node:zlib";
import type { ChunkCid } from "@qubix/shared/domain";
import {
  CHUNK_BYTES_MAX,
  MANIFEST_CHUNKS_MAX,
  treeManifestSchema,
  type ChunkRef,
  type TreeManifest,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";

const decompress = promisify(zstdDecompress);
const compress = promisify(zstdCompress);
const ZSTD_MAGIC = 0xfd2fb528;
/** Plain size of a manifest: 65,536 chunks of some 110 bytes each, and as much for paths. */
const MANIFEST_BYTES_MAX = 16 * 1024 * 1024;

/** Throws `tree_invalid` with what is wrong. */
export async function decodeManifest(stored: Buffer): Promise<TreeManifest> {
  let value: unknown;
  try {
    value = JSON.parse((await plain(stored, MANIFEST_BYTES_MAX)).toString("utf8"));
  } catch (cause) {
    throw invalid("its manifest is not readable", cause);
  }
  const parsed = treeManifestSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw invalid(`its manifest is not valid: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
  }
  checkTree(parsed.data);
  return parsed.data;
}

/** The bytes to be stored for a manifest. */
export async function encodeManifest(manifest: TreeManifest): Promise<Buffer> {
  checkTree(manifest);
  return compress(Buffer.from(JSON.stringify(manifest)));
}

/** The plain bytes of a stored chunk; throws when they are not `bytes` long. */
export async function decodeChunk(stored: Buffer, { bytes }: ChunkRef): Promise<Buffer> {
  const data = await decompress(stored, { maxOutputLength: CHUNK_BYTES_MAX });
  if (data.length !== bytes) throw new RangeError(`a chunk has ${data.length} bytes, not ${bytes}`);
  return data;
}

export function* chunksOf(manifest: TreeManifest): Iterable<ChunkRef> {
  for (const entry of manifest.entries) if (entry.kind === "file") yield* entry.chunks;
}

/** Every chunk the tree needs, its manifest included. */
export function* cidsOf(manifestCid: ChunkCid, manifest: TreeManifest): Iterable<ChunkCid> {
  yield manifestCid;
  for (const chunk of chunksOf(manifest)) yield chunk.cid;
}

/** Number of files and their plain size. */
export function sizeOf(manifest: TreeManifest): { readonly files: number; readonly bytes: number } {
  let files = 0;
  let bytes = 0;
  for (const entry of manifest.entries) {
    if (entry.kind !== "file") continue;
    files += 1;
    bytes += entry.bytes;
  }
  return { files, bytes };
}

/** What the schema cannot say: each path once, nothing below a file, sizes that add up. Throws `tree_invalid`. */
export function checkTree(manifest: TreeManifest): void {
  const files = new Set<string>();
  const paths = new Set<string>();
  let chunks = 0;
  for (const entry of manifest.entries) {
    if (paths.has(entry.path)) throw invalid(`${entry.path} is named twice`);
    paths.add(entry.path);
    if (entry.kind === "directory") continue;
    files.add(entry.path);
    chunks += entry.chunks.length;
    const bytes = entry.chunks.reduce((sum, chunk) => sum + chunk.bytes, 0);
    if (bytes !== entry.bytes) throw invalid(`the chunks of ${entry.path} have ${bytes} bytes, not ${entry.bytes}`);
  }
  if (chunks > MANIFEST_CHUNKS_MAX)
    throw invalid(`it has ${chunks} chunks, at most ${MANIFEST_CHUNKS_MAX} are allowed`);
  for (const path of paths) {
    for (let at = path.indexOf("/"); at !== -1; at = path.indexOf("/", at + 1)) {
      if (files.has(path.slice(0, at))) throw invalid(`${path} lies below a file`);
    }
  }
}

async function plain(stored: Buffer, bytesMax: number): Promise<Buffer> {
  const compressed = stored.length >= 4 && stored.readUInt32LE(0) === ZSTD_MAGIC;
  return compressed ? decompress(stored, { maxOutputLength: bytesMax }) : stored;
}

function invalid(why: string, cause?: unknown): QubixError {
  return new QubixError("tree_invalid", `The tree is not accepted: ${why}. Build it anew and send it again.`, {
    category: "user",
    status: 422,
    cause,
  });
}
