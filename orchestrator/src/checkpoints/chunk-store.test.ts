import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { zstdCompressSync } from "node:zlib";
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import { chunkCidSchema, type TreeManifest, type TreeRef } from "@qubix/shared/protocol";
import { sumOf } from "@qubix/shared/chunks";
import { createLogger } from "@qubix/shared/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createMemoryStore } from "../store/memory.ts";
import { aJob, changesOf, put } from "../store/testing/records.ts";
import { type KeyRing, openKeyRing, openMasterKey } from "../vault/index.ts";
import {
  cidOf,
  createChunkStore,
  createTreeOwners,
  PIN_MS,
  UPLOAD_HOLDER,
  type ChunkStore,
  type StoredCid,
} from "./index.ts";
import { buildTree, SHA256_OF_NOTHING } from "./testing/trees.ts";

const ALICE = "acc-alice" as AccountId;
const BOB = "acc-bob" as AccountId;
const PUT_LOOP = fileURLToPath(new URL("./testing/put-loop.ts", import.meta.url));

describe("the chunk store", () => {
  let root: string;
  let keysFolder: string;
  let keys: KeyRing;
  let nowMs: number;
  let store: ReturnType<typeof createMemoryStore>;
  let chunks: ChunkStore;

  const open = async (bytesPerAccountMax = Number.MAX_SAFE_INTEGER): Promise<void> => {
    const logger = createLogger("test", "silent");
    const clock = { nowMs: () => nowMs };
    chunks = createChunkStore({ root, owners: createTreeOwners(store), keys, bytesPerAccountMax, clock, logger });
    await chunks.start();
  };
  const reopen = async (): Promise<void> => {
    await chunks.stop();
    await open();
  };
  const upload = async (
    account: AccountId,
    holder: string,
    files: Readonly<Record<string, string>>,
  ): Promise<TreeRef> => {
    const tree = buildTree(files);
    for (const { cid, bytes } of tree.chunks) await chunks.put(account, holder, cid, bytes);
    return tree.ref;
  };
  /** A job record that keeps these trees as checkpoints. */
  const keep = (n: number, trees: readonly TreeRef[]): string => {
    const job = aJob(n, { accountId: ALICE });
    const checkpoint = job.checkpoints.at(0)!;
    const checkpoints = trees.map((tree, at) => ({ ...checkpoint, seq: at + 1, tree }));
    store.commit([changesOf({ puts: [put("jobs", job.id, { ...job, checkpoints })] })], 0);
    return job.id;
  };
  const admit = async (holder: string, tree: TreeRef): Promise<string> => {
    const verdict = await chunks.admitTree(ALICE, holder, tree);
    return verdict.kind === "ok" ? "ok" : verdict.code;
  };
  const codeOf = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => "done",
      (error: unknown) => (error as { readonly code?: unknown }).code,
    );
  const present = async (tree: TreeRef): Promise<boolean> => (await chunks.get(ALICE, tree.manifestCid)) !== undefined;

  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), "qubix-chunks-"));
    keysFolder = mkdtempSync(join(tmpdir(), "qubix-keys-"));
    keys = openKeyRing(keysFolder, openMasterKey(join(keysFolder, "master.key")));
    nowMs = 0;
    store = createMemoryStore();
    await open();
  });
  afterEach(async () => {
    await chunks.stop();
    keys.close();
    for (const folder of [root, keysFolder]) rmSync(folder, { recursive: true, force: true });
  });

  it("names chunks by CIDv1 as IPFS does", () => {
    expect(cidOf(Buffer.from("hello world"))).toBe("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    expect(chunkCidSchema.safeParse(cidOf(Buffer.alloc(0))).success).toBe(true);
  });

  it("gives back what was put, again and again, also after a restart", async () => {
    const bytes = Buffer.from("some bytes");
    const cid = cidOf(bytes);
    expect(await chunks.missing(ALICE, "job-1", [cid])).toEqual([cid]);
    await Promise.all([1, 2, 3].map(() => chunks.put(ALICE, "job-1", cid, bytes)));
    await chunks.put(ALICE, "job-1", cid, bytes);
    expect(await chunks.missing(ALICE, "job-1", [cid])).toEqual([]);
    await reopen();
    expect(await chunks.get(ALICE, cid)).toEqual(bytes);
  });

  it("refuses bytes that are not what their name says, and too many of them", async () => {
    const cid = cidOf(Buffer.from("right"));
    expect(await codeOf(chunks.put(ALICE, "job-1", cid, Buffer.from("wrong")))).toBe("chunk_mismatch");
    const large = Buffer.alloc(2 * 1024 * 1024);
    expect(await codeOf(chunks.put(ALICE, "job-1", cidOf(large), large))).toBe("chunk_too_large");
    expect(await chunks.missing(ALICE, "job-1", [cid, cidOf(large)])).toHaveLength(2);
  });

  it("keeps consumers apart: what one has is missing for another", async () => {
    const bytes = Buffer.from("secret");
    const cid = cidOf(bytes);
    await chunks.put(ALICE, "job-1", cid, bytes);
    expect(await chunks.missing(BOB, "job-2", [cid])).toEqual([cid]);
    expect(await chunks.get(BOB, cid)).toBeUndefined();
  });

  it("resumes an upload: only what did not come is missing", async () => {
    const tree = buildTree({ a: "1", b: "2", c: "3" });
    const [first, rest] = [tree.chunks.at(0)!, tree.chunks.slice(1)];
    await chunks.put(ALICE, "job-1", first.cid, first.bytes);
    const cids = tree.chunks.map((chunk) => chunk.cid);
    expect(await chunks.missing(ALICE, "job-1", cids)).toEqual(rest.map((chunk) => chunk.cid));
  });

  it("admits a tree only when it is whole and as large as it says", async () => {
    const tree = buildTree({ "a/b.txt": "hello", c: "world!" });
    const manifest = tree.chunks.at(-1)!;
    const content = tree.chunks.slice(0, -1);
    expect(await admit("job-1", tree.ref)).toBe("chunks_missing");
    await chunks.put(ALICE, "job-1", manifest.cid, manifest.bytes);
    expect(await admit("job-1", tree.ref)).toBe("chunks_missing");
    for (const { cid, bytes } of content) await chunks.put(ALICE, "job-1", cid, bytes);
    expect(await admit("job-1", { ...tree.ref, bytes: 12 })).toBe("tree_invalid");
    expect(await admit("job-1", { ...tree.ref, files: 1 })).toBe("tree_invalid");
    expect(await admit("job-1", tree.ref)).toBe("ok");
    expect((await chunks.admitTree(ALICE, "job-1", tree.ref, 10)).kind).toBe("refused");
    expect((await chunks.admitTree(BOB, "job-1", tree.ref)).kind).toBe("refused");
  });

  const file = (path: string, bytes: number): TreeManifest["entries"][number] => ({
    kind: "file",
    path,
    mode: 0o644,
    bytes,
    sha256: SHA256_OF_NOTHING,
    chunks: [],
  });
  it.each([
    ["a path that leaves the tree", [file("../etc/passwd", 0)]],
    ["a path twice", [file("a", 0), file("a", 0)]],
    ["a file below a file", [file("a", 0), file("a/b", 0)]],
    ["sizes that do not add up", [file("a", 5)]],
  ])("refuses a manifest with %s", async (_, entries) => {
    const bytes = zstdCompressSync(JSON.stringify({ version: 1, encoding: "zstd", entries }));
    const manifestCid = cidOf(bytes);
    await chunks.put(ALICE, "job-1", manifestCid, bytes);
    const total = entries.reduce((sum, entry) => sum + (entry.kind === "file" ? entry.bytes : 0), 0);
    expect(await admit("job-1", { manifestCid, files: entries.length, bytes: total, bytesMoved: 0 })).toBe(
      "tree_invalid",
    );
  });

  it("takes a checkpoint whose pieces have sums of their own, and no outputs without one for each file", async () => {
    const stored = zstdCompressSync("hello");
    const piece = { cid: cidOf(stored), bytes: 5, stored: stored.length, sum: sumOf(Buffer.from("hello")) };
    const entries = [{ kind: "file", path: "a", mode: 0o644, bytes: 5, chunks: [piece] }];
    const bytes = zstdCompressSync(JSON.stringify({ version: 2, encoding: "zstd", entries }));
    for (const chunk of [stored, bytes]) await chunks.put(ALICE, "job-1", cidOf(chunk), chunk);
    const tree = { manifestCid: cidOf(bytes), files: 1, bytes: 5, bytesMoved: 0 };
    expect(await admit("job-1", tree)).toBe("ok");
    expect(await chunks.admitTree(ALICE, "job-1", tree, 100)).toMatchObject({ code: "tree_invalid" });
    const bare = zstdCompressSync(
      JSON.stringify({
        version: 2,
        encoding: "zstd",
        entries: [{ ...entries[0], chunks: [{ ...piece, sum: undefined }] }],
      }),
    );
    await chunks.put(ALICE, "job-1", cidOf(bare), bare);
    expect(await admit("job-1", { ...tree, manifestCid: cidOf(bare) })).toBe("tree_invalid");
  });

  it("refuses a manifest that unpacks to far more than any is", async () => {
    const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024, 0x20));
    await chunks.put(ALICE, "job-1", cidOf(bomb), bomb);
    expect(await admit("job-1", { manifestCid: cidOf(bomb), files: 0, bytes: 0, bytesMoved: 0 })).toBe("tree_invalid");
  });

  it("reads files back, and says which file there is not, and which is damaged", async () => {
    const ref = await upload(ALICE, "job-1", { "out/a": "first", "out/empty": "" });
    const manifest = await chunks.readManifest(ALICE, ref.manifestCid);
    expect(await textOf(chunks.openFile(ALICE, manifest, "out/a"))).toBe("first");
    expect(await textOf(chunks.openFile(ALICE, manifest, "out/empty"))).toBe("");
    expect(() => chunks.openFile(ALICE, manifest, "out")).toThrow(/no file/);
    const [manifestFile] = await chunks.blocks.ofTree(ALICE, ref.manifestCid);
    const path = chunkPaths(root).find((name) => !name.endsWith(manifestFile?.stored ?? ""))!;
    writeFileSync(path, "damaged");
    expect(await codeOf(textOf(chunks.openFile(ALICE, manifest, "out/a")))).toBe("chunk_damaged");
    rmSync(path);
    expect(await codeOf(textOf(chunks.openFile(ALICE, manifest, "out/a")))).toBe("chunks_missing");
  });

  it("never gives wrong bytes: with any bit of a file flipped, or cut, what is read is refused", async () => {
    const bytes = Buffer.from("what was put");
    const cid = cidOf(bytes);
    await chunks.put(ALICE, "job-1", cid, bytes);
    const path = chunkPaths(root).at(0)!;
    const whole = readFileSync(path);
    for (let bit = 0; bit < whole.length * 8; bit += 3) {
      const flipped = Buffer.from(whole);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      writeFileSync(path, flipped);
      expect(await codeOf(chunks.get(ALICE, cid))).toBe("chunk_damaged");
    }
    expect(await chunks.missing(ALICE, "job-1", [cid])).toEqual([cid]);
    await chunks.put(ALICE, "job-1", cid, bytes);
    expect(await chunks.get(ALICE, cid)).toEqual(bytes);
    writeFileSync(path, whole.subarray(0, -1));
    expect(await codeOf(chunks.get(ALICE, cid))).toBe("chunk_damaged");
    expect(await chunks.missing(ALICE, "job-1", [cid])).toEqual([cid]);
    await chunks.put(ALICE, "job-1", cid, bytes);
    expect(readFileSync(path).equals(whole)).toBe(true);
    expect(await chunks.get(ALICE, cid)).toEqual(bytes);
  });

  it("has on the disk only ciphertext, named by what it is, and other files for other consumers", async () => {
    const text = "a text that anybody would know again ".repeat(4_000);
    const bytes = Buffer.from(text);
    for (const account of [ALICE, BOB]) await chunks.put(account, "job-1", cidOf(bytes), bytes);
    const paths = chunkPaths(root);
    expect(new Set(paths.map((path) => basename(path))).size).toBe(2);
    for (const path of paths) {
      const file = readFileSync(path);
      expect(basename(path)).toBe(cidOf(file));
      expect(file.includes("anybody would know")).toBe(false);
    }
  });

  it("shows the files of a tree as they lie, to those who may not read them", async () => {
    const ref = await upload(ALICE, "job-1", { a: "1", b: "2", same: "2" });
    const blocks = await chunks.blocks.ofTree(ALICE, ref.manifestCid);
    expect(blocks.map(({ stored }) => stored).toSorted()).toEqual(
      chunkPaths(root)
        .map((path) => basename(path))
        .toSorted(),
    );
    for (const { stored, bytes } of blocks) {
      const file = await chunks.blocks.get(ALICE, stored);
      expect(file).toHaveLength(bytes);
      expect(cidOf(file ?? Buffer.alloc(0))).toBe(stored);
      expect(await chunks.blocks.get(BOB, stored)).toBeUndefined();
    }
    expect(await codeOf(chunks.blocks.ofTree(BOB, ref.manifestCid))).toBe("chunks_missing");
    writeFileSync(chunkPaths(root).at(0)!, "changed");
    const stored = basename(chunkPaths(root).at(0)!) as StoredCid;
    expect(await codeOf(chunks.blocks.get(ALICE, stored))).toBe("chunk_damaged");
  });

  it("makes its index of chunks anew from the files when it is gone, and leaves out what is damaged", async () => {
    const tree = await upload(ALICE, keep(1, []), { a: "x", b: "y" });
    keep(1, [tree]);
    const stray = Buffer.from("never committed");
    await chunks.put(BOB, "job-2", cidOf(stray), stray);
    const usage = chunks.usage(ALICE);
    await chunks.stop();
    for (const name of readdirSync(root)) if (name.startsWith("references")) rmSync(join(root, name));
    writeFileSync(chunkPaths(join(root, BOB)).at(0)!, "damaged");
    await open();
    expect(chunks.usage(ALICE)).toEqual(usage);
    expect(await admit(keep(1, [tree]), tree)).toBe("ok");
    expect(await chunks.missing(BOB, "job-2", [cidOf(stray)])).toEqual([cidOf(stray)]);
  });

  it("does not start over chunks that were written under other keys, or none", async () => {
    await chunks.stop();
    mkdirSync(join(root, ALICE, "aa"), { recursive: true });
    writeFileSync(join(root, ALICE, "aa", cidOf(Buffer.from("plain"))), "plain");
    await expect(open()).rejects.toThrow(/keys\.db/);
    expect(await codeOf(open())).toBe("keys_lost");
  });

  it("stores large chunks through its threads, many at a time, whole", async () => {
    const all = Array.from({ length: 24 }, () => randomBytes(300_000));
    await Promise.all(all.map((bytes) => chunks.put(ALICE, "job-1", cidOf(bytes), bytes)));
    await reopen();
    for (const bytes of all) expect((await chunks.get(ALICE, cidOf(bytes)))?.equals(bytes)).toBe(true);
    const [bytes = Buffer.alloc(0)] = all;
    const other = cidOf(Buffer.from("other"));
    const [wrong, right] = [
      codeOf(chunks.put(ALICE, "job-1", other, bytes)),
      codeOf(chunks.put(ALICE, "job-1", other, Buffer.from("other"))),
    ];
    expect(await Promise.all([wrong, right])).toEqual(["chunk_mismatch", "done"]);
  });

  it("stores no more for an account than it may have, to the byte, whatever comes at once", async () => {
    await chunks.stop();
    const size = 1_000;
    const fileBytes = size + 49;
    await open(3 * fileBytes);
    const all = Array.from({ length: 8 }, () => randomBytes(size));
    let jobs = 0;
    const put = (account: AccountId, bytes: Buffer) => {
      jobs += 1;
      return codeOf(chunks.put(account, `job-${jobs}`, cidOf(bytes), bytes));
    };
    const codes = await Promise.all(all.map((bytes) => put(ALICE, bytes)));
    expect(codes.filter((code) => code === "done")).toHaveLength(3);
    expect(codes.filter((code) => code === "storage_quota")).toHaveLength(5);
    expect(chunkPaths(root)).toHaveLength(3);
    expect(chunks.usage(ALICE)).toEqual({ bytes: 3 * fileBytes, bytesMax: 3 * fileBytes });
    // Others have their own room; what is here costs nothing again.
    expect(await put(BOB, randomBytes(size))).toBe("done");
    const here = all.filter((_, n) => codes[n] === "done");
    expect(await Promise.all(here.map((bytes) => put(ALICE, bytes)))).toEqual(["done", "done", "done"]);
    await chunks.stop();
    await open(3 * fileBytes);
    expect(chunks.usage(ALICE).bytes).toBe(3 * fileBytes);
    for (const path of chunkPaths(root)) utimesSync(path, 1, 1);
    await chunks.sweep();
    expect(chunks.usage(ALICE).bytes).toBe(0);
    expect(await put(ALICE, randomBytes(size))).toBe("done");
  });

  it("lets what came of a tree without room go, so that a smaller one has it; what others rely on stays", async () => {
    await chunks.stop();
    await open(40_000);
    const kept = await upload(ALICE, keep(1, []), { a: "kept" });
    expect(await admit(keep(1, [kept]), kept)).toBe("ok");
    chunks.settleTree(ALICE, keep(1, [kept]), kept.manifestCid, true);
    const other = randomBytes(1_000);
    await chunks.put(ALICE, "job-2", cidOf(other), other);
    const all = Array.from({ length: 60 }, () => randomBytes(1_000));
    // Also relied on by this upload, and by the tree.
    expect(await chunks.missing(ALICE, "job-3", [kept.manifestCid, cidOf(other)])).toEqual([]);
    const codes = await Promise.all(all.map((bytes) => codeOf(chunks.put(ALICE, "job-3", cidOf(bytes), bytes))));
    expect(codes).toContain("storage_quota");
    await expect.poll(() => chunks.usage(ALICE).bytes).toBeLessThan(2_000);
    await expect.poll(() => chunkPaths(root)).toHaveLength(3);
    expect(await present(kept)).toBe(true);
    expect(await chunks.get(ALICE, cidOf(other))).toEqual(other);
    const small = await upload(ALICE, "job-3", { result: "small" });
    expect(await admit("job-3", small)).toBe("ok");
  });

  it("forgets chunks whose files are gone", async () => {
    const bytes = Buffer.from("lost");
    await chunks.put(ALICE, "job-1", cidOf(bytes), bytes);
    rmSync(chunkPaths(root).at(0)!);
    expect(await chunks.get(ALICE, cidOf(bytes))).toBeUndefined();
    expect(chunks.usage(ALICE).bytes).toBeGreaterThan(0);
    await chunks.sweep();
    expect(chunks.usage(ALICE).bytes).toBe(0);
  });

  it("deletes what only a dropped tree had, and keeps what another tree has", async () => {
    const old = await upload(ALICE, keep(1, []), { shared: "same", own: "old" });
    const job = keep(1, [old]);
    expect(await admit(job, old)).toBe("ok");
    chunks.settleTree(ALICE, job, old.manifestCid, true);
    const next = await upload(ALICE, job, { shared: "same", own: "new" });
    expect(await admit(job, next)).toBe("ok");
    keep(1, [next]);
    chunks.settleTree(ALICE, job, next.manifestCid, true);
    chunks.collect(ALICE, job, [old]);
    await expect.poll(() => chunkPaths(root)).toHaveLength(3);
    expect(await present(old)).toBe(false);
    expect(await admit(job, next)).toBe("ok");
  });

  it("keeps a tree that a record still names, whatever it is told to collect", async () => {
    const job = keep(1, []);
    const tree = await upload(ALICE, job, { a: "x" });
    expect(await admit(job, tree)).toBe("ok");
    keep(1, [tree]);
    chunks.settleTree(ALICE, job, tree.manifestCid, true);
    chunks.collect(ALICE, job, [tree]);
    expect(await present(tree)).toBe(true);
  });

  it("keeps a tree between its admission and the core's answer, also when the same tree is collected meanwhile", async () => {
    const job = keep(1, []);
    const tree = await upload(ALICE, job, { a: "x" });
    expect(await admit(job, tree)).toBe("ok");
    chunks.collect(ALICE, job, [tree]);
    expect(await present(tree)).toBe(true);
    keep(1, [tree]);
    chunks.settleTree(ALICE, job, tree.manifestCid, true);
    expect(await present(tree)).toBe(true);
  });

  it("keeps for one replica of a job what it relies on, whatever the other commits", async () => {
    const job = keep(1, []);
    const tree = buildTree({ a: "x" });
    const cids = tree.chunks.map(({ cid }) => cid);
    for (const { cid, bytes } of tree.chunks) await chunks.put(ALICE, job, cid, bytes, "wrk-1");
    expect(await chunks.missing(ALICE, job, cids, "wrk-2")).toEqual([]);
    expect(await admit(job, tree.ref)).toBe("ok");
    keep(1, [tree.ref]);
    chunks.settleTree(ALICE, job, tree.ref.manifestCid, true, "wrk-1");
    keep(1, []);
    chunks.collect(ALICE, job, [tree.ref]);
    // What goes, goes in the next turns.
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await chunks.missing(ALICE, job, cids, "wrk-2")).toEqual([]);
    // Its own commit lets go of them, too.
    expect(await admit(job, tree.ref)).toBe("ok");
    keep(1, [tree.ref]);
    chunks.settleTree(ALICE, job, tree.ref.manifestCid, true, "wrk-2");
    keep(1, []);
    chunks.collect(ALICE, job, [tree.ref]);
    await expect.poll(() => chunkPaths(root)).toHaveLength(0);
  });

  it("keeps what an upload was told is here, for an hour", async () => {
    const job = keep(1, []);
    const other = keep(2, []);
    const tree = await upload(ALICE, job, { a: "x" });
    expect(await admit(job, tree)).toBe("ok");
    keep(1, [tree]);
    chunks.settleTree(ALICE, job, tree.manifestCid, true);
    const cids = buildTree({ a: "x" }).chunks.map((chunk) => chunk.cid);
    expect(await chunks.missing(ALICE, other, cids)).toEqual([]);
    keep(1, []);
    chunks.collect(ALICE, job, [tree]);
    expect(await chunks.missing(ALICE, other, cids)).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(chunkPaths(root)).toHaveLength(2);
    nowMs += PIN_MS + 1;
    expect(await admit(job, tree)).toBe("ok");
    chunks.settleTree(ALICE, job, tree.manifestCid, false);
    await expect.poll(() => chunkPaths(root)).toHaveLength(0);
  });

  it("makes its index of references anew from the records when it is gone", async () => {
    const job = keep(1, []);
    const tree = await upload(ALICE, job, { a: "x" });
    keep(1, [tree]);
    await chunks.stop();
    for (const name of readdirSync(root)) if (name.startsWith("references")) rmSync(join(root, name));
    await open();
    nowMs += PIN_MS + 1;
    chunks.collect(ALICE, job, [tree]);
    expect(await present(tree)).toBe(true);
    keep(1, []);
    chunks.collect(ALICE, job, [tree]);
    await expect.poll(() => chunkPaths(root)).toHaveLength(0);
  });

  it("sweeps, after a crash, old chunks that nothing refers to and trees that no record names any more", async () => {
    const job = keep(1, []);
    const kept = await upload(ALICE, job, { a: "kept" });
    const dropped = await upload(ALICE, job, { a: "dropped" });
    const accepted = await upload(ALICE, UPLOAD_HOLDER, { a: "upload" });
    const stray = Buffer.from("stray");
    await chunks.put(ALICE, job, cidOf(stray), stray);
    for (const tree of [kept, dropped]) expect(await admit(job, tree)).toBe("ok");
    expect(await admit(UPLOAD_HOLDER, accepted)).toBe("ok");
    store.commit(
      [
        changesOf({
          puts: [put("uploads", "upl-1", { id: "upl-1", accountId: ALICE, tree: accepted, createdAtMs: 1 })],
        }),
      ],
      0,
    );
    keep(1, [kept]);
    for (const path of chunkPaths(root)) utimesSync(path, 1, 1);
    await reopen();
    await chunks.sweep();
    await expect.poll(() => chunkPaths(root)).toHaveLength(4);
    expect(await Promise.all([kept, dropped, accepted].map(present))).toEqual([true, false, true]);
    expect(await chunks.get(ALICE, cidOf(stray))).toBeUndefined();
  });

  it("shows no chunk of which a killed program had not stored all, and clears what it left", async () => {
    const child = spawn(process.execPath, ["--conditions=qubix-source", PUT_LOOP, root, ALICE, keysFolder], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = once(child, "exit");
    const acknowledged: ChunkCid[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      acknowledged.push(line as ChunkCid);
      if (acknowledged.length === 20) child.kill("SIGKILL");
    }
    await exited;
    mkdirSync(join(root, ALICE, ".tmp"), { recursive: true });
    writeFileSync(join(root, ALICE, ".tmp", "left"), "half a chunk");
    await reopen();
    for (const path of chunkPaths(root)) expect(path.endsWith(cidOf(readFileSync(path)))).toBe(true);
    expect(await chunks.missing(ALICE, "job-1", acknowledged)).toEqual([]);
    expect(readdirSync(join(root, ALICE))).not.toContain(".tmp");
  });
});

async function textOf(file: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of file) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}

function chunkPaths(root: string): readonly string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.startsWith("bafkrei") && !entry.parentPath.endsWith(".tmp"))
    .map((entry) => join(entry.parentPath, entry.name));
}
