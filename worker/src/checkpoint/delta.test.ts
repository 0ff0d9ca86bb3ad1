// Checkpoints told relative to the one before: what moves, and that it always comes back byte for byte.
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { PIECE_LAYERS_MAX, type TreeManifest } from "@qubix/shared/protocol";
import { createMemoryChunks, type MemoryChunks } from "../runner/testing.ts";
import { createThreads } from "./encode/threads.ts";
import { type ShippedTree, shipTree } from "./pack.ts";
import { createParent, type Parent } from "./parent.ts";
import { unpackTree } from "./unpack.ts";
import { walkTree } from "./walk.ts";

const MIB = 1024 * 1024;
const KIB = 1024;
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const never = new AbortController().signal;
const threads = createThreads();
afterAll(() => threads.stop());
let dir = "";
let chunks: MemoryChunks;
let parent: Parent | null = null;
let count = 0;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-delta-"));
  chunks = createMemoryChunks();
  count = 0;
});
afterEach(async () => {
  await parent?.close();
  parent = null;
  await rm(dir, { recursive: true, force: true });
});

/** Saves a state as a job does, under a new name each time, and ships it relative to the one before. */
async function save(content: Uint8Array): Promise<ShippedTree> {
  count += 1;
  const name = `state-${count}`;
  await writeFile(join(dir, `${name}.tmp`), content);
  await rename(join(dir, `${name}.tmp`), join(dir, name));
  return ship(name);
}

async function ship(name: string): Promise<ShippedTree> {
  const walked = await walkTree(dir, name, () => true);
  const shipped = await shipTree(dir, walked, chunks, never, { threads, parent });
  await parent?.close();
  parent = createParent(dir, shipped, shipped.open);
  return shipped;
}

async function restored(manifest: TreeManifest, from?: { readonly root: string; readonly manifest: TreeManifest }) {
  const to = join(dir, ".restored");
  await unpackTree(manifest, to, chunks, { owner, threads, previous: from, signal: never });
  const [file] = manifest.entries.filter(({ kind }) => kind === "file");
  return readFile(join(to, file?.path ?? ""));
}

/** Saves one after the other; what moved for each, its manifest aside. */
async function moves(...contents: readonly Uint8Array[]): Promise<number[]> {
  const moved: number[] = [];
  for (const content of contents) {
    const { tree, manifest } = await save(content);
    moved.push(tree.bytesMoved - (chunks.stored.get(tree.manifestCid)?.length ?? 0));
    expect((await restored(manifest)).equals(content)).toBe(true);
  }
  return moved;
}

