// How much disk a job takes: its folders are walked again and again while it runs, because a quota needs a file system that most machines lack.
import type { BigIntStats } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";

const LOOK_EVERY_MS = 1_000;
/** A walk that takes long is made less often: at most this share of the time goes into walking. */
const SHARE_OF_TIME = 0.05;
const BLOCK_BYTES = 512n;
/** What a file takes beside its blocks. */
const INODE_BYTES = 256n;
/** Deeper trees cannot be walked by path; a job that makes them is over its limit. */
const DEPTH_MAX = 256;

export interface DiskWatch {
  start(): void;
  stop(): void;
}

/** Calls `exceeded` once when the folders hold more than `bytesMax`. */
export function createDiskWatch(folders: readonly string[], bytesMax: number, exceeded: () => void): DiskWatch {
  let timer: NodeJS.Timeout | null = null;
  let stopped = true;

  async function look(): Promise<void> {
    const begun = performance.now();
    const over = await holdsMoreThan(folders, BigInt(bytesMax));
    if (stopped) return;
    if (over) {
      stopped = true;
      exceeded();
      return;
    }
    const tookMs = performance.now() - begun;
    arm(Math.max(LOOK_EVERY_MS, tookMs / SHARE_OF_TIME));
  }

  function arm(ms: number): void {
    // `look` catches the errors of the file system itself.
    timer = setTimeout(() => void look().catch(() => arm(LOOK_EVERY_MS)), ms);
  }

  return {
    start() {
      if (!stopped) return;
      stopped = false;
      arm(LOOK_EVERY_MS);
    },
    stop() {
      stopped = true;
      if (timer !== null) clearTimeout(timer);
      timer = null;
    },
  };
}

/** True as soon as the folders together are found to take more than `bytesMax` of disk. What cannot be looked at because it is too deep counts as too much. */
export async function holdsMoreThan(folders: readonly string[], bytesMax: bigint): Promise<boolean> {
  let left = bytesMax;
  for (const folder of folders) await add(folder, 0);
  return left < 0n;

  async function add(path: string, depth: number): Promise<void> {
    if (left < 0n) return;
    const stat = await look(path);
    if (stat === undefined) return;
    left -= stat.blocks * BLOCK_BYTES + INODE_BYTES;
    if (!stat.isDirectory()) return;
    if (depth >= DEPTH_MAX) left = -1n;
    const folder = await opendir(path).catch(ignoreVanished);
    if (folder === undefined) return;
    for await (const entry of folder) {
      if (left < 0n) return;
      await add(join(path, entry.name), depth + 1);
    }
  }

  async function look(path: string): Promise<BigIntStats | undefined> {
    return lstat(path, { bigint: true }).catch(ignoreVanished);
  }

  function ignoreVanished(error: unknown): undefined {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENAMETOOLONG") left = -1n;
    return undefined;
  }
}
