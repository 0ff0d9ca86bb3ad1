// What a slot's next checkpoint is told relative to: the last one that was committed, or the one it was restored from.
import { readFile, statfs } from "node:fs/promises";
import { join } from "node:path";
import { treeManifestSchema } from "@qubix/shared/protocol";
import { z } from "zod";
import type { ShippedTree } from "../checkpoint/pack.ts";
import { closeFiles, createParent, type Parent, type TreeOnDisk } from "../checkpoint/parent.ts";
import type { EntryKey } from "../core/index.ts";
import type { SlotFolders } from "./slot-folders.ts";
import { replaceFile } from "./slot-notes.ts";

export interface SlotParent {
  /** Null where there is none: the next checkpoint is shipped whole. To be asked once for each checkpoint, before it is shipped. */
  current(): Promise<Parent | null>;
  /** This entry was shipped; it becomes the parent when it is committed. Its handles are ours now. */
  shipped(entry: EntryKey, tree: ShippedTree): Promise<void>;
  /** Throws where this machine's disk does not take the note; then the entry is the parent all the same, as long as the agent runs. */
  committed(entry: EntryKey): void;
  /** Nothing of the slot's disk is open afterwards. */
  close(): Promise<void>;
}

const MANIFEST_FILE = "manifest.json";
const treeOnDiskSchema = z.object({ manifest: treeManifestSchema, marks: z.record(z.string(), z.string()) });

/** The tree in the checkpoint folder that is known to be stored; undefined where none is, or that cannot be read. */
export async function readTreeOnDisk(ownFolder: string): Promise<TreeOnDisk | undefined> {
  try {
    return treeOnDiskSchema.parse(JSON.parse(await readFile(join(ownFolder, MANIFEST_FILE), "utf8")));
  } catch {
    // Without it every piece is fetched, and sent.
    return undefined;
  }
}

export function writeTreeOnDisk(ownFolder: string, { manifest, marks }: TreeOnDisk): void {
  replaceFile(join(ownFolder, MANIFEST_FILE), JSON.stringify({ manifest, marks }));
}

export function createSlotParent(folders: SlotFolders): SlotParent {
  let parent: Parent | null | undefined;
  let candidate: { readonly entry: EntryKey; readonly tree: ShippedTree } | null = null;

  return {
    async current() {
      if (candidate !== null) {
        // It was refused, perhaps because something that it builds on is not stored any more.
        await closeFiles(candidate.tree.open);
        candidate = null;
        await parent?.close();
        parent = null;
      }
      if (parent === undefined) {
        const tree = await readTreeOnDisk(folders.own);
        parent = tree === undefined ? null : createParent(folders.checkpoint, tree);
      }
      return parent;
    },
    async shipped(entry, tree) {
      if (await hasRoom(folders, tree.tree.bytes)) {
        candidate = { entry, tree };
        return;
      }
      // A file that is open keeps its place on the job's disk when the job replaces it: by its name alone it does not.
      await closeFiles(tree.open);
      candidate = { entry, tree: { ...tree, open: new Map() } };
    },
    committed(entry) {
      if (candidate?.entry !== entry) return;
      void parent?.close();
      const { tree } = candidate;
      parent = createParent(folders.checkpoint, tree, tree.open);
      candidate = null;
      writeTreeOnDisk(folders.own, tree);
    },
    async close() {
      if (candidate !== null) await closeFiles(candidate.tree.open);
      candidate = null;
      await parent?.close();
      parent = null;
    },
  };
}

/** Whether the job's disk has room for one more of its checkpoints. */
async function hasRoom({ checkpoint }: SlotFolders, bytes: number): Promise<boolean> {
  const { bavail, bsize } = await statfs(checkpoint);
  return bavail * bsize > 2 * bytes;
}
