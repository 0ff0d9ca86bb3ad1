// Trees for tests: small files, one chunk each.
import { createHash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import type { ChunkCid } from "@qubix/shared/domain";
import type { TreeManifest, TreeRef } from "@qubix/shared/protocol";
import { cidOf } from "../cid.ts";
import { sizeOf } from "../manifest.ts";

export const SHA256_OF_NOTHING = sha256("");

export interface BuiltTree {
  readonly ref: TreeRef;
  readonly manifest: TreeManifest;
  /** In the order of the files; the manifest's own comes last. */
  readonly chunks: readonly { readonly cid: ChunkCid; readonly bytes: Buffer }[];
}

/** From paths to contents. */
export function buildTree(files: Readonly<Record<string, string>>): BuiltTree {
  const chunks: { cid: ChunkCid; bytes: Buffer }[] = [];
  const entries = Object.entries(files).map(([path, text]): TreeManifest["entries"][number] => {
    const size = Buffer.byteLength(text);
    const bytes = zstdCompressSync(text);
    const chunk = { cid: cidOf(bytes), bytes: size, stored: bytes.length };
    if (size > 0) chunks.push({ cid: chunk.cid, bytes });
    return { kind: "file", path, mode: 0o644, bytes: size, sha256: sha256(text), chunks: size === 0 ? [] : [chunk] };
  });
  const manifest: TreeManifest = { version: 1, encoding: "zstd", entries };
  const bytes = zstdCompressSync(JSON.stringify(manifest));
  const manifestCid = cidOf(bytes);
  chunks.push({ cid: manifestCid, bytes });
  return { ref: { manifestCid, ...sizeOf(manifest), bytesMoved: bytes.length }, manifest, chunks };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
