// Chunks as files: `ROOT/ACCOUNT/XX/CID`. A name that exists holds whole, durable bytes: they are written beside it, fsynced, renamed, and the folder fsynced.
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, unlinkSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import { assert, QubixError } from "@qubix/shared/runtime";

const TEMP_FOLDER = ".tmp";
const ACCOUNT_PATTERN = /^acc-[a-z0-9-]{1,64}$/;
/** Files written at a time: enough to keep a disk's queue busy, few enough that memory stays at some tens of MiB. */
const WRITES_MAX = 16;

export interface ChunkFiles {
  /** Durable when it resolves. Throws `storage_full`. */
  write(accountId: AccountId, cid: ChunkCid, bytes: Uint8Array): Promise<void>;
  read(accountId: AccountId, cid: ChunkCid): Promise<Buffer | undefined>;
  /** Size of the durable chunk; undefined where there is none. Synchronous, so that nothing can come in between. */
  size(accountId: AccountId, cid: ChunkCid): number | undefined;
  /** Resolves when no write of this chunk is under way. */
  settled(accountId: AccountId, cid: ChunkCid): Promise<void> | undefined;
  remove(accountId: AccountId, cid: ChunkCid): void;
  /** Every chunk older than `ageMs`, folder by folder. */
  olderThan(ageMs: number): AsyncIterable<{ readonly accountId: AccountId; readonly cid: ChunkCid }>;
  /** Deletes what unfinished writes left. */
  clean(): void;
}

/** Makes nothing before the first write. */
export function createChunkFiles(root: string): ChunkFiles {
  const folders = new Set<string>();
  const pending = new Map<string, Promise<void>>();
  const limit = createLimit(WRITES_MAX);
  const syncFolder = createFolderSync();
  let tempCount = 0;

  const folderOf = (accountId: AccountId, cid: ChunkCid): string => {
    assert(ACCOUNT_PATTERN.test(accountId), `${accountId} is not an account id`);
    return join(root, accountId, cid.slice(-2));
  };
  const pathOf = (accountId: AccountId, cid: ChunkCid): string => join(folderOf(accountId, cid), cid);

  const makeFolder = async (accountId: AccountId, folder: string): Promise<void> => {
    if (folders.has(folder)) return;
    await mkdir(join(root, accountId, TEMP_FOLDER), { recursive: true, mode: 0o700 });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await syncFolder(join(root, accountId));
    await syncFolder(root);
    folders.add(folder);
  };

  const writeNow = async (accountId: AccountId, cid: ChunkCid, bytes: Uint8Array): Promise<void> => {
    const folder = folderOf(accountId, cid);
    tempCount += 1;
    const temp = join(root, accountId, TEMP_FOLDER, `${cid}.${process.pid}.${tempCount}`);
    try {
      await makeFolder(accountId, folder);
      const file = await open(temp, "wx", 0o600);
      try {
        await file.writeFile(bytes);
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(temp, join(folder, cid));
      await syncFolder(folder);
    } catch (cause) {
      await rm(temp, { force: true }).catch(() => {});
      throw storageError(cause);
    }
  };

  return {
    async write(accountId, cid, bytes) {
      const key = `${accountId}/${cid}`;
      const same = pending.get(key);
      if (same !== undefined) return same;
      if (existsSync(pathOf(accountId, cid))) return;
      const writing = limit(() => writeNow(accountId, cid, bytes)).finally(() => pending.delete(key));
      pending.set(key, writing);
      return writing;
    },
    read: (accountId, cid) =>
      readFile(pathOf(accountId, cid)).catch((error: unknown) => {
        if (isNotFound(error)) return undefined;
        throw error;
      }),
    size: (accountId, cid) => {
      if (pending.has(`${accountId}/${cid}`)) return undefined;
      return statSync(pathOf(accountId, cid), { throwIfNoEntry: false })?.size;
    },
    settled: (accountId, cid) => pending.get(`${accountId}/${cid}`)?.catch(() => {}),
    remove: (accountId, cid) => {
      try {
        unlinkSync(pathOf(accountId, cid));
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    },
    olderThan: (ageMs) => listOlder(root, ageMs),
    clean: () => {
      mkdirSync(root, { recursive: true, mode: 0o700 });
      for (const account of readdirSync(root)) {
        if (ACCOUNT_PATTERN.test(account)) rmSync(join(root, account, TEMP_FOLDER), { recursive: true, force: true });
      }
    },
  };
}

async function* listOlder(root: string, ageMs: number) {
  const before = Date.now() - ageMs;
  for (const account of await readdir(root)) {
    if (!ACCOUNT_PATTERN.test(account)) continue;
    for (const folder of await readdir(join(root, account))) {
      if (folder === TEMP_FOLDER) continue;
      for (const cid of await readdir(join(root, account, folder))) {
        const found = await stat(join(root, account, folder, cid)).catch(() => undefined);
        if (found !== undefined && found.mtimeMs < before) {
          yield { accountId: account as AccountId, cid: cid as ChunkCid };
        }
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

/** Runs at most `max` at a time, the others in the order they came. */
function createLimit(max: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (running >= max) await new Promise<void>((resolve) => waiting.push(resolve));
    else running += 1;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}

function storageError(cause: unknown): unknown {
  const code = (cause as { readonly code?: unknown }).code;
  if (code !== "ENOSPC" && code !== "EDQUOT") return cause;
  return new QubixError(
    "storage_full",
    "The orchestrator's disk is full, so this piece was not stored. Try again later; the operator has to make room.",
    { category: "platform", status: 507, retryable: true, cause },
  );
}

function isNotFound(error: unknown): boolean {
  return (error as { readonly code?: unknown }).code === "ENOENT";
}
