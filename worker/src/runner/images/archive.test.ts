import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { buffer } from "node:stream/consumers";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readArchive, writeArchive } from "./archive.ts";
import {
  hashOf,
  idOf,
  type LayerFile,
  makeImage,
  type MadeImage,
  makeTar,
  ociFiles,
  savedFiles,
  unsave,
} from "./testing.ts";

const BYTES_MAX = 24 * 1024 * 1024;
const { signal } = new AbortController();
let dir = "";
let image: MadeImage;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-archive-"));
  image = await makeImage({ layers: [await makeTar([{ name: "bin/tool", content: "tool" }])] });
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function fileOf(bytes: Buffer): Promise<string> {
  const path = join(dir, "image.tar");
  await writeFile(path, bytes);
  return path;
}

async function planOf(files: readonly LayerFile[], bytesMax = BYTES_MAX) {
  return readArchive(await fileOf(await makeTar(files)), bytesMax, signal);
}

async function rewritten(bytes: Buffer): Promise<Buffer> {
  const path = await fileOf(bytes);
  const plan = await readArchive(path, BYTES_MAX, signal);
  const out = new PassThrough();
  const [written] = await Promise.all([buffer(out), writeArchive(path, plan, out, () => out.end(), signal)]);
  return written;
}

describe("an archive", () => {
  it.each<[string, (made: MadeImage) => Promise<Buffer>]>([
    ["by docker save", (made) => makeTar(savedFiles(made, ["python:3.12"]))],
    ["by docker save, compressed", async (made) => gzipSync(await makeTar(savedFiles(made)))],
    [
      "in OCI layout, its layers with gzip",
      (made) => makeTar(ociFiles(made, (layer) => gzipSync(layer), "python:3.12")),
    ],
    ["in OCI layout, with zstd", (made) => makeTar(ociFiles(made, (layer) => zstdCompressSync(layer), "python:3.12"))],
  ])("%s becomes the same image, without a name", async (_kind, make) => {
    const written = await rewritten(await make(image));
    expect(await unsave(written)).toEqual(image);
    const text = written.toString("latin1");
    expect(text).toContain('"RepoTags":null');
    expect(text).not.toContain("python");
    expect(text).not.toContain("repositories");
    expect(text).not.toContain("ref.name");
  });

  it("says which image it is, and what it takes", async () => {
    const plan = await planOf(savedFiles(image));
    expect(`sha256:${plan.configHash}`).toBe(idOf(image));
    expect(plan.layers.map(({ hash }) => hash)).toEqual(image.layers.map(hashOf));
    // Two files of less than a block each.
    expect(plan.unpackedBytes).toBe(2 * (4096 + 512));
  });

  it("may link to a layer that it has written before, as docker save does", async () => {
    const twice = await makeImage({ layers: image.layers });
    const doubled: MadeImage = {
      config: Buffer.from(
        twice.config.toString().replace(/"diff_ids":\[[^\]]*\]/, () => {
          const ids = [...twice.layers, ...twice.layers.slice(0, 1)].map((layer) => `sha256:${hashOf(layer)}`);
          return `"diff_ids":${JSON.stringify(ids)}`;
        }),
      ),
      layers: twice.layers,
    };
    const [first] = twice.layers.map(hashOf);
    const files = savedFiles(doubled).map((file) => {
      if (file.name !== "manifest.json") return file;
      const [said] = JSON.parse(String(file.content)) as { Layers: string[] }[];
      said?.Layers.push("again/layer.tar");
      return { ...file, content: JSON.stringify([said]) };
    });
    const link: LayerFile = { name: "again/layer.tar", header: { type: "symlink", linkname: `../${first}/layer.tar` } };
    const plan = await planOf([...files, link]);
    expect(plan.layers.map(({ hash }) => hash)).toEqual([...twice.layers.map(hashOf), first]);
  });
});

