// What a manifest has room for: differences on many pieces fill it, and then there must be a checkpoint all the same.
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { cidOf, sumOf } from "@qubix/shared/chunks";
import { CHUNK_BYTES_MAX, type ChunkRef, type TreeManifest } from "@qubix/shared/protocol";
import { createMemoryChunks } from "../runner/testing.ts";
import { createThreads } from "./encode/threads.ts";
import { encodeManifest, shipTree } from "./pack.ts";
import { createParent, markOf } from "./parent.ts";
import { unpackTree } from "./unpack.ts";
import { walkTree } from "./walk.ts";

const never = new AbortController().signal;
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const threads = createThreads();
afterAll(() => threads.stop());
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-room-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** Pieces with so many differences that their manifest has no room for one more on each. */
const PIECES = 6000;
const LAYERS = 3;
const PIECE_BYTES = 64;

function piece(plain: Uint8Array): ChunkRef {
  const layers = Array.from({ length: LAYERS }, () => {
    return { cid: cidOf(randomBytes(32)), stored: 100, encoding: "planes", kind: "xor" } as const;
  });
  // As large as pieces of a real state are, so that differences seem to be worth it.
  const stored = CHUNK_BYTES_MAX / 2;
  return { cid: cidOf(randomBytes(32)), bytes: plain.length, stored, encoding: "planes", layers, sum: sumOf(plain) };
}

describe("a manifest", () => {
  it("that differences have filled is followed by one without them, for the pieces that have some", async () => {
    const chunks = createMemoryChunks();
    const before = randomBytes(PIECES * PIECE_BYTES);
    await writeFile(join(dir, "before"), before);
    const refs = Array.from({ length: PIECES }, (_, n) => {
      return piece(before.subarray(n * PIECE_BYTES, (n + 1) * PIECE_BYTES));
    });
    // The last one lies in the store as it is, and has no differences.
    const last = before.subarray(-PIECE_BYTES);
    const kept = {
      cid: cidOf(last),
      bytes: last.length,
      stored: last.length,
      encoding: "raw",
      sum: sumOf(last),
    } as const;
    chunks.stored.set(kept.cid, last);
    const entry: TreeManifest["entries"][number] = {
      kind: "file",
      path: "before",
      mode: 0o644,
      bytes: before.length,
      chunks: [...refs.slice(0, -1), kept],
    };
    const manifest: TreeManifest = { version: 2, encoding: "zstd", entries: [entry] };
    await encodeManifest(manifest);

    const now = Buffer.from(before);
    // Another difference for each: equal ones would be one chunk, whose name takes little room.
    for (let n = 1; n < PIECES - 1; n += 1) now.writeUInt16LE(n, n * PIECE_BYTES);
    await writeFile(join(dir, "now"), now);
    const marks = { before: markOf(await stat(join(dir, "before"), { bigint: true })) };
    const parent = createParent(dir, { manifest, marks });
    try {
      const walked = await walkTree(dir, "now", () => true);
      const shipped = await shipTree(dir, walked, chunks, never, { threads, parent });
      await Promise.all([...shipped.open.values()].map((handle) => handle.close()));
      const [file] = shipped.manifest.entries;
      const pieces = file?.kind === "file" ? file.chunks : [];
      expect(pieces.filter(({ layers }) => layers !== undefined)).toEqual([]);
      expect(pieces.at(-1)).toEqual(kept);
      await unpackTree(shipped.manifest, join(dir, "out"), chunks, { owner, threads, signal: never });
      expect((await readFile(join(dir, "out", "now"))).equals(now)).toBe(true);
    } finally {
      await parent.close();
    }
  });

  it("that is longer than the store reads is refused with what to do", async () => {
    const entries = Array.from({ length: 60_000 }, (_, n) => {
      return { kind: "directory", path: `${"x".repeat(300)}/${n}`, mode: 0o755 } as const;
    });
    await expect(encodeManifest({ version: 2, encoding: "zstd", entries })).rejects.toMatchObject({
      code: "tree_too_large",
      message: expect.stringContaining("pack it into fewer files"),
    });
  });
});
