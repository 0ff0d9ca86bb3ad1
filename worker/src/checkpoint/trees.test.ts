import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFile, chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { treeManifestSchema } from "@qubix/shared/protocol";
import { createMemoryChunks, type MemoryChunks } from "../runner/testing.ts";
import { cidOf } from "@qubix/shared/chunks";
import { createThreads, type Threads } from "./encode/threads.ts";
import { createEntryWatch, listEntries } from "./entries.ts";
import { shipTree } from "./pack.ts";
import { removeTree } from "./remove.ts";
import { fetchManifest, moveInto, unpackTree } from "./unpack.ts";
import { walkTree } from "./walk.ts";

const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
/** A user that only root can give a file to. */
const SOMEBODY = { uid: 54_321, gid: 54_321 };
const NOBODY = 65_534;
const never = new AbortController().signal;
const threads = createThreads();
afterAll(() => threads.stop());
let dir = "";
let chunks: MemoryChunks;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-trees-"));
  chunks = createMemoryChunks();
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function ship(root: string, start = "") {
  return (await shipOpen(root, start)).tree;
}

/** Without the rights of root, where the test has them. */
async function asNobody(work: () => Promise<void>): Promise<void> {
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(NOBODY);
  try {
    await work();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

/** Without a parent; nothing stays open. */
async function shipOpen(root: string, start = "") {
  const shipped = await shipTree(root, await walkTree(root, start, () => true), chunks, never, { threads });
  for (const handle of shipped.open.values()) await handle.close();
  return shipped;
}

describe("a tree", () => {
  it("comes back byte for byte, with its modes and empty folders", async () => {
    const file = fc.record({ size: fc.constantFrom(0, 1, 1000, 1024 * 1024, 1024 * 1024 + 1), fill: fc.nat(255) });
    const mode = fc.constantFrom(0o600, 0o644, 0o755, 0o400);
    const tree = fc.dictionary(fc.stringMatching(/^[a-c](\/[a-c]){0,2}$/), fc.tuple(file, mode), { maxKeys: 5 });
    await fc.assert(
      fc.asyncProperty(tree, async (files) => {
        const from = join(dir, "from");
        const to = join(dir, "to");
        await removeTree(from);
        await mkdir(join(from, "empty"), { recursive: true });
        const written = new Map<string, { bytes: Buffer; mode: number }>();
        for (const [path, [{ size, fill }, bits]] of Object.entries(files)) {
          const clash = Object.keys(files).some((other) => other !== path && other.startsWith(`${path}/`));
          if (clash) continue;
          await mkdir(join(from, path, ".."), { recursive: true });
          await writeFile(join(from, path), Buffer.alloc(size, fill));
          await chmod(join(from, path), bits);
          written.set(path, { bytes: Buffer.alloc(size, fill), mode: bits });
        }
        const ref = await ship(from);
        expect(ref.files).toBe(written.size);
        const manifest = await fetchManifest(ref.manifestCid, chunks, never);
        treeManifestSchema.parse(manifest);
        await unpackTree(manifest, to, chunks, { owner, threads, signal: never });
        for (const [path, { bytes, mode: bits }] of written) {
          expect(bytes.equals(await readFile(join(to, path)))).toBe(true);
          expect((await stat(join(to, path))).mode & 0o777).toBe(bits);
        }
        expect((await stat(join(to, "empty"))).isDirectory()).toBe(true);
      }),
      { numRuns: 15 },
    );
  });

  it("is sent once: what the store has is not sent again", async () => {
    await writeFile(join(dir, "a"), Buffer.alloc(3 * 1024 * 1024, 7));
    const first = await ship(dir);
    const second = await ship(dir);
    expect(first.bytesMoved).toBeGreaterThan(0);
    expect(second).toEqual({ ...first, bytesMoved: 0 });
    // Three equal pieces are one chunk, and the manifest is another.
    expect(chunks.stored.size).toBe(2);
  });

  it("leaves links, pipes and devices out, and is never led outside by one", async () => {
    await mkdir(join(dir, "tree/sub"), { recursive: true });
    await writeFile(join(dir, "secret"), "secret");
    await symlink(join(dir, "secret"), join(dir, "tree/link"));
    await promisify(execFile)("mkfifo", [join(dir, "tree/pipe")]);
    await writeFile(join(dir, "tree/sub/file"), "x");
    const walked = await walkTree(join(dir, "tree"), "", () => true);
    expect(walked.skipped.toSorted()).toEqual(["link", "pipe"]);
    expect(walked.entries.map((entry) => entry.path)).toEqual(["sub", "sub/file"]);
    // Between the walk and the reading a folder becomes a link.
    await rm(join(dir, "tree/sub"), { recursive: true });
    await mkdir(join(dir, "outside"));
    await writeFile(join(dir, "outside/file"), "outside");
    await symlink(join(dir, "outside"), join(dir, "tree/sub"));
    await expect(shipTree(join(dir, "tree"), walked, chunks, never, { threads })).rejects.toMatchObject({
      code: "file_vanished",
    });
  });

  it("has names in UTF-8 that fit a path, or is the job's own fault", async () => {
    await writeFile(join(dir, "\ufffd"), "a name like any other");
    expect((await walkTree(dir, "", () => true)).entries.map((entry) => entry.path)).toEqual(["\ufffd"]);
    await writeFile(Buffer.concat([Buffer.from(join(dir, "bad")), Buffer.from([0xff])]), "x");
    await expect(walkTree(dir, "", () => true)).rejects.toMatchObject({ code: "tree_misnamed", category: "user" });
    // Read as text it has the name of the one that is there.
    await rm(Buffer.concat([Buffer.from(join(dir, "bad")), Buffer.from([0xff])]));
    await writeFile(Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff])]), "x");
    await expect(walkTree(dir, "", () => true)).rejects.toMatchObject({ code: "tree_misnamed", category: "user" });
    const long = `mkdir -p "$0" && cd "$0" && for n in $(seq 20); do d=$(printf %0250d $n); mkdir "$d" && cd -P "$d"; done`;
    await promisify(execFile)("sh", ["-c", long, join(dir, "long")]);
    await expect(walkTree(dir, "long", () => true)).rejects.toMatchObject({ code: "tree_too_large" });
    await removeTree(join(dir, "long"));
  });

  it("is not taken while it changes", async () => {
    await writeFile(join(dir, "a"), "now");
    const walked = await walkTree(dir, "", () => true);
    const beside: Threads = {
      ...threads,
      async ask(name, task) {
        await appendFile(join(dir, "a"), " and then");
        return await threads.ask(name, task);
      },
    };
    const shipping = shipTree(dir, walked, chunks, never, { threads: beside });
    await expect(shipping).rejects.toMatchObject({ code: "file_changed", retryable: true });
  });

  it("is not read any more when it is given up: its number may be another file's then", async () => {
    await writeFile(join(dir, "a"), randomBytes(16 * 1024 * 1024));
    let reading = 0;
    const watched: Threads = {
      ...threads,
      async ask(kind, ask, given) {
        // As when the file ended early.
        if (kind === "sum") throw Object.assign(new Error("a file ended early"), { code: "file_changed" });
        reading += 1;
        return threads.ask(kind, ask, given).finally(() => (reading -= 1));
      },
    };
    const walked = await walkTree(dir, "a", () => true);
    const shipping = shipTree(dir, walked, chunks, never, { threads: watched, fileSums: true });
    await expect(shipping).rejects.toMatchObject({ code: "file_changed" });
    expect(reading).toBe(0);
  });

  it("is not unpacked from bytes that are not what their names say", async () => {
    await writeFile(join(dir, "a"), "hello");
    const ref = await ship(dir, "a");
    const manifest = await fetchManifest(ref.manifestCid, chunks, never);
    const [entry] = manifest.entries;
    const cid = entry?.kind === "file" ? entry.chunks[0]?.cid : undefined;
    if (cid === undefined) throw new Error("no chunk");
    chunks.stored.set(cid, Buffer.from("other"));
    const unpacking = unpackTree(manifest, join(dir, "to"), chunks, { owner, threads, signal: never });
    await expect(unpacking).rejects.toMatchObject({ code: "tree_corrupt" });
    chunks.stored.set(ref.manifestCid, Buffer.from("{}"));
    await expect(fetchManifest(ref.manifestCid, chunks, never)).rejects.toMatchObject({
      code: "tree_corrupt",
    });
  });

  it("is fetched whole when the version on disk it builds on is damaged", async () => {
    const at = join(dir, "from");
    await mkdir(at);
    await writeFile(join(at, "a"), Buffer.concat([Buffer.alloc(1024 * 1024, 1), Buffer.alloc(1024 * 1024, 2)]));
    const manifest = await fetchManifest((await ship(at)).manifestCid, chunks, never);
    const to = join(dir, "to");
    await unpackTree(manifest, join(dir, "first"), chunks, { owner, threads, signal: never });
    await writeFile(join(dir, "first/a"), Buffer.alloc(2 * 1024 * 1024, 9));
    const previous = { root: join(dir, "first"), manifest };
    await unpackTree(manifest, to, chunks, { owner, threads, previous, signal: never });
    expect((await readFile(join(to, "a"))).equals(await readFile(join(at, "a")))).toBe(true);
  });

  it("lets the container's user do what its owner could, where the agent may not give it away", async () => {
    const at = join(dir, "from");
    await mkdir(join(at, "sub"), { recursive: true });
    const modes = { file: 0o600, "sub/run": 0o755, "sub/kept": 0o444 };
    for (const [path, mode] of Object.entries(modes)) {
      await writeFile(join(at, path), path);
      await chmod(join(at, path), mode);
    }
    const manifest = await fetchManifest((await ship(at)).manifestCid, chunks, never);
    await chmod(dir, 0o777);
    await asNobody(() => unpackTree(manifest, join(dir, "to"), chunks, { owner: SOMEBODY, threads, signal: never }));
    const modeOf = async (path: string) => (await stat(join(dir, "to", path))).mode & 0o777;
    expect([await modeOf(""), await modeOf("sub")]).toEqual([0o777, 0o777]);
    expect([await modeOf("file"), await modeOf("sub/run"), await modeOf("sub/kept")]).toEqual([0o666, 0o777, 0o444]);
  });

  it("replaces what has its name when it is moved into place", async () => {
    for (const name of ["new/a", "old/a"]) await mkdir(join(dir, name), { recursive: true });
    await writeFile(join(dir, "new/a/x"), "new");
    await writeFile(join(dir, "old/a/y"), "old");
    expect(await moveInto(join(dir, "new"), join(dir, "old"))).toEqual(["a"]);
    expect(await readFile(join(dir, "old/a/x"), "utf8")).toBe("new");
    await expect(stat(join(dir, "old/a/y"))).rejects.toThrow();
  });
});

