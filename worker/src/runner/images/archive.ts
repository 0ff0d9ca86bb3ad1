// Reads the archive of an image that a consumer shipped: what `docker save` writes, or an OCI layout. Nothing in it is believed. What is taken over is
// the configuration and the layers, each found to have the digest that it should have; names, tags, links and everything else stay behind: a
// consumer must not give the name of somebody else's image to his own.
//
// Two passes over the file: the first looks at everything and adds up, the second writes a new archive of what the first found to be good.
import { createHash } from "node:crypto";
import { posix } from "node:path";
import { pipeline } from "node:stream/promises";
import tar from "tar-stream";
import { z } from "zod";
import { createLayerScanner, type LayerScan } from "./layer-scan.ts";
import { ImageFailure } from "./problem.ts";
import { type Bytes, type ByteSink, eachEntry, feed, give, unpackerFor } from "./tar-reading.ts";

export interface ArchivePlan {
  /** SHA-256 of the configuration: the image's id. */
  readonly configHash: string;
  readonly config: Buffer;
  /** In order; one file may serve as several. */
  readonly layers: readonly ArchiveLayer[];
  /** What the layers take on disk. */
  readonly unpackedBytes: number;
}

export interface ArchiveLayer {
  /** The entry of the archive. */
  readonly entry: string;
  /** SHA-256 of the layer, uncompressed. */
  readonly hash: string;
  readonly bytes: number;
}

/** An image of many layers has a few hundred entries. */
const ENTRIES_MAX = 10_000;
/** Configurations and manifests are some kilobytes; long histories make them longer. */
const DOCUMENT_BYTES_MAX = 4 * 1024 * 1024;
/** All documents are kept in memory. */
const DOCUMENTS_BYTES_MAX = 16 * 1024 * 1024;
/** What the Engine takes. */
const LAYERS_MAX = 127;

export interface SeenFile {
  /** SHA-256 of the bytes as they are. */
  readonly hash: string;
  /** The bytes, where they may be a JSON document. */
  readonly document: Buffer | null;
  /** Uncompressed, seen as a layer. */
  readonly plain: { readonly hash: string; readonly bytes: number; readonly scan: LayerScan };
}

/** Looks at all of it. Throws {@link ImageFailure} `image_invalid`, which says what is wrong. `unpackedBytesMax`: what the layers may take on disk. */
export async function readArchive(path: string, unpackedBytesMax: number, signal: AbortSignal): Promise<ArchivePlan> {
  const files = new Map<string, SeenFile>();
  const links = new Map<string, string>();
  const budget = { plain: unpackedBytesMax, documents: DOCUMENTS_BYTES_MAX };
  await readingEntries(path, signal, async (header, body) => {
    const name = safeName(header.name);
    if (files.has(name) || links.has(name)) throw invalid(`it holds "${name}" twice`);
    if (files.size + links.size >= ENTRIES_MAX) throw invalid(`it holds more than ${ENTRIES_MAX} files`);
    if (header.type === "symlink") {
      links.set(name, safeName(posix.join(posix.dirname(name), header.linkname ?? "")));
    } else if (header.type === "file" || header.type === "contiguous-file") {
      files.set(name, await lookAtFile(header.size ?? 0, body, budget));
    } else {
      throw invalid(`"${name}" is neither a file nor a folder`);
    }
  });
  return planOf((name) => findFile(files, links, name), unpackedBytesMax);
}

/** Writes an archive of this image alone, without any name for it. */
export async function writeArchive(
  path: string,
  plan: ArchivePlan,
  sink: ByteSink,
  end: () => void,
  signal: AbortSignal,
): Promise<void> {
  const pack = tar.pack();
  const written = feed(pack, sink, end);
  written.catch((error: unknown) => pack.destroy(error as Error));
  const wanted = new Map(plan.layers.map((layer) => [layer.entry, layer]));
  const done = new Set<string>();
  const config = `${plan.configHash}.json`;
  pack.entry({ name: config }, plan.config);
  try {
    await readingEntries(path, signal, async (header, body) => {
      const layer = wanted.get(safeName(header.name));
      // Two files may be the same layer.
      if (layer === undefined || done.has(layer.hash)) return;
      done.add(layer.hash);
      const entry = pack.entry({ name: `${layer.hash}.tar`, size: layer.bytes });
      await eachPlain(body, (chunk) => give(entry, chunk));
      entry.end(null);
    });
    const Layers = plan.layers.map(({ hash }) => `${hash}.tar`);
    pack.entry({ name: "manifest.json" }, JSON.stringify([{ Config: config, RepoTags: null, Layers }]));
    pack.finalize();
    await written;
  } finally {
    pack.destroy();
  }
}

