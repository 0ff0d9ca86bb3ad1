// The checkpoint before, as far as it is still on this disk as it was stored: what the next one is told relative to.
import type { BigIntStats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { TreeEntry, TreeManifest } from "@qubix/shared/protocol";
import { openInside } from "./walk.ts";

type FileEntry = Extract<TreeEntry, { kind: "file" }>;

/** A tree as it lies on disk: its manifest, and for each of its files what tells whether it was written to since. */
export interface TreeOnDisk {
  readonly manifest: TreeManifest;
  /** By path in the manifest. */
  readonly marks: Readonly<Record<string, string>>;
}

/** A file of the checkpoint before, unchanged since it was stored. */
export interface ParentFile {
  readonly handle: FileHandle;
  readonly entry: FileEntry;
  /** Whether it is still unchanged: to be asked when it was read. */
  isSame(): Promise<boolean>;
}

export interface Parent {
  /** The same file, by its path within its checkpoint; undefined where it is not there or was written to. The handle stays the parent's. */
  fileFor(path: string): Promise<ParentFile | undefined>;
  close(): Promise<void>;
}

/** Files that are held open, so that a job may replace them meanwhile; of the others the name counts. */
export const PARENT_FILES_OPEN_MAX = 256;

/** Changes with whatever is written to a file; not when its name goes to another. A job that sets this time back deceives itself alone. */
export function markOf({ ino, size, mtimeNs }: BigIntStats): string {
  return `${ino}.${size}.${mtimeNs}`;
}

/** `open`: files that are open already, by path; the parent closes them. */
export function createParent(
  root: string,
  { manifest, marks }: TreeOnDisk,
  open: ReadonlyMap<string, FileHandle> = new Map(),
): Parent {
  const files = new Map<string, FileEntry>();
  for (const entry of manifest.version === 2 ? manifest.entries : []) {
    if (entry.kind === "file") files.set(withinEntry(entry.path), entry);
  }
  const handles = new Map(open);

  async function opened(path: string): Promise<FileHandle | undefined> {
    const known = handles.get(path);
    if (known !== undefined) return known;
    const handle = await openInside(root, path).catch(() => undefined);
    if (handle !== undefined) handles.set(path, handle);
    return handle;
  }

  return {
    async fileFor(path) {
      const entry = files.get(withinEntry(path));
      if (entry === undefined) return undefined;
      const handle = await opened(entry.path);
      if (handle === undefined) return undefined;
      const isSame = async () => markOf(await handle.stat({ bigint: true })) === marks[entry.path];
      return (await isSame()) ? { handle, entry, isSame } : undefined;
    },
    async close() {
      const closing = new Map(handles);
      handles.clear();
      await closeFiles(closing);
    },
  };
}

export async function closeFiles(open: ReadonlyMap<string, FileHandle>): Promise<void> {
  await Promise.all([...open.values()].map((handle) => handle.close()));
}

/** Each checkpoint has a name of its own, the files in it keep theirs. */
function withinEntry(path: string): string {
  const slash = path.indexOf("/");
  return slash === -1 ? "" : path.slice(slash + 1);
}
