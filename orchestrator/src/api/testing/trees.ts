// Trees for tests: files cut, compressed and named as clients do it.
import { createHash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { CID } from "multiformats/cid";
import * as digest from "multiformats/hashes/digest";
import type { ChunkCid } from "@qubix/shared/domain";
import type { TreeManifest } from "@qubix/shared/protocol";
import type { Call } from "./http.ts";

const RAW_CODEC = 0x55;
const SHA2_256 = 0x12;
const CHUNK_BYTES = 1024 * 1024;

export interface Chunk {
  readonly cid: ChunkCid;
  readonly bytes: Uint8Array;
}

export function treeOf(files: Readonly<Record<string, Buffer>>): { manifest: TreeManifest; chunks: Chunk[] } {
  const chunks: Chunk[] = [];
  const entries = Object.entries(files).map(([path, plain]) => {
    const pieces = Array.from({ length: Math.ceil(plain.length / CHUNK_BYTES) }, (_, n) =>
      plain.subarray(n * CHUNK_BYTES, (n + 1) * CHUNK_BYTES),
    );
    const refs = pieces.map((piece) => {
      const bytes = zstdCompressSync(piece);
      const cid = cidOf(bytes);
      chunks.push({ cid, bytes });
      return { cid, bytes: piece.length, stored: bytes.length };
    });
    const sha256 = createHash("sha256").update(plain).digest("hex");
    return { kind: "file" as const, path, mode: 0o644, bytes: plain.length, sha256, chunks: refs };
  });
  return { manifest: { version: 1, encoding: "zstd", entries }, chunks };
}

export function cidOf(bytes: Uint8Array): ChunkCid {
  const hash = createHash("sha256").update(bytes).digest();
  return CID.createV1(RAW_CODEC, digest.create(SHA2_256, hash)).toString() as ChunkCid;
}

export async function put(call: Call, chunk: Chunk | undefined): Promise<void> {
  if (chunk === undefined) throw new Error("no such chunk");
  const headers = { "content-type": "application/octet-stream" };
  const { status, text } = await call(`PUT /v1/uploads/chunks/${chunk.cid}`, undefined, { raw: chunk.bytes, headers });
  if (status !== 204) throw new Error(`${status} ${text}`);
}
