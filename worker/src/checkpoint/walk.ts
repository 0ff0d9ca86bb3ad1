// Lists a tree that a job wrote. The job may still run, and may be hostile: links are never followed, only plain files and folders are taken.
import { constants, type Stats } from "node:fs";
import { type FileHandle, lstat, open, opendir, readlink, realpath } from "node:fs/promises";
import { join, sep } from "node:path";
import { QubixError } from "@qubix/shared/runtime";
import { MANIFEST_ENTRIES_MAX } from "@qubix/shared/protocol";

export interface WalkedEntry {
  readonly kind: "directory" | "file";
  /** Relative to the root, `/` between names. */
  readonly path: string;
  readonly mode: number;
  readonly bytes: number;
}

export interface Walked {
  /** By path, folders before what is in them. */
  readonly entries: readonly WalkedEntry[];
  /** Links, devices, sockets and pipes that were left out. */
  readonly skipped: readonly string[];
}

/** Folders within folders; deeper trees are refused. */
const DEPTH_MAX = 128;
/** How many of the things left out are told. */
const SKIPPED_NAMED_MAX = 100;
const PERMISSIONS = 0o777;
/** Stands for bytes that are not UTF-8. */
const REPLACEMENT = "\ufffd";

/**
 * Lists `start` (a name in `root`, or "" for all of it). `keep` decides which files are taken; folders are kept when something in them is, or when `keep` takes them.
 * Throws `tree_too_large` beyond {@link MANIFEST_ENTRIES_MAX} entries, {@link DEPTH_MAX} levels or the longest path, `tree_misnamed` for a name that is not UTF-8;
 * errors of the file system as they are.
 */
export async function walkTree(root: string, start: string, keep: (path: string) => boolean): Promise<Walked> {
  const entries: WalkedEntry[] = [];
  const skipped: string[] = [];
  await visit(start, 0);
  entries.sort((a, b) => (a.path < b.path ? -1 : 1));
  return { entries, skipped };

  async function visit(path: string, depth: number): Promise<boolean> {
    const stat = await lstat(join(root, path)).catch((error: unknown) => {
      throw unfit(path, error) ?? error;
    });
    if (stat.isFile()) {
      if (!keep(path)) return false;
      add({ kind: "file", path, mode: stat.mode & PERMISSIONS, bytes: stat.size });
      return true;
    }
    if (!stat.isDirectory()) {
      if (keep(path) && skipped.length < SKIPPED_NAMED_MAX) skipped.push(path);
      return false;
    }
    if (depth > DEPTH_MAX) throw tooLarge(`folders more than ${DEPTH_MAX} deep`);
    return visitFolder(path, stat, depth);
  }

  async function visitFolder(path: string, stat: Stats, depth: number): Promise<boolean> {
    let taken = path !== "" && keep(path);
    const replaced = new Set<string>();
    for await (const child of await opendir(join(root, path))) {
      const childPath = path === "" ? child.name : `${path}/${child.name}`;
      // A name that is not UTF-8 may read like one that is there.
      if (replaced.has(child.name)) throw misnamed(childPath);
      if (child.name.includes(REPLACEMENT)) replaced.add(child.name);
      const childTaken = await visit(childPath, depth + 1);
      taken = childTaken || taken;
    }
    if (taken && path !== "") add({ kind: "directory", path, mode: stat.mode & PERMISSIONS, bytes: 0 });
    return taken;
  }

  function add(entry: WalkedEntry): void {
    if (entries.length >= MANIFEST_ENTRIES_MAX) throw tooLarge(`more than ${MANIFEST_ENTRIES_MAX} files and folders`);
    entries.push(entry);
  }
}

/** What a name that the job chose did to a look at it; undefined when it was something else. */
function unfit(path: string, error: unknown): QubixError | undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENAMETOOLONG") return tooLarge("a path longer than the file system takes");
  // Bytes that are not UTF-8 come as replacement characters, and so cannot be found again.
  return code === "ENOENT" && path.includes(REPLACEMENT) ? misnamed(path, error) : undefined;
}

function misnamed(path: string, cause?: unknown): QubixError {
  const message = `The name ${JSON.stringify(path)} is not UTF-8; rename it, or pack it into an archive.`;
  return new QubixError("tree_misnamed", message, { category: "user", cause });
}

function tooLarge(what: string): QubixError {
  return new QubixError("tree_too_large", `The tree has ${what}; pack it into fewer files, e.g. an archive.`, {
    category: "user",
  });
}

/**
 * Opens a plain file under `root` for reading, and makes sure that it is there: a folder on the way may have been replaced by a link since the walk.
 * Throws `file_vanished` where it is not.
 */
export async function openInside(root: string, path: string): Promise<FileHandle> {
  const handle = await open(
    join(root, path),
    // A pipe in the file's place must not hold us; a link must not lead us away.
    constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
  );
  try {
    const isFile = (await handle.stat()).isFile();
    if (isFile && (await isUnder(root, handle))) return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
  await handle.close();
  throw new QubixError("file_vanished", `${path} is no longer a plain file in its folder`, { category: "conflict" });
}

async function isUnder(root: string, handle: FileHandle): Promise<boolean> {
  if (process.platform !== "linux") return true;
  const real = await readlink(`/proc/self/fd/${handle.fd}`);
  return real.startsWith((await realpath(root)) + sep);
}
