// Manifests: how they are stored (JSON under zstd, or plain JSON), and what makes a tree valid beyond its schema.
import { promisify } from "node:util";
import { zstdCompress, zstdDecompress } from "node:zlib";
import type { ChunkCid } from "@qubix/shared/domain";
import { MANIFEST_CHUNKS_MAX, treeManifestSchema, type ChunkRef, type TreeManifest } from "@qubix/shared/protocol";
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

export type FileEntry = Extract<TreeManifest["entries"][number], { kind: "file" }>;

export function filesOf(manifest: TreeManifest): readonly FileEntry[] {
  return manifest.entries.filter((entry) => entry.kind === "file");
}

export function* chunksOf(manifest: TreeManifest): Iterable<ChunkRef> {
  for (const file of filesOf(manifest)) yield* file.chunks;
}

/** What is stored of a tree, its manifest aside: each name with the size of its bytes. */
export function* storedOf(manifest: TreeManifest): Iterable<{ readonly cid: ChunkCid; readonly stored: number }> {
  for (const chunk of chunksOf(manifest)) {
    yield chunk;
    if (chunk.layers !== undefined) yield* chunk.layers;
  }
}

/** Every chunk the tree needs, its manifest included. */
export function* cidsOf(manifestCid: ChunkCid, manifest: TreeManifest): Iterable<ChunkCid> {
  yield manifestCid;
  for (const { cid } of storedOf(manifest)) yield cid;
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
    checkPieces(manifest, entry);
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

/** Pieces of a file: either the file has a sum, or each of them; a part lies in its piece. */
function checkPieces({ version }: TreeManifest, entry: FileEntry): void {
  if (version === 1 && entry.sha256 === undefined) throw invalid(`${entry.path} has no sum`);
  for (const { bytes, layers, part, sum, encoding } of entry.chunks) {
    if (sum === undefined && entry.sha256 === undefined) throw invalid(`a piece of ${entry.path} has no sum`);
    if (part !== undefined && part.from + bytes > part.of) throw invalid(`a piece of ${entry.path} is too short`);
    const isPlain = encoding === undefined && layers === undefined && part === undefined && sum === undefined;
    if (version === 1 && !isPlain) throw invalid(`${entry.path} is told in words of version 2`);
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
