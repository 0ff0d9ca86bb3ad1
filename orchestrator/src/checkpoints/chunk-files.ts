// Files of chunks: `ROOT/ACCOUNT/XX/CID`, where the CID is that of the file. A name that exists holds whole, durable bytes: they are written beside it,
// fsynced, renamed, and the folder fsynced.
import { mkdirSync, readdirSync, rmSync, statSync, unlinkSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { AccountId } from "@qubix/shared/domain";
import { foldersOf, isAccountFolder, TEMP_FOLDER } from "./chunk-folders.ts";
import type { StoredCid } from "./port.ts";

export interface ChunkFiles {
  /** Durable when it resolves; replaces what lies under that name. Throws `storage_full`. */
  write(accountId: AccountId, stored: StoredCid, bytes: Uint8Array): Promise<void>;
  read(accountId: AccountId, stored: StoredCid): Promise<Buffer | undefined>;
  /** Undefined where there is none. Synchronous, so that nothing can come in between. */
  size(accountId: AccountId, stored: StoredCid): number | undefined;
  remove(accountId: AccountId, stored: StoredCid): void;
  /** Every file older than `ageMs`, folder by folder; without it every file. */
  list(ageMs?: number): AsyncIterable<StoredFile>;
  /** Accounts of which there is a file. */
  accounts(): readonly AccountId[];
  /** Deletes what unfinished writes left. */
  clean(): void;
}

export interface StoredFile {
  readonly accountId: AccountId;
  readonly stored: StoredCid;
}

/** Makes nothing before the first write. */
export function createChunkFiles(root: string): ChunkFiles {
  const folders = new Set<string>();
  const syncFolder = createFolderSync();
  let tempCount = 0;

  const pathOf = (accountId: AccountId, stored: StoredCid): string =>
    join(foldersOf(root, accountId, stored).folder, stored);

  const makeFolder = async (accountId: AccountId, folder: string): Promise<void> => {
    if (folders.has(folder)) return;
    await mkdir(join(root, accountId, TEMP_FOLDER), { recursive: true, mode: 0o700 });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await syncFolder(join(root, accountId));
    await syncFolder(root);
    folders.add(folder);
  };

  return {
    async write(accountId, stored, bytes) {
      const { folder, temp: tempFolder } = foldersOf(root, accountId, stored);
      tempCount += 1;
      const temp = join(tempFolder, `${stored}.${process.pid}.${tempCount}`);
      try {
        await makeFolder(accountId, folder);
        const file = await open(temp, "wx", 0o600);
        try {
          await file.writeFile(bytes);
          await file.datasync();
        } finally {
          await file.close();
        }
        await rename(temp, join(folder, stored));
        await syncFolder(folder);
      } catch (cause) {
        await rm(temp, { force: true }).catch(() => {});
        throw cause;
      }
    },
    read: (accountId, stored) =>
      readFile(pathOf(accountId, stored)).catch((error: unknown) => {
        if (isNotFound(error)) return undefined;
        throw error;
      }),
    size: (accountId, stored) => statSync(pathOf(accountId, stored), { throwIfNoEntry: false })?.size,
    remove: (accountId, stored) => {
      try {
        unlinkSync(pathOf(accountId, stored));
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    },
    list: (ageMs) => list(root, ageMs),
    accounts: () => accountsIn(root).filter((account) => hasFile(join(root, account))),
    clean: () => {
      mkdirSync(root, { recursive: true, mode: 0o700 });
      for (const account of accountsIn(root))
        rmSync(join(root, account, TEMP_FOLDER), { recursive: true, force: true });
    },
  };
}

function accountsIn(root: string): readonly AccountId[] {
  return readdirSync(root).filter(isAccountFolder);
}

function hasFile(folder: string): boolean {
  return readdirSync(folder).some((name) => name !== TEMP_FOLDER && readdirSync(join(folder, name)).length > 0);
}

async function* list(root: string, ageMs: number | undefined): AsyncIterable<StoredFile> {
  const before = ageMs === undefined ? Number.POSITIVE_INFINITY : Date.now() - ageMs;
  for (const accountId of accountsIn(root)) {
    for (const folder of await readdir(join(root, accountId))) {
      if (folder === TEMP_FOLDER) continue;
      for (const name of await readdir(join(root, accountId, folder))) {
        const found = await stat(join(root, accountId, folder, name)).catch(() => undefined);
        if (found !== undefined && found.mtimeMs < before) yield { accountId, stored: name as StoredCid };
      }
    }
  }
}

/** Fsyncs of one folder that are asked for while one runs share the next. */
function createFolderSync(): (folder: string) => Promise<void> {
  const running = new Map<string, Promise<void>>();
  const next = new Map<string, Promise<void>>();
  const sync = (folder: string): Promise<void> => {
    const now = syncOnce(folder).finally(() => running.delete(folder));
    running.set(folder, now);
    return now;
  };
  return (folder) => {
    const current = running.get(folder);
    if (current === undefined) return sync(folder);
    let queued = next.get(folder);
    if (queued === undefined) {
      queued = current
        .catch(() => {})
        .then(() => {
          next.delete(folder);
          return sync(folder);
        });
      next.set(folder, queued);
    }
    return queued;
  };
}

async function syncOnce(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function isNotFound(error: unknown): boolean {
  return (error as { readonly code?: unknown }).code === "ENOENT";
}
