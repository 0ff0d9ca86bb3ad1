import { mkdtemp, readdir, readlink, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import type { RunSpec } from "@qubix/shared/protocol";
import { createLogger } from "@qubix/shared/runtime";
import { shipTree } from "../../checkpoint/pack.ts";
import { walkTree } from "../../checkpoint/walk.ts";
import { createEngine } from "../engine.ts";
import {
  attemptOf,
  type Bench,
  createBench,
  createMemoryLedger,
  DOCKER_SOCKET,
  ensureTinyImage,
  imagesConfig,
  type MemoryChunks,
  NOBODY,
  shell,
  TINY_IMAGE,
} from "../testing.ts";
import { createImages, type Images, type ImagesConfig } from "./images.ts";
import { idOf, type LayerFile, makeImage, type MadeImage, makeTar, ociFiles, savedFiles, unsave } from "./testing.ts";
import { createThreads } from "../../checkpoint/encode/threads.ts";

// On the real Docker Engine: a consumer's archive becomes an image that he alone can run, and that takes nobody's name.
const threads = createThreads();
const engine = createEngine(DOCKER_SOCKET);
const { signal } = new AbortController();
let tiny: MadeImage;
let bench: Bench;
const made = new Set<string>();

beforeAll(async () => {
  await ensureTinyImage();
  tiny = await unsave(await buffer((await engine.docker.getImage(TINY_IMAGE).get()) as AsyncIterable<Buffer>));
}, 120_000);
beforeEach(async () => {
  bench = await createBench();
});
afterEach(async () => {
  await bench.dispose();
  for (const id of made)
    await engine.docker
      .getImage(id)
      .remove({ force: true })
      .catch(() => undefined);
  made.clear();
});

/** Ships files as an upload. */
async function upload(files: readonly LayerFile[], chunks: MemoryChunks = bench.chunks) {
  const dir = await mkdtemp(join(tmpdir(), "qubix-upload-"));
  try {
    for (const { name, content = "" } of files) await writeFile(join(dir, name), content);
    const { tree } = await shipTree(dir, await walkTree(dir, "", () => true), chunks, signal, { threads });
    return { image: "upload:upl-1", imageTree: { manifestCid: tree.manifestCid } };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function runnable(): Promise<MadeImage> {
  const image = await makeImage({ layers: tiny.layers, config: { User: "nobody" } });
  made.add(idOf(image));
  return image;
}

function imagesOf(patch: Partial<ImagesConfig> = {}, ledger = createMemoryLedger()): Images {
  return createImages(
    { engine, logger: createLogger("test", "silent"), ledger, threads },
    imagesConfig(bench.dir, patch),
  );
}

function ensure(
  images: Images,
  run: Pick<RunSpec, "image" | "imageTree">,
  slotId = "slot",
  progress: (text: string) => void = () => undefined,
) {
  return images.ensure({ slotId, run, auth: undefined, chunks: bench.chunks, signal, progress });
}

const isHere = (id: string) =>
  engine.docker
    .getImage(id)
    .inspect()
    .then(
      () => true,
      () => false,
    );

it("runs, and takes no image's name, whatever its archive says", async () => {
  const victim = `qubix-test/victim-${bench.workerId}`;
  const before = (await engine.docker.getImage(TINY_IMAGE).inspect()).Id;
  await engine.docker.getImage(TINY_IMAGE).tag({ repo: victim, tag: "1" });
  try {
    const image = await runnable();
    const archive = await makeTar(savedFiles(image, [`${victim}:1`, TINY_IMAGE]));
    const run = shell(
      "echo from the upload as $(id -u); ls /mark",
      await upload([{ name: "image.tar", content: archive }]),
    );
    const slot = bench.slot("s1");
    const attempt = attemptOf("job-a");
    await slot.prepare(attempt.jobId, run, null);
    await bench.event("prepared");
    await slot.start(attempt, run);
    expect(await bench.event("exited")).toMatchObject({ exitCode: 0 });
    await expect.poll(() => bench.log()).toBe(`from the upload as ${NOBODY}\n/mark\n`);
    expect((await engine.docker.getImage(`${victim}:1`).inspect()).Id).toBe(before);
    expect((await engine.docker.getImage(TINY_IMAGE).inspect()).Id).toBe(before);
    expect((await engine.docker.getImage(idOf(image)).inspect()).RepoTags).toEqual([]);
    // Nothing of the archive is left on the way.
    expect(await readdir(join(bench.dir, "images"))).toEqual([]);
  } finally {
    await engine.docker.getImage(`${victim}:1`).remove({});
  }
});

it("may be an OCI layout, compressed, which this Engine itself may not know", async () => {
  const image = await runnable();
  const archive = gzipSync(await makeTar(ociFiles(image, (layer) => gzipSync(layer), TINY_IMAGE)), { level: 1 });
  const run = await upload([{ name: "image.tar.gz", content: archive }]);
  expect(await ensure(imagesOf(), run)).toMatchObject({ kind: "image", id: idOf(image), digest: null, user: "nobody" });
});

it("is fetched once for several, and once for all, until room is needed", async () => {
  const [one, two] = [await makeImage({ bytes: 300_000 }), await makeImage({ bytes: 300_000 })];
  for (const image of [one, two]) made.add(idOf(image));
  const [first, second] = [
    await upload([{ name: "one.tar", content: await makeTar(savedFiles(one)) }]),
    await upload([{ name: "two.tar", content: await makeTar(savedFiles(two)) }]),
  ];
  const ledger = createMemoryLedger();
  const room = { budgetBytes: 500_000, reserveBytes: 0, engineDir: null };
  const images = imagesOf({ room }, ledger);
  const told: string[] = [];
  const both = await Promise.all([
    ensure(images, first, "a", (text) => told.push(text)),
    ensure(images, first, "b", (text) => told.push(text)),
  ]);
  for (const found of both) expect(found).toMatchObject({ kind: "image", id: idOf(one) });
  expect(told.filter((text) => text === "loading the image")).toHaveLength(2);
  const fetched = bench.chunks.fetched.length;
  // Also by an agent that has been started anew.
  expect(await ensure(imagesOf({ room }, ledger), first, "c")).toMatchObject({ id: idOf(one) });
  expect(bench.chunks.fetched.length).toBe(fetched);
  for (const slot of ["a", "b"]) images.release(slot);
  expect(await ensure(images, second, "d")).toMatchObject({ id: idOf(two) });
  expect([await isHere(idOf(one)), await isHere(idOf(two))]).toEqual([false, true]);
});

it.each<[string, () => Promise<readonly LayerFile[]>, string]>([
  ["no image", async () => [{ name: "notes.txt", content: "hello" }], "cannot be read"],
  [
    "two files",
    async () => [
      { name: "a", content: "a" },
      { name: "b", content: "b" },
    ],
    "this upload has 2 files",
  ],
])("is the job's own fault where it is %s", async (_what, files, why) => {
  const slot = bench.slot("s1");
  await slot.prepare(attemptOf("job-a").jobId, shell("true", await upload(await files())), null);
  const { outcome } = await bench.event("failed");
  expect(outcome).toMatchObject({ kind: "failed", code: "start_failed", message: expect.stringContaining(why) });
});

it("that is not wanted any more leaves nothing behind, and what was left by a dead agent is found", async () => {
  const image = await makeImage({ bytes: 100_000 });
  made.add(idOf(image));
  const run = await upload([{ name: "image.tar", content: await makeTar(savedFiles(image)) }]);
  const gone = new AbortController();
  const images = imagesOf();
  const cancelled = images.ensure({
    slotId: "slot",
    run,
    auth: undefined,
    chunks: {
      get(cid, abort) {
        gone.abort(new Error("cancelled"));
        return bench.chunks.get(cid, abort);
      },
    },
    signal: gone.signal,
    progress: () => undefined,
  });
  await expect(cancelled).rejects.toThrow("cancelled");
  await expect.poll(() => readdir(join(bench.dir, "images"))).toEqual([]);
  expect(await isHere(idOf(image))).toBe(false);
  // The agent died between the Engine's having it and its own knowing of it.
  const ledger = createMemoryLedger();
  const loaded = imagesOf({}, createMemoryLedger());
  await ensure(loaded, run);
  ledger.save({ images: [], expected: [{ name: idOf(image), tree: run.imageTree.manifestCid, sinceMs: Date.now() }] });
  const small = imagesOf({ room: { budgetBytes: 300_000, reserveBytes: 0, engineDir: null } }, ledger);
  const next = await makeImage({ bytes: 250_000 });
  made.add(idOf(next));
  const other = await upload([{ name: "next.tar", content: await makeTar(savedFiles(next)) }]);
  expect(await ensure(small, other)).toMatchObject({ kind: "image", id: idOf(next) });
  expect(await isHere(idOf(image))).toBe(false);
});

it("that the Engine refuses half-way is held open no longer: what was deleted of it gives its room back", async () => {
  const image = await makeImage({ bytes: 8 * 1024 * 1024 });
  const run = await upload([{ name: "image.tar", content: await makeTar(savedFiles(image)) }]);
  // An Engine whose disk is full: it says so while it is still being sent the image, and reads no more of it.
  const full = createServer((request, response) => {
    if (request.url?.endsWith("/images/load") !== true) {
      const isList = request.url?.includes("/images/json") === true;
      response.writeHead(isList ? 200 : 404).end(isList ? "[]" : "{}");
      return;
    }
    request.once("data", () => {
      request.pause();
      response.writeHead(200).end('{"errorDetail":{"message":"no space left on device"}}\n');
    });
  });
  const socket = join(bench.dir, "full.sock");
  await new Promise<void>((resolve) => full.listen(socket, resolve));
  const ports = { logger: createLogger("test", "silent"), ledger: createMemoryLedger(), threads };
  const images = createImages({ ...ports, engine: createEngine(socket) }, imagesConfig(bench.dir, {}));
  await expect(ensure(images, run)).rejects.toThrow("no space left on device");
  const heldOpen = async () => {
    const links = (await readdir("/proc/self/fd")).map((fd) => readlink(join("/proc/self/fd", fd)).catch(() => ""));
    return (await Promise.all(links)).filter((path) => path.startsWith(bench.dir) && path.includes("image.tar"));
  };
  await expect.poll(heldOpen).toEqual([]);
  full.closeAllConnections();
  full.close();
});
