// Deletes trees that a job may have written. Node's own recursive delete goes by path, so a job that swaps a folder for a link at the right
// moment could lead it out of its folder; `rm` walks by file descriptors and cannot be led away.
import { execFile } from "node:child_process";
import { lstat, rm } from "node:fs/promises";
import { promisify } from "node:util";
import { QubixError } from "@qubix/shared/runtime";

const run = promisify(execFile);
/** A tree of millions of files on a busy disk. */
const REMOVE_TIMEOUT_MS = 10 * 60_000;

/** Deletes the tree; nothing happens where there is none. Throws `remove_failed`. */
export async function removeTree(path: string): Promise<void> {
  const there = await lstat(path).then(
    () => true,
    () => false,
  );
  if (!there) return;
  try {
    if (process.platform === "win32") await rm(path, { recursive: true, force: true });
    else await run("rm", ["-rf", "--", path], { timeout: REMOVE_TIMEOUT_MS });
  } catch (cause) {
    throw new QubixError("remove_failed", `Cannot delete ${path}; delete it by hand.`, { category: "provider", cause });
  }
}