it("names chunks as IPFS does", () => {
  // `ipfs block put --cid-codec raw` of "hello world".
  expect(cidOf(Buffer.from("hello world"))).toBe("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
});

describe("whole checkpoints", () => {
  it("are told when they are renamed in, newest only, and never while they are written", async () => {
    const told: string[] = [];
    const watch = createEntryWatch(dir, null, async (id) => void told.push(id.split("#")[0] ?? ""));
    watch.start();
    try {
      await writeFile(join(dir, ".hidden"), "x");
      await writeFile(join(dir, "b.tmp"), "x");
      await writeFile(join(dir, "one"), "x");
      await expect.poll(() => told).toEqual(["one"]);
      await mkdir(join(dir, ".two"));
      await writeFile(join(dir, ".two/x"), "x");
      await promisify(execFile)("mv", [join(dir, ".two"), join(dir, "two")]);
      await expect.poll(() => told).toEqual(["one", "two"]);
      // The same name again is another checkpoint.
      await writeFile(join(dir, "one.tmp"), "y");
      await promisify(execFile)("mv", [join(dir, "one.tmp"), join(dir, "one")]);
      await expect.poll(() => told).toEqual(["one", "two", "one"]);
    } finally {
      watch.stop();
    }
    expect((await listEntries(dir)).map((entry) => entry.name)).toEqual(["two", "one"]);
  });

  it("announce themselves when the job begins to write them", async () => {
    const told: string[] = [];
    let stirs = 0;
    const onNewest = async (id: string): Promise<void> => void told.push(id);
    const watch = createEntryWatch(dir, null, onNewest, () => (stirs += 1));
    watch.start();
    try {
      await watch.look();
      expect(stirs).toBe(0);
      await writeFile(join(dir, "one.tmp"), "x");
      await expect.poll(() => stirs).toBeGreaterThan(0);
      await watch.look();
      expect(told).toEqual([]);
    } finally {
      watch.stop();
    }
  });
});