describe("a state that was saved before", () => {
  it("costs nothing when it is the same, under whatever name", async () => {
    const state = randomBytes(3 * MIB + 5);
    expect((await moves(state, state, state)).slice(1)).toEqual([0, 0]);
  });

  it("costs what changed, in pages here and there", async () => {
    const state = randomBytes(8 * MIB);
    const next = Buffer.from(state);
    for (let page = 5; page < 2048; page += 200) randomBytes(4 * KIB).copy(next, page * 4 * KIB);
    const [, moved = 0] = await moves(state, next);
    expect(moved).toBeLessThan(11 * 4 * KIB * 1.1);
  });

  it("costs what was put in, wherever, and what was appended or cut off", async () => {
    const state = randomBytes(6 * MIB);
    const grown = Buffer.concat([state.subarray(0, 2_500_001), randomBytes(100_000), state.subarray(2_500_001)]);
    const twice = Buffer.concat([
      grown.subarray(0, 900_000),
      randomBytes(70_000),
      grown.subarray(900_000, 5 * MIB),
      randomBytes(5),
    ]);
    const [, inserted = 0, again = 0, cut = 0, longer = 0] = await moves(
      state,
      grown,
      Buffer.concat([twice, grown.subarray(5 * MIB)]),
      twice,
      Buffer.concat([twice, randomBytes(50_000)]),
    );
    expect(inserted).toBeLessThan(100_100);
    // Two changes at once: what lies between them is found again by its contents, but for the cuts beside them.
    expect(again).toBeLessThan(70_005 + 4 * 64 * KIB);
    expect(cut).toBe(0);
    expect(longer).toBeLessThan(50_100);
  });

  it("costs a share of it when all numbers moved a little", async () => {
    const weights = Float32Array.from({ length: MIB / 2 }, () => Math.random() - 0.5);
    const moved = weights.map((weight) => weight + (Math.random() - 0.5) * 1e-4);
    const [first = 0, second = 0] = await moves(new Uint8Array(weights.buffer), new Uint8Array(moved.buffer));
    expect(second / first).toBeLessThan(0.65);
  });

  it("is told whole again after some differences, so that a restore has an end", async () => {
    let state = randomBytes(2 * MIB);
    const layers: number[] = [];
    for (let n = 0; n < PIECE_LAYERS_MAX + 2; n += 1) {
      const { manifest } = await save(state);
      const [file] = manifest.entries;
      layers.push(file?.kind === "file" ? (file.chunks[0]?.layers?.length ?? 0) : -1);
      state = Buffer.from(state);
      randomBytes(10).copy(state, n * 1000);
    }
    expect(layers).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
  });

  it("is known when the job has replaced it meanwhile, and told whole when it was written to", async () => {
    const state = randomBytes(2 * MIB);
    await save(state);
    await writeFile(join(dir, "other.tmp"), state);
    await rename(join(dir, "other.tmp"), join(dir, "state-1"));
    expect((await moves(state))[0]).toBe(0);
    // Written to in its place, against the contract: the file is no base any more.
    const next = Buffer.from(state);
    next[100] = (next[100] ?? 0) ^ 1;
    await writeFile(join(dir, "state-2"), next);
    expect((await moves(next))[0]).toBe(MIB);
  });

  it.each([
    ["of the same size", 0],
    ["that grew", 1000],
  ])("is no base when the job writes to it while the next one, %s, is read", async (_what, grownBytes) => {
    const state = randomBytes(2 * MIB);
    await save(state);
    const next = Buffer.concat([state, randomBytes(grownBytes)]);
    next.fill(7, 100, 200);
    await writeFile(join(dir, "state-2"), next);
    const base = parent;
    let isFirst = true;
    // Against the contract a job saves into its older file again, where it now has what the newer one has, too.
    parent = {
      async fileFor(path) {
        const file = await base?.fileFor(path);
        if (isFirst) {
          const older = await open(join(dir, "state-1"), "r+");
          await older.write(next, 100, 100, 100);
          await older.close();
        }
        isFirst = false;
        return file;
      },
      close: async () => base?.close(),
    };
    await expect(ship("state-2")).rejects.toMatchObject({ code: "file_changed", retryable: true });
    const { manifest } = await ship("state-2");
    expect((await restored(manifest)).equals(next)).toBe(true);
  });

  it("of a folder is known file by file", async () => {
    const [one, two] = [randomBytes(MIB), randomBytes(MIB)];
    for (const [name, second] of [
      ["a", two],
      ["b", randomBytes(MIB)],
    ] as const) {
      await mkdir(join(dir, name, "sub"), { recursive: true });
      await writeFile(join(dir, name, "one"), one);
      await writeFile(join(dir, name, "sub/two"), second);
    }
    await ship("a");
    const { tree } = await ship("b");
    expect(tree.bytesMoved).toBeLessThan(MIB + 2000);
    expect(tree.bytesMoved).toBeGreaterThan(MIB);
  });

  it("comes back whatever was done to it, on a fresh disk and on one that has a version before", async () => {
    const place = fc.integer({ min: 0, max: 1_500_000 });
    const size = fc.integer({ min: 0, max: 300_000 });
    const change = fc.record({ at: place, cut: size, put: size, seed: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(change, { maxLength: 4 }), { minLength: 1, maxLength: 4 }), async (saves) => {
        let state: Buffer = randomBytes(1_400_000);
        let before: { root: string; manifest: TreeManifest } | undefined;
        await parent?.close();
        parent = null;
        for (const changes of [[], ...saves]) {
          for (const { at, cut, put, seed } of changes) {
            state = Buffer.concat([state.subarray(0, at), Buffer.alloc(put, seed), state.subarray(at + cut)]);
          }
          const { manifest } = await save(state);
          expect((await restored(manifest)).equals(state)).toBe(true);
          expect((await restored(manifest, before)).equals(state)).toBe(true);
          before = { root: dir, manifest };
        }
      }),
      { numRuns: 12 },
    );
  }, 120_000);
});

describe("a standby", () => {
  it("that has the version before fetches the differences alone", async () => {
    const state = randomBytes(4 * MIB);
    const first = await save(state);
    const next = Buffer.from(state);
    next.fill(7, 100, 200);
    const second = await save(next);
    chunks.fetched.length = 0;
    const before = { root: dir, manifest: first.manifest };
    expect((await restored(second.manifest, before)).equals(next)).toBe(true);
    expect(chunks.fetched).toHaveLength(1);
  });
});
