// A tree for tests: files of several pieces, some alike, and folders without any.
import { createHash, randomBytes } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import type { ChunkCid } from "@qubix/shared/domain";
import { CHUNK_BYTES_MAX, type TreeManifest } from "@qubix/shared/protocol";
import type { BuiltTree } from "../../checkpoints/testing/trees.ts";
import { cidOf } from "../../checkpoints/index.ts";

export type Contents = Readonly<Record<string, Buffer>>;

/** Plain bytes by path. */
export function someContents(): Contents {
  const common = randomBytes(CHUNK_BYTES_MAX);
  return {
    "state/weights.bin": Buffer.concat([common, common, randomBytes(CHUNK_BYTES_MAX + 17)]),
    "state/deep/er/optimizer.bin": Buffer.concat([common, Buffer.alloc(100)]),
    "state/step": Buffer.from("17"),
    "a file with spaces, ü and #": Buffer.from("odd"),
    empty: Buffer.alloc(0),
  };
}

export function treeOf(contents: Contents, folders: readonly string[] = []): BuiltTree {
  const chunks: { cid: ChunkCid; bytes: Buffer }[] = [];
  const store = (bytes: Buffer) => {
    const cid = cidOf(bytes);
    chunks.push({ cid, bytes });
    return cid;
  };
  const files = Object.entries(contents).map(([path, plain]): TreeManifest["entries"][number] => {
    const pieces = [];
    for (let at = 0; at < plain.length; at += CHUNK_BYTES_MAX) {
      const piece = plain.subarray(at, at + CHUNK_BYTES_MAX);
      const bytes = zstdCompressSync(piece);
      pieces.push({ cid: store(bytes), bytes: piece.length, stored: bytes.length });
    }
    const sha256 = createHash("sha256").update(plain).digest("hex");
    return { kind: "file", path, mode: 0o644, bytes: plain.length, sha256, chunks: pieces };
  });
  const entries = [...folders.map((path) => ({ kind: "directory", path, mode: 0o755 }) as const), ...files];
  const manifest: TreeManifest = { version: 1, encoding: "zstd", entries };
  const bytes = zstdCompressSync(JSON.stringify(manifest));
  const manifestCid = store(bytes);
  const total = Object.values(contents).reduce((sum, { length }) => sum + length, 0);
  return { ref: { manifestCid, files: files.length, bytes: total, bytesMoved: bytes.length }, manifest, chunks };
}
