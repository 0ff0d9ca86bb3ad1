// Where one slot's files lie on the worker's disk. Folders a container sees are siblings of those it must not see.
import { join } from "node:path";
import type { SlotId } from "../core/index.ts";

export interface SlotFolders {
  readonly root: string;
  readonly work: string;
  readonly out: string;
  readonly checkpoint: string;
  readonly progress: string;
  /** Seen read-only: the epoch file. */
  readonly control: string;
  /** Not seen by the container: notes of the runner, the manifest of the unpacked checkpoint, things on their way out. */
  readonly own: string;
  input(index: number): string;
}

/** Slot ids are made of job ids, digits and slashes; a file name may not hold a slash, and a job id holds no underscore. */
export function slotFileName(slotId: SlotId): string {
  return slotId.replace(/[^a-zA-Z0-9.-]/g, "_");
}

export function slotFolders(slotsDir: string, slotId: SlotId): SlotFolders {
  const root = join(slotsDir, slotFileName(slotId));
  return {
    root,
    work: join(root, "work"),
    out: join(root, "out"),
    checkpoint: join(root, "checkpoint"),
    progress: join(root, "progress"),
    control: join(root, "control"),
    own: join(root, "own"),
    input: (index) => join(root, "inputs", String(index)),
  };
}