describe("a hostile archive is refused:", () => {
  const other = (patch: (files: LayerFile[]) => LayerFile[]) => async () => makeTar(patch(savedFiles(image)));
  const layered = (files: readonly LayerFile[]) => async () =>
    makeTar(savedFiles(await makeImage({ layers: [await makeTar(files)] })));
  const replace = (files: LayerFile[], match: (name: string) => boolean, content: string | Buffer) =>
    files.map((file) => (match(file.name) ? { ...file, content } : file));

  it.each<[string, () => Promise<Buffer>, string]>([
    ["no archive", async () => Buffer.from("not an archive at all".repeat(100)), "cannot be read"],
    ["nothing", async () => Buffer.alloc(0), "no manifest.json and no index.json"],
    ["cut short", async () => (await makeTar(savedFiles(image))).subarray(0, 2000), "cannot be read"],
    [
      "compressed and cut short",
      async () => gzipSync(await makeTar(savedFiles(image))).subarray(0, -20),
      "cannot be read",
    ],
    ["a file system instead of an image", () => makeTar([{ name: "etc/passwd", content: "root" }]), "no manifest.json"],
    ["a path upwards", other((files) => [...files, { name: "../../etc/cron.d/x", content: "x" }]), "leads out of it"],
    ["an absolute path", other((files) => [...files, { name: "/etc/cron.d/x", content: "x" }]), "leads out of it"],
    [
      "a link upwards",
      other((files) => [...files, { name: "x", header: { type: "symlink", linkname: "../../etc/shadow" } }]),
      "leads out of it",
    ],
    [
      "a hard link",
      other((files) => [...files, { name: "x", header: { type: "link", linkname: "manifest.json" } }]),
      "neither a file nor a folder",
    ],
    [
      "a device",
      other((files) => [...files, { name: "x", header: { type: "block-device", devmajor: 8, devminor: 0 } }]),
      "neither a file nor a folder",
    ],
    ["a name twice", other((files) => [...files, { name: "manifest.json", content: "[]" }]), "twice"],
    [
      "a layer that is a link to outside",
      other((files) => [
        ...files.filter(({ name }) => name !== LAYER()),
        { name: LAYER(), header: { type: "symlink", linkname: "/etc/shadow" } },
      ]),
      "which is not in it",
    ],
    [
      "a configuration that is not what its name says",
      other((files) =>
        replace(files, (name) => name.endsWith(".json") && name !== "manifest.json", `${image.config.toString()} `),
      ),
      "is not what its name says",
    ],
    [
      "a layer that is not the configuration's",
      other((files) => replace(files, (name) => name.startsWith(hashOf(image.layers[0] ?? "")), image.layers[1] ?? "")),
      "is not the one that its configuration names",
    ],
    [
      "a blob that is not what its name says",
      async () => makeTar(replace(ociFiles(image, gzipSync, "x"), (name) => name.includes(hashOf(image.config)), "{}")),
      "is not what its name says",
    ],
    [
      "fewer layers than the configuration names",
      other((files) => {
        const Config = `${hashOf(image.config)}.json`;
        return replace(files, (name) => name === "manifest.json", JSON.stringify([{ Config, Layers: [] }]));
      }),
      "names 2 layers, and it has 0",
    ],
    [
      "two images",
      other((files) => {
        const { content } = files.find(({ name }) => name === "manifest.json") ?? {};
        const [one] = JSON.parse(String(content)) as unknown[];
        return replace(files, (name) => name === "manifest.json", JSON.stringify([one, one]));
      }),
      "it holds 2 images",
    ],
    [
      "a manifest that is none",
      other((files) => replace(files, (name) => name === "manifest.json", "{}")),
      "manifest.json",
    ],
    ["a sparse file in a layer", layered([{ name: "huge", header: SPARSE }]), "is a sparse file"],
    ["a layer that leads out", layered([{ name: "../../etc/cron.d/x", content: "x" }]), "leads out of the image"],
    [
      "a layer that is no archive",
      async () => makeTar(savedFiles(await makeImage({ layers: [Buffer.alloc(4096, "x")] }))),
      "it is not a tar archive",
    ],
    [
      "a bomb: a layer that grows a thousandfold",
      async () => makeTar(ociFiles(await makeImage({ layers: [await bomb()] }), (layer) => gzipSync(layer), "x")),
      "larger than the worker has room for",
    ],
    [
      "a bomb: an archive that does",
      async () => gzipSync(await makeTar(savedFiles(await makeImage({ layers: [await bomb()] })))),
      "larger than the worker has room for",
    ],
    [
      "a bomb: a great many files of one byte",
      async () => makeTar(savedFiles(await makeImage({ layers: [await manyFiles()] }))),
      "larger than the worker has room for",
    ],
    [
      "descriptions without end",
      other((files) => [
        ...files,
        ...Array.from({ length: 5 }, (_, index) => ({ name: `d${index}.json`, content: `{${" ".repeat(3_900_000)}}` })),
      ]),
      "descriptions are larger",
    ],
    ["another system's image", async () => makeTar(savedFiles(await windows())), "it is for windows"],
  ])("%s", async (_what, make, why) => {
    const reading = readArchive(await fileOf(await make()), BYTES_MAX, signal);
    const error = await reading.then(
      () => undefined,
      (failure: unknown) => failure as { problem?: { code: string; message: string } },
    );
    expect(error?.problem?.code).toBe("image_invalid");
    expect(error?.problem?.message).toMatch(new RegExp(why));
  });
});

const LAYER = () => `${hashOf(image.layers[0] ?? "")}/layer.tar`;
const SPARSE = { pax: { "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1099511627776" } };

/** Of 1 KiB each, and on disk of a block and an inode each. */
async function manyFiles(): Promise<Buffer> {
  const one = (await makeTar([{ name: "f", content: "x" }])).subarray(0, 1024);
  return Buffer.concat([...Array.from({ length: 6_000 }, () => one), Buffer.alloc(1024)]);
}

function bomb(): Promise<Buffer> {
  return makeTar([{ name: "zeros", content: Buffer.alloc(BYTES_MAX + 1) }]);
}

async function windows(): Promise<MadeImage> {
  const made = await makeImage();
  return { ...made, config: Buffer.from(made.config.toString().replace('"os":"linux"', '"os":"windows"')) };
}
