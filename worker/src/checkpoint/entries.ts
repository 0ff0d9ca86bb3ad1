// Watches a checkpoint folder for whole checkpoints: top-level entries that were renamed in. Names that begin with a dot or end in `.tmp` are still being written.
import { type FSWatcher, watch } from "node:fs";
import { lstat, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { removeTree } from "./remove.ts";

/** File notifications come in bursts; one look serves them all. */
const SETTLE_MS = 20;
/** Where notifications do not work (some network disks), the folder is looked at this often. */
const POLL_MS = 2_000;
/** More entries than this are not looked at: a checkpoint is one of them, and older ones are deleted after each commit. */
const ENTRIES_MAX = 10_000;

/** One whole checkpoint on disk. `id` tells a file from the one that had its name before. */
export interface Entry {
  readonly id: string;
  readonly name: string;
  /** When it was renamed in, as the file system says (nanoseconds). */
  readonly atNs: bigint;
}

/** The name within an entry's id. */
export function entryName(id: string): string {
  return id.slice(0, Math.max(0, id.lastIndexOf("#")));
}

/** All whole entries, oldest first: by the time of their last change of name or owner, then by name. */
export async function listEntries(folder: string): Promise<Entry[]> {
  const names = await readdir(folder).catch(() => []);
  const entries: Entry[] = [];
  for (const name of names.slice(0, ENTRIES_MAX)) {
    if (name.startsWith(".") || name.endsWith(".tmp")) continue;
    const stat = await lstat(join(folder, name), { bigint: true }).catch(() => undefined);
    if (stat === undefined || !(stat.isFile() || stat.isDirectory())) continue;
    entries.push({ id: `${name}#${stat.ino}.${stat.mtimeNs}`, name, atNs: stat.ctimeNs });
  }
  return entries.sort((a, b) => (a.atNs === b.atNs ? (a.name < b.name ? -1 : 1) : a.atNs < b.atNs ? -1 : 1));
}

/** Deletes the entries that are older than the committed one, if it is still there; `staging` as in {@link removeEntry}. */
export async function removeOlder(folder: string, committed: string, staging: string): Promise<void> {
  const entries = await listEntries(folder);
  const index = entries.findIndex((entry) => entry.id === committed);
  for (const entry of entries.slice(0, Math.max(0, index))) await removeEntry(folder, entry.name, staging);
}

/**
 * Deletes one entry. It is first moved to `staging`, a folder on the same file system which the job does not see, so that it never meets half a checkpoint.
 * Nothing is made for it: the job may have filled the disk to the last block.
 */
export async function removeEntry(folder: string, name: string, staging: string): Promise<void> {
  const gone = join(staging, "old");
  await removeTree(gone);
  // The job may have deleted it itself.
  await rename(join(folder, name), gone).catch(() => undefined);
  await removeTree(gone);
}

export interface EntryWatch {
  start(): void;
  stop(): void;
  /** Looks now; resolves when what it found has been told. */
  look(): Promise<void>;
}

/**
 * Tells the newest entry whenever it is another than last time, one at a time. `known`: the entry that needs no telling; `onStir`: something happens in
 * the folder, as before a checkpoint is whole.
 */
export function createEntryWatch(
  folder: string,
  known: string | null,
  onNewest: (id: string) => Promise<void>,
  onStir: () => void = () => undefined,
): EntryWatch {
  let watcher: FSWatcher | null = null;
  let poll: NodeJS.Timeout | null = null;
  let settle: NodeJS.Timeout | null = null;
  let told = known;
  let looking: Promise<void> | null = null;
  let again = false;
  let stirs = false;

  async function lookOnce(): Promise<void> {
    const newest = (await listEntries(folder)).at(-1);
    if (newest === undefined || newest.id === told) return;
    told = newest.id;
    await onNewest(newest.id);
  }

  async function look(): Promise<void> {
    if (looking !== null) {
      again = true;
      return looking;
    }
    looking = (async () => {
      do {
        again = false;
        await lookOnce();
      } while (again);
    })().finally(() => {
      looking = null;
    });
    return looking;
  }

  function soon(): void {
    settle ??= setTimeout(() => {
      settle = null;
      stirs = false;
      void look().catch(() => undefined);
    }, SETTLE_MS);
  }

  function stir(): void {
    if (!stirs) onStir();
    stirs = true;
    soon();
  }

  return {
    start() {
      if (poll !== null) return;
      poll = setInterval(soon, POLL_MS);
      try {
        watcher = watch(folder, stir);
        // The folder is gone or the system is out of watches: the poll goes on.
        watcher.on("error", () => undefined);
      } catch {
        watcher = null;
      }
      soon();
    },
    stop() {
      if (poll !== null) clearInterval(poll);
      if (settle !== null) clearTimeout(settle);
      poll = null;
      settle = null;
      watcher?.close();
      watcher = null;
    },
    look,
  };
}
