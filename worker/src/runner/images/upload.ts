// An image that a consumer shipped: its archive is fetched, checked, loaded into the Engine without a name, and deleted.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough, type Readable } from "node:stream";
import type { RunSpec, TreeManifest } from "@qubix/shared/protocol";
import type { Threads } from "../../checkpoint/encode/threads.ts";
import { removeTree } from "../../checkpoint/remove.ts";
import { type ChunkSource, fetchManifest, unpackTree } from "../../checkpoint/unpack.ts";
import type { Engine } from "../engine.ts";
import { type ArchivePlan, readArchive, writeArchive } from "./archive.ts";
import { readEngineStream } from "./engine-stream.ts";
import type { Shared, Waiter } from "./joined.ts";
import { lookAtImage, type LookedAt } from "./local.ts";
import { ImageFailure } from "./problem.ts";
import type { Room, RoomConfig } from "./room.ts";

type ManifestCid = NonNullable<RunSpec["imageTree"]>["manifestCid"];
interface Uploader extends Waiter {
  readonly chunks: ChunkSource;
}

/** The Engine unpacks as fast as its disk writes. */
const LOAD_TOTAL_MS = 3_600_000;
/** While it unpacks a large layer the Engine may say nothing. */
const LOAD_SILENCE_MS = 600_000;
/** It is read by the agent alone. */
const OWNER = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

export interface FetchedUpload {
  /** The image's id: the SHA-256 of its configuration. */
  readonly id: string;
  load(engine: Engine, signal: AbortSignal): Promise<LookedAt>;
  /** Deletes the archive. */
  remove(): Promise<void>;
}

/** Fetches the archive of this tree and checks it. Throws {@link ImageFailure}, or what fetching throws. */
export async function fetchUpload(
  tree: ManifestCid,
  shared: Shared<Uploader>,
  room: Room,
  config: { readonly dir: string; readonly room: RoomConfig; readonly threads: Threads },
): Promise<FetchedUpload> {
  const { signal } = shared;
  // Whoever waits may be gone before the last chunk has come: any of them will do.
  const source: ChunkSource = {
    get(cid, abort) {
      const [waiter] = shared.waiters;
      if (waiter === undefined) throw new ImageFailure("image_pull_failed", "Nobody waits for the image any more.");
      return waiter.chunks.get(cid, abort);
    },
  };
  const folder = join(config.dir, tree);
  const remove = () => removeTree(folder);
  try {
    await mkdir(config.dir, { recursive: true, mode: 0o700 });
    const manifest = await fetchManifest(tree, source, signal);
    const archive = archiveOf(manifest);
    await room.make(archive.bytes, "The uploaded image");
    await unpackTree(manifest, folder, counted(source, archive.bytes, shared), {
      owner: OWNER,
      threads: config.threads,
      signal,
    });
    const path = join(folder, archive.path);
    shared.progress("checking the image");
    const plan = await readArchive(path, config.room.budgetBytes, signal);
    await room.make(plan.unpackedBytes, "The uploaded image");
    shared.progress("loading the image");
    return { id: `sha256:${plan.configHash}`, load: (engine, abort) => load(engine, path, plan, abort), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

function archiveOf({ entries }: TreeManifest): { readonly path: string; readonly bytes: number } {
  const files = entries.filter((entry) => entry.kind === "file");
  const [file] = files;
  if (file !== undefined && files.length === 1) return file;
  throw new ImageFailure(
    "image_invalid",
    `An uploaded image is one archive, and this upload has ${files.length} files.`,
  );
}

function counted(source: ChunkSource, bytesTotal: number, shared: Shared<Uploader>): ChunkSource {
  let bytes = 0;
  return {
    async get(cid, abort) {
      const chunk = await source.get(cid, abort);
      bytes += chunk.length;
      // What comes is compressed: the share is a lower bound, never more than all.
      shared.progress(`fetching the image ${Math.min(100, Math.floor((bytes / Math.max(1, bytesTotal)) * 100))}%`);
      return chunk;
    },
  };
}

async function load(engine: Engine, path: string, plan: ArchivePlan, signal: AbortSignal): Promise<LookedAt> {
  const id = `sha256:${plan.configHash}`;
  let said = "";
  await engine.call("load an image", LOAD_TOTAL_MS, async (timeout) => {
    const over = new AbortController();
    const abort = AbortSignal.any([signal, timeout, over.signal]);
    const body = new PassThrough();
    const writing = writeArchive(path, plan, body, () => body.end(), abort);
    writing.catch((error: unknown) => body.destroy(error as Error));
    try {
      const stream = await engine.docker.loadImage(body, { abortSignal: abort } as object);
      await readEngineStream(stream as Readable, LOAD_SILENCE_MS, ({ stream: line }) => {
        said += line ?? "";
      });
      await writing;
    } finally {
      // An Engine that refuses it reads no further: what waits for it to read would wait for ever, and keep the archive's room on the disk.
      over.abort();
      body.destroy();
      await writing.catch(() => undefined);
    }
  });
  // An Engine that keeps images by their manifests gives another id, and says which.
  const found = (await lookAtImage(engine, id)) ?? (await lookAtImage(engine, loadedId(said) ?? id));
  if (found !== undefined) return found;
  throw new ImageFailure("image_pull_failed", "The uploaded image was loaded, but the Engine does not show it.");
}

function loadedId(said: string): string | undefined {
  return /Loaded image ID: (?<id>sha256:[0-9a-f]{64})/.exec(said)?.groups?.["id"];
}
