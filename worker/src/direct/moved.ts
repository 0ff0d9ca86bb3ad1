// What the newest trees of one job moved, kept for its standby: exactly the pieces that are new in a checkpoint. In memory as long as all jobs together
// leave room there, beyond that in a file of the slot's own folder; what fits in neither is not kept, and comes from the orchestrator.
import { type FileHandle, mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ChunkCid } from "@qubix/shared/domain";
import { chunkFrame } from "./wire.ts";

/** In memory, of all jobs together: some checkpoints' worth of differences, on a machine whose agent is to take little. */
export const MOVED_MEMORY_BYTES_MAX = 32 * 1024 * 1024;
/** In one file: a first checkpoint of a model of some hundred million parameters. It is the provider's own disk that it lies on. */
const FILE_BYTES_MAX = 1024 * 1024 * 1024;
/** The tree that is being sent, and the one before it, which the standby may still be fetching. */
const TREES_KEPT = 2;

/** Shared by all jobs. */
export interface MovedBudget {
  memoryBytes: number;
}

export interface MovedPieces {
  /** A new tree begins; pieces of the one before the last go. */
  begin(): Promise<void>;
  /** Keeps a copy; the caller's memory is free again when this resolves. */
  keep(cid: ChunkCid, stored: Uint8Array): Promise<void>;
  /** As it is answered ({@link chunkFrame}), not to be written to; undefined for what is not here (any more). */
  answer(cid: ChunkCid): Promise<Uint8Array | undefined>;
  clear(): Promise<void>;
}

type Place =
  | { readonly kind: "memory"; readonly frame: Uint8Array }
  | { readonly kind: "file"; readonly at: number; readonly bytes: number };
interface Tree {
  readonly places: Map<ChunkCid, Place>;
  readonly number: number;
  memoryBytes: number;
  file: Promise<FileHandle> | null;
  fileBytes: number;
}

/** `folder`: of the slot, not seen by its container. */
export function createMovedPieces(folder: string, budget: MovedBudget): MovedPieces {
  let trees: readonly Tree[] = [];
  let made = 0;

  async function end(tree: Tree): Promise<void> {
    budget.memoryBytes -= tree.memoryBytes;
    tree.places.clear();
    tree.memoryBytes = 0;
    const file = await tree.file?.catch(() => undefined);
    tree.file = null;
    await file?.close();
  }

  async function begin(): Promise<void> {
    made += 1;
    const all = [...trees, { places: new Map(), number: made, memoryBytes: 0, file: null, fileBytes: 0 }];
    trees = all.slice(-TREES_KEPT);
    for (const tree of all.slice(0, -TREES_KEPT)) await end(tree);
  }

  /** Without a name from its first moment: it goes with the agent, however that ends. */
  async function openFile(number: number): Promise<FileHandle> {
    await mkdir(folder, { recursive: true });
    const path = join(folder, `moved-${number % TREES_KEPT}`);
    await rm(path, { force: true });
    const file = await open(path, "wx+", 0o600);
    await rm(path, { force: true });
    return file;
  }

  return {
    begin,
    async keep(cid, stored) {
      if (trees.length === 0) await begin();
      const tree = trees.at(-1) as Tree;
      if (tree.places.has(cid)) return;
      const frame = chunkFrame(stored);
      if (budget.memoryBytes + frame.length <= MOVED_MEMORY_BYTES_MAX) {
        budget.memoryBytes += frame.length;
        tree.memoryBytes += frame.length;
        tree.places.set(cid, { kind: "memory", frame });
        return;
      }
      if (tree.fileBytes + frame.length > FILE_BYTES_MAX) return;
      const at = tree.fileBytes;
      tree.fileBytes += frame.length;
      const file = await (tree.file ??= openFile(tree.number));
      // A disk that fills takes a part of a write before it refuses one.
      for (let done = 0; done < frame.length; ) {
        done += (await file.write(frame, done, frame.length - done, at + done)).bytesWritten;
      }
      tree.places.set(cid, { kind: "file", at, bytes: frame.length });
    },
    async answer(cid) {
      const tree = trees.findLast(({ places }) => places.has(cid));
      const place = tree?.places.get(cid);
      if (place === undefined || tree === undefined) return undefined;
      if (place.kind === "memory") return place.frame;
      const file = await tree.file;
      const bytes = Buffer.allocUnsafeSlow(place.bytes);
      const read = await file?.read(bytes, 0, bytes.length, place.at).catch(() => undefined);
      // Given up meanwhile: its file may be another one by now.
      return read?.bytesRead === bytes.length && tree.places.get(cid) === place ? bytes : undefined;
    },
    async clear() {
      const all = trees;
      trees = [];
      for (const tree of all) await end(tree);
    },
  };
}
