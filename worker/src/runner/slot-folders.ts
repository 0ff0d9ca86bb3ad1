// Where one slot's files lie on the worker's disk. Folders a container sees are siblings of those it must not see.
import { join } from "node:path";
import type { SlotId } from "../core/index.ts";

export interface SlotFolders {
  readonly root: string;
  /** Everything the job may write lies below it: a volume of the size the job asked for, or a plain folder where this machine cannot make one. */
  readonly disk: string;
  readonly work: string;
  readonly out: string;
  readonly checkpoint: string;
  readonly progress: string;
  /** In the same file system as what the job writes, so that things can be moved in and out whole; not seen by the container. */
  readonly staging: string;
  /** Seen read-only: the epoch file. Outside the volume, which the job may fill. */
  readonly control: string;
  /** Not seen by the container, and outside the volume: notes of the runner, the manifest of the unpacked checkpoint. */
  readonly own: string;
  input(index: number): string;
  /** Takes the place of a VOLUME of the image. */
  imageVolume(index: number): string;
}

/** Slot ids are made of job ids, digits and slashes; a file name may not hold a slash, and a job id holds no underscore. */
export function slotFileName(slotId: SlotId): string {
  return slotId.replace(/[^a-zA-Z0-9.-]/g, "_");
}

export function slotFolders(slotsDir: string, slotId: SlotId): SlotFolders {
  return foldersAt(join(slotsDir, slotFileName(slotId)));
}

/** The folders of the slot whose root this is. */
export function foldersAt(root: string): SlotFolders {
  const disk = join(root, "disk");
  return {
    root,
    disk,
    work: join(disk, "work"),
    out: join(disk, "out"),
    checkpoint: join(disk, "checkpoint"),
    progress: join(disk, "progress"),
    staging: join(disk, "staging"),
    control: join(root, "control"),
    own: join(root, "own"),
    input: (index) => join(root, "inputs", String(index)),
    imageVolume: (index) => join(disk, "volumes", String(index)),
  };
}
