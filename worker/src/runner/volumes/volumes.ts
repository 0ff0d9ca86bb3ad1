// What a job may write to disk is bounded by the file system itself: a slot's writable folders lie on a volume of the size the job asked for. Where this
// machine cannot make such volumes (no root, no loop devices, an Engine that does not see them), the folders are plain ones, and are watched.
import { lstat, mkdir, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { foldersAt, type SlotFolders } from "../slot-folders.ts";
import { isMountPoint, makeImage, mountImage, unmount } from "./mounts.ts";
import { VOLUME_MIB_MAX } from "./plan.ts";

/** How the disk of new jobs is bounded; `why` it is not by volumes. */
export type DiskBound = { readonly kind: "volumes" } | { readonly kind: "watched"; readonly why: string };

export interface Volumes {
  /** Which bound is in force, for its owner to see. */
  bound(): DiskBound;
  /** Makes a new slot's `disk`, or takes up the one it has: after a reboot it is mounted again. Throws `volume_failed`. */
  open(folders: SlotFolders, diskMiB: number): Promise<void>;
  /** Mounts again what a reboot has unmounted; makes nothing. Throws `volume_failed`. */
  reopen(folders: SlotFolders): Promise<void>;
  /** True for a slot whose disk the file system bounds: it needs no watch. */
  isBounded(folders: SlotFolders): Promise<boolean>;
  /** True when hardly a byte or a file more fits into a slot's volume. */
  isFull(folders: SlotFolders): Promise<boolean>;
  /** Unmounts and deletes a slot's volume; its container must be gone. Nothing happens where there is none. */
  release(folders: SlotFolders): Promise<void>;
}

/** A program that failed for want of room may have had a little left: less than the piece it wanted to write. */
const FULL_SHARE = 0.98;

/** Sparse: outside of the volume's own folder, and not seen by the container. */
const imageOf = (folders: SlotFolders) => join(folders.root, "disk.img");

export function createVolumes(bound: DiskBound): Volumes {
  async function reopen(folders: SlotFolders): Promise<void> {
    if (await exists(imageOf(folders))) await mountImage(imageOf(folders), folders.disk);
  }

  return {
    bound: () => bound,
    reopen,
    async open(folders, diskMiB) {
      await mkdir(folders.root, { recursive: true, mode: 0o700 });
      if (await exists(imageOf(folders))) return reopen(folders);
      const isNew = !(await exists(folders.disk));
      if (isNew && bound.kind === "volumes" && diskMiB <= VOLUME_MIB_MAX) {
        await makeImage(imageOf(folders), diskMiB);
        await mountImage(imageOf(folders), folders.disk);
      } else {
        await mkdir(folders.disk, { recursive: true });
      }
    },
    isBounded: (folders) => isMountPoint(folders.disk),
    async isFull(folders) {
      if (!(await isMountPoint(folders.disk))) return false;
      const { blocks, bavail, files, ffree } = await statfs(folders.disk);
      return bavail <= blocks * (1 - FULL_SHARE) || ffree <= files * (1 - FULL_SHARE);
    },
    async release(folders) {
      await unmount(folders.disk);
      await rm(imageOf(folders), { force: true });
    },
  };
}

/** Releases the slot that lies at `root`, which no journal knows any more. */
export async function releaseAt(volumes: Volumes, root: string): Promise<void> {
  await volumes.release(foldersAt(root));
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
