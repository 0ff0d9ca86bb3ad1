// A checkpoint that a job did not write itself: the memory of its sandbox and the files it may write, as they were at the same moment, in one entry of the
// checkpoint folder. From there on it is a checkpoint as any other.
import { constants } from "node:fs";
import {
  chmod,
  copyFile,
  lchown,
  lstat,
  mkdir,
  opendir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
} from "node:fs/promises";
import { symlink, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { entryName, listEntries } from "../../checkpoint/entries.ts";
import { removeTree } from "../../checkpoint/remove.ts";
import type { EntryKey } from "../../core/index.ts";
import type { SlotFolders } from "../slot-folders.ts";
import { replaceFile } from "../slot-notes.ts";

const PREFIX = "memory-";
const IMAGE = "image";
const FILES = "files";
const LINKS = "links.json";
/** Names the image for the runtime (worker/bin/qubix-runsc). */
const RESTORE_NOTE = "restore";
const PERMISSIONS = 0o777;

/** A symbolic link: trees are stored without any, so what the job's are is written down. `path`: below `files/`. */
interface Link {
  readonly path: string;
  readonly target: string;
}

/** What a look at the files before a save tells. */
export interface Written {
  readonly bytes: number;
  /** Pipes, sockets and devices: nothing that a stored tree can hold. */
  readonly unfit: readonly string[];
}

/** The folders that the container writes to, and where each lies within an entry. */
export async function writable(
  folders: SlotFolders,
): Promise<readonly { readonly name: string; readonly folder: string }[]> {
  const { work, out, progress } = folders;
  const own = Object.entries({ work, out, progress }).map(([name, folder]) => ({ name, folder }));
  const volumes = await readdir(dirname(folders.imageVolume(0))).catch(() => []);
  return [...own, ...volumes.map((index) => ({ name: `volume-${index}`, folder: folders.imageVolume(Number(index)) }))];
}

export async function lookAtFiles(folders: SlotFolders): Promise<Written> {
  const unfit: string[] = [];
  let bytes = 0;
  for (const { folder } of await writable(folders)) await visit(folder);
  return { bytes, unfit };

  async function visit(path: string): Promise<void> {
    // The job runs: what it has just deleted is no matter.
    const stat = await lstat(path).catch(() => undefined);
    if (stat === undefined) return;
    if (stat.isDirectory()) {
      for (const name of await readdir(path).catch(() => [])) await visit(join(path, name));
    } else if (stat.isFile()) bytes += stat.size;
    else if (!stat.isSymbolicLink()) unfit.push(path);
  }
}

/** Where the next save writes its image; left over parts of an earlier one are gone. */
export async function openEntry(folders: SlotFolders): Promise<string> {
  const draft = draftOf(folders);
  await removeTree(draft);
  await mkdir(join(draft, IMAGE), { recursive: true });
  return join(draft, IMAGE);
}

/** Adds the files to the image and makes the entry whole, for others to see. The container must be over. */
export async function closeEntry(folders: SlotFolders): Promise<string> {
  const draft = draftOf(folders);
  const links: Link[] = [];
  for (const { name, folder } of await writable(folders)) await copy(folder, join(draft, FILES, name), name, links);
  await writeFile(join(draft, LINKS), JSON.stringify(links));
  const numbers = (await listEntries(folders.checkpoint)).map(({ name }) => Number(name.slice(PREFIX.length)) || 0);
  const name = `${PREFIX}${Math.max(0, ...numbers) + 1}`;
  await rename(draft, join(folders.checkpoint, name));
  return name;
}

/** Gives up what {@link openEntry} began. */
export async function dropEntry(folders: SlotFolders): Promise<void> {
  await removeTree(draftOf(folders));
}

/** Puts the entry's files in their places, for a container that does not run; nothing happens to those that are there already. */
export async function placeFiles(folders: SlotFolders, entry: EntryKey): Promise<void> {
  const from = join(folders.checkpoint, entryName(entry), FILES);
  const links = await readLinks(join(dirname(from), LINKS));
  for (const name of await readdir(from).catch(() => [])) {
    const folder = placeOf(folders, name);
    if (folder === undefined) continue;
    await removeTree(folder);
    for (const { path, target } of links) {
      if (path.startsWith(`${name}/`)) await symlink(target, join(from, path)).catch(ignoreThere);
    }
    await rename(join(from, name), folder);
  }
}

/** What the container's next start begins from; null: from its image. */
export async function nameImage(folders: SlotFolders, entry: EntryKey | null): Promise<void> {
  const note = join(folders.own, RESTORE_NOTE);
  if (entry === null) await rm(note, { force: true });
  else replaceFile(note, join(folders.checkpoint, entryName(entry), IMAGE));
}

function placeOf(folders: SlotFolders, name: string): string | undefined {
  if (name === "work" || name === "out" || name === "progress") return folders[name];
  const volume = /^volume-([0-9]{1,3})$/.exec(name)?.[1];
  return volume === undefined ? undefined : folders.imageVolume(Number(volume));
}

/** Not an entry yet, by its name. */
function draftOf(folders: SlotFolders): string {
  return join(folders.checkpoint, ".memory");
}

async function copy(from: string, to: string, path: string, links: Link[]): Promise<void> {
  const stat = await lstat(from);
  if (stat.isSymbolicLink()) {
    links.push({ path, target: await readlink(from) });
    return;
  }
  if (stat.isDirectory()) {
    await mkdir(to, { recursive: true });
    for await (const { name } of await opendir(from))
      await copy(join(from, name), join(to, name), `${path}/${name}`, links);
  } else if (stat.isFile()) await copyFile(from, to, constants.COPYFILE_FICLONE);
  else return;
  await lchown(to, stat.uid, stat.gid);
  await chmod(to, stat.mode & PERMISSIONS);
  await utimes(to, stat.atime, stat.mtime);
}

/** An entry comes from another worker: links are made inside of it, at paths that stay inside and do not lead through one another. */
async function readLinks(file: string): Promise<readonly Link[]> {
  const said: unknown = JSON.parse(await readFile(file, "utf8"));
  if (!Array.isArray(said)) return [];
  const links = said.filter((link: Partial<Link> | null): link is Link => {
    if (typeof link?.path !== "string" || typeof link.target !== "string") return false;
    return !link.path.split("/").some((part) => part === "" || part === "." || part === "..");
  });
  const paths = new Set(links.map(({ path }) => path));
  return links.filter(({ path }) => !foldersAbove(path).some((above) => paths.has(above)));
}

function foldersAbove(path: string): string[] {
  const parts = path.split("/");
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join("/"));
}

function ignoreThere(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
}