async function readingEntries(path: string, signal: AbortSignal, onEntry: Parameters<typeof eachEntry>[2]) {
  try {
    await eachEntry(path, signal, onEntry);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ImageFailure || (error as NodeJS.ErrnoException).syscall !== undefined) throw error;
    throw invalid(`it cannot be read (${error instanceof Error ? error.message : String(error)})`);
  }
}

/** Relative and inside: what it names is only ever looked up, never written. */
function safeName(name: string): string {
  const normal = posix.normalize(name);
  if (name === "" || name.includes("\0") || normal.startsWith("/") || normal.split("/").includes("..")) {
    throw invalid(`"${name}" leads out of it`);
  }
  return normal;
}

async function lookAtFile(size: number, body: Bytes, budget: { plain: number; documents: number }): Promise<SeenFile> {
  const raw = createHash("sha256");
  const plain = createHash("sha256");
  const scanner = createLayerScanner();
  const parts: Uint8Array[] = [];
  let isDocument: boolean | null = null;
  let bytes = 0;
  const tapped = tap(body, (chunk) => {
    raw.update(chunk);
    isDocument ??= size <= DOCUMENT_BYTES_MAX && /^[\s]*[{[]/.test(Buffer.from(chunk.subarray(0, 64)).toString());
    if (isDocument) {
      budget.documents -= chunk.length;
      if (budget.documents < 0) throw invalid("its descriptions are larger than any image's");
      parts.push(Buffer.from(chunk));
    }
  });
  await eachPlain(tapped, async (chunk) => {
    bytes += chunk.length;
    budget.plain -= chunk.length;
    if (budget.plain < 0) throw invalid("unpacked, it is larger than the worker has room for images");
    plain.update(chunk);
    await scanner.add(chunk);
  });
  const document = isDocument === true ? Buffer.concat(parts) : null;
  return { hash: raw.digest("hex"), document, plain: { hash: plain.digest("hex"), bytes, scan: await scanner.end() } };
}

async function* tap(source: Bytes, see: (chunk: Uint8Array) => void): Bytes {
  for await (const chunk of source) {
    see(chunk);
    yield chunk;
  }
}

/** The bytes of a file, unpacked where they are compressed. */
async function eachPlain(body: Bytes, take: (chunk: Uint8Array) => Promise<void>): Promise<void> {
  const iterator = body[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done === true) return;
  async function* again(): AsyncGenerator<Uint8Array> {
    yield first.value;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
  }
  const unpacker = unpackerFor(first.value);
  const drain = async (plain: AsyncIterable<Uint8Array>) => {
    for await (const chunk of plain) await take(chunk);
  };
  if (unpacker === null) await drain(again());
  else await pipeline(again(), unpacker, drain);
}

// ── What the archive says of itself ──

type Find = (name: string) => { readonly entry: string; readonly file: SeenFile };

function findFile(
  files: ReadonlyMap<string, SeenFile>,
  links: ReadonlyMap<string, string>,
  name: string,
): ReturnType<Find> {
  const wanted = safeName(name);
  // `docker save` links to a layer that it has written before; a link to a link it does not make.
  const entry = links.get(wanted) ?? wanted;
  const file = files.get(entry);
  if (file === undefined) throw invalid(`it names "${name}", which is not in it`);
  // Where the name is a digest, it must be that of the content.
  const said = /(?:^|\/)(?<hash>[0-9a-f]{64})(?:\.json)?$/.exec(wanted)?.groups?.["hash"];
  if (said !== undefined && said !== file.hash) throw invalid(`"${name}" is not what its name says`);
  return { entry, file };
}

const savedSchema = z.array(z.object({ Config: z.string(), Layers: z.array(z.string()).max(LAYERS_MAX).nullable() }));
const configSchema = z.object({
  os: z.string().optional(),
  rootfs: z.object({
    diff_ids: z
      .array(z.string().regex(/^sha256:[0-9a-f]{64}$/))
      .max(LAYERS_MAX)
      .nullable(),
  }),
});
const descriptorSchema = z.object({
  mediaType: z.string().optional(),
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  platform: z.object({ architecture: z.string(), os: z.string() }).optional(),
});
const indexSchema = z.object({ manifests: z.array(descriptorSchema).max(1_000) });
const manifestSchema = z.object({ config: descriptorSchema, layers: z.array(descriptorSchema).max(LAYERS_MAX) });

function planOf(find: Find, unpackedBytesMax: number): ArchivePlan {
  const { config, layers } = has(find, "manifest.json") ? savedImage(find) : ociImage(find);
  const document = config.file.document ?? Buffer.alloc(0);
  const { os, rootfs } = parse(configSchema, config.file, config.entry);
  if (os !== undefined && os !== "linux") throw invalid(`it is for ${os}, and workers run linux`);
  const diffIds = rootfs.diff_ids ?? [];
  if (diffIds.length !== layers.length) {
    throw invalid(`its configuration names ${diffIds.length} layers, and it has ${layers.length}`);
  }
  let unpackedBytes = 0;
  const checked = layers.map(({ entry, file: { plain } }, index): ArchiveLayer => {
    if (`sha256:${plain.hash}` !== diffIds[index]) {
      throw invalid(`layer ${index + 1} ("${entry}") is not the one that its configuration names`);
    }
    if (plain.scan.problem !== null) throw invalid(`layer ${index + 1} ("${entry}"): ${plain.scan.problem}`);
    unpackedBytes += plain.scan.bytes;
    return { entry, hash: plain.hash, bytes: plain.bytes };
  });
  if (unpackedBytes > unpackedBytesMax) throw invalid("unpacked, it is larger than the worker has room for images");
  return { configHash: config.file.hash, config: document, layers: checked, unpackedBytes };
}

interface ImageFiles {
  readonly config: ReturnType<Find>;
  readonly layers: readonly ReturnType<Find>[];
}

function savedImage(find: Find): ImageFiles {
  const { file, entry } = find("manifest.json");
  const images = parse(savedSchema, file, entry);
  const [image] = images;
  if (image === undefined || images.length > 1) {
    throw invalid(`it holds ${images.length} images; save the one that is to run (docker save IMAGE)`);
  }
  return { config: find(image.Config), layers: (image.Layers ?? []).map(find) };
}

function ociImage(find: Find): ImageFiles {
  if (!has(find, "index.json")) {
    throw invalid("it is neither what docker save writes nor an OCI layout: it has no manifest.json and no index.json");
  }
  const blob = (digest: string) => find(`blobs/sha256/${digest.slice("sha256:".length)}`);
  let { file, entry } = find("index.json");
  // An index may name another one, for several platforms.
  for (let depth = 0; depth < 2; depth += 1) {
    const { manifests } = parse(indexSchema, file, entry);
    const suited = manifests.filter(({ platform }) => platform === undefined || isOurs(platform));
    const [chosen] = suited;
    if (chosen === undefined || suited.length > 1) {
      throw invalid(`it holds ${suited.length} images for this kind of machine; save the one that is to run`);
    }
    ({ file, entry } = blob(chosen.digest));
    if (!indexSchema.safeParse(documentOf(file)).success) break;
  }
  const manifest = parse(manifestSchema, file, entry);
  return { config: blob(manifest.config.digest), layers: manifest.layers.map(({ digest }) => blob(digest)) };
}

const ARCHITECTURES: Readonly<Partial<Record<NodeJS.Architecture, string>>> = { x64: "amd64", arm64: "arm64" };

function isOurs({ os, architecture }: { readonly os: string; readonly architecture: string }): boolean {
  return os === "linux" && architecture === ARCHITECTURES[process.arch];
}

function has(find: Find, name: string): boolean {
  try {
    find(name);
    return true;
  } catch {
    return false;
  }
}

function parse<T>(schema: z.ZodType<T>, file: SeenFile, entry: string): T {
  const parsed = schema.safeParse(documentOf(file));
  if (!parsed.success)
    throw invalid(`"${entry}" does not say what it should: ${parsed.error.issues[0]?.message ?? ""}`);
  return parsed.data;
}

function documentOf({ document }: SeenFile): unknown {
  try {
    return JSON.parse((document ?? "").toString());
  } catch {
    return undefined;
  }
}

function invalid(why: string): ImageFailure {
  return new ImageFailure("image_invalid", `The uploaded image cannot be used: ${why}.`);
}
