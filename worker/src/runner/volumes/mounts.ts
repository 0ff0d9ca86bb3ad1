// Making, mounting and taking away of volumes: an ext4 file system of fixed size in a sparse file, mounted over a folder.
import { execFile } from "node:child_process";
import { lstat, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { QubixError } from "@qubix/shared/runtime";
import { BLOCK_BYTES, JOURNAL_MIB, planVolume } from "./plan.ts";

const run = promisify(execFile);
/** Making a volume takes tens of milliseconds, a large one on a busy disk seconds. */
const TOOL_TIMEOUT_MS = 60_000;
/** Where the tools lie that an account without them on its path is to find too. */
const TOOL_PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin:/usr/bin:/bin`;
const MOUNT_OPTIONS = [
  "loop",
  "nosuid",
  "nodev",
  "noatime",
  // Room of deleted files goes back to the machine.
  "discard",
  // The tables of a sparse file are zeros already.
  "noinit_itable",
  "errors=remount-ro",
].join(",");
/** A mount that is busy for longer is let go of as soon as it no longer is (`umount --lazy`). */
const UNMOUNT_TRIES = 5;
const UNMOUNT_RETRY_MS = 200;

/** Makes the file system, under its name only when it is whole. Throws `volume_failed`. */
export async function makeImage(image: string, diskMiB: number): Promise<void> {
  const { imageBytes, files } = planVolume(diskMiB);
  const unfinished = `${image}.new`;
  await rm(unfinished, { force: true });
  const handle = await open(unfinished, "wx", 0o600);
  try {
    await handle.truncate(imageBytes);
  } finally {
    await handle.close();
  }
  const layout = ["-b", String(BLOCK_BYTES), "-N", String(files), "-J", `size=${JOURNAL_MIB}`, "-O", "^resize_inode"];
  const lazy = ["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0"];
  await tool("mkfs.ext4", ["-q", "-F", "-t", "ext4", "-m", "0", ...layout, ...lazy, unfinished]);
  await rename(unfinished, image);
}

/** Throws `volume_failed`. */
export async function mountImage(image: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  if (await isMountPoint(folder)) return;
  await tool("mount", ["-t", "ext4", "-o", MOUNT_OPTIONS, image, folder]);
}

/** Nothing happens where nothing is mounted. */
export async function unmount(folder: string): Promise<void> {
  for (let tries = 1; await isMountPoint(folder); tries += 1) {
    if (tries > UNMOUNT_TRIES) return tool("umount", ["--lazy", folder]);
    try {
      await tool("umount", [folder]);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, UNMOUNT_RETRY_MS));
    }
  }
}

/** Another file system than the folder around it. */
export async function isMountPoint(folder: string): Promise<boolean> {
  const [inside, around] = await Promise.all([lstat(folder), lstat(dirname(folder))]).catch(() => []);
  return inside !== undefined && around !== undefined && inside.dev !== around.dev;
}

/** Unmounts every volume of the slots in this folder; for tests and others that delete a whole data directory. */
export async function unmountAll(slotsDir: string): Promise<void> {
  const names = await readdir(slotsDir).catch(() => []);
  await Promise.all(names.map((name) => unmount(join(slotsDir, name, "disk"))));
}

async function tool(name: string, args: readonly string[]): Promise<void> {
  try {
    await run(name, [...args], { timeout: TOOL_TIMEOUT_MS, env: { PATH: TOOL_PATH, LC_ALL: "C" } });
  } catch (cause) {
    // The consumer reads the message; what the tool said of the provider's paths stands in the worker's log.
    const message = `This worker could not prepare a disk of the job's size (${name} did not work); its log says why.`;
    throw new QubixError("volume_failed", message, { category: "provider", cause });
  }
}
