// Chunks under their names on the wire, encrypted on the disk: cipher, files and index put together. A chunk that is told to be here has a durable file
// of the right size and a durable row of the index; a crash in between leaves a file without a row, which the sweep deletes.
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import { type Logger, QubixError } from "@qubix/shared/runtime";
import type { ConsumerKeys } from "../vault/index.ts";
import { type ChunkCipher, createChunkCipher, SEAL_BYTES } from "./chunk-cipher.ts";
import type { ChunkFiles } from "./chunk-files.ts";
import type { ChunkIndex } from "./chunk-index.ts";
import { cidOfSum, sumInBackground, sumOfCid } from "./cid.ts";
import type { FetchLost, StoredCid, StoredUsage } from "./port.ts";
import { createSealer, lengthOf } from "./sealer.ts";

export interface SealedChunks {
  /** Starts the threads, so that the first chunk does not wait for that. */
  warm(): void;
  /** Durable when it resolves. Throws `chunk_mismatch`, `storage_quota`, `storage_full`. */
  write(accountId: AccountId, cid: ChunkCid, parts: readonly Uint8Array[]): Promise<void>;
  /** Undefined where it is not here nor anywhere else. Throws `chunk_damaged`. `into`: memory of CHUNK_STORED_BYTES_MAX for it, which goes away from there. */
  read(accountId: AccountId, cid: ChunkCid, into?: ArrayBuffer): Promise<Buffer | undefined>;
  /** The file itself, checked against its name. Undefined and throws as `read`. */
  readFile(accountId: AccountId, stored: StoredCid): Promise<Buffer | undefined>;
  /** Of the durable chunk as it came; undefined where it is not here, was cut, or was found to be changed. Synchronous, so that nothing can come in between. */
  size(accountId: AccountId, cid: ChunkCid): number | undefined;
  /** Resolves when no write of this chunk is under way. */
  settled(accountId: AccountId, cid: ChunkCid): Promise<void> | undefined;
  remove(accountId: AccountId, cid: ChunkCid): void;
  /** Deletes a file to which no row leads, unless one of the account is being written: then a later sweep does. */
  removeStray(accountId: AccountId, stored: StoredCid): void;
  usage(accountId: AccountId): StoredUsage;
  /** What is being written fails, unless its file is there. */
  stop(): Promise<void>;
}

export interface SealedParts {
  /** The folder of the chunks. */
  readonly root: string;
  readonly files: ChunkFiles;
  readonly index: ChunkIndex;
  readonly keys: ConsumerKeys;
  /** What an account's files may take up. */
  readonly bytesMax: number;
  readonly fetchLost?: FetchLost;
}

/** Rows that share an fsync when an index is made anew. */
const ROWS_AT_A_TIME = 256;

export function createSealedChunks({ root, files, index, keys, bytesMax, fetchLost }: SealedParts): SealedChunks {
  const pending = new Map<string, Promise<void>>();
  /** Files that are put back. */
  const naming = new Set<string>();
  /** Of each account: bytes that are being written. */
  const reserved = new Map<AccountId, number>();
  /** Files that were found to be changed: to be sent again, if somebody still has them. */
  const spoilt = new Set<string>();
  /** Of each account: chunks whose files are being made. */
  const sealing = new Map<AccountId, number>();
  const sealer = createSealer(root);
  const cipherOf = createCiphers(keys);

  const reserve = (accountId: AccountId, bytes: number): (() => void) => {
    const now = reserved.get(accountId) ?? 0;
    const wanted = index.usage(accountId) + now + bytes;
    if (wanted > bytesMax) throw quotaReached(index.usage(accountId), bytesMax);
    reserved.set(accountId, now + bytes);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = (reserved.get(accountId) ?? 0) - bytes;
      if (left === 0) reserved.delete(accountId);
      else reserved.set(accountId, left);
    };
  };

  const seal = async (
    accountId: AccountId,
    cid: ChunkCid,
    parts: readonly Uint8Array[],
    release: () => void,
  ): Promise<void> => {
    sealing.set(accountId, (sealing.get(accountId) ?? 0) + 1);
    try {
      const stored = await sealer.write(accountId, parts, keys.ofConsumer(accountId), sumOfCid(cid));
      if (stored === undefined) throw mismatch(cid);
      await index.add({ accountId, cid, stored, bytes: lengthOf(parts) }, release);
      spoilt.delete(`${accountId}/${cid}`);
    } catch (error) {
      throw storageError(error);
    } finally {
      const left = (sealing.get(accountId) ?? 0) - 1;
      if (left === 0) sealing.delete(accountId);
      else sealing.set(accountId, left);
      release();
    }
  };

  const size = (accountId: AccountId, cid: ChunkCid): number | undefined => {
    const key = `${accountId}/${cid}`;
    if (pending.has(key) || spoilt.has(key)) return undefined;
    const row = index.get(accountId, cid);
    if (row === undefined) return undefined;
    return files.size(accountId, row.stored) === row.bytes + SEAL_BYTES ? row.bytes : undefined;
  };

  /** Puts a file back that was lost or changed here, if others have it. */
  const restore = async (accountId: AccountId, stored: StoredCid): Promise<Buffer | undefined> => {
    const found = index.nameOf(accountId, stored) === undefined ? undefined : await fetchLost?.(stored);
    if (found === undefined || cidOfSum(await sumInBackground(found)) !== (stored as string)) return undefined;
    const name = `${accountId} ${stored}`;
    naming.add(name);
    try {
      await files.write(accountId, stored, found);
      // Let go meanwhile: then nothing leads to it.
      const cid = index.nameOf(accountId, stored);
      if (cid === undefined) files.remove(accountId, stored);
      else spoilt.delete(`${accountId}/${cid}`);
    } catch (error) {
      throw storageError(error);
    } finally {
      naming.delete(name);
    }
    return Buffer.from(found.buffer, found.byteOffset, found.length);
  };

  return {
    warm: () => sealer.warm(),
    async write(accountId, cid, parts) {
      const key = `${accountId}/${cid}`;
      for (let same = pending.get(key); same !== undefined; same = pending.get(key)) {
        const isStored = await same.then(
          () => true,
          () => false,
        );
        // What failed may have been other bytes under this name.
        if (isStored) return;
      }
      const bytes = lengthOf(parts);
      if (size(accountId, cid) === bytes) return;
      const isCounted = index.get(accountId, cid) !== undefined;
      const release = reserve(accountId, isCounted ? 0 : bytes + SEAL_BYTES);
      const writing = seal(accountId, cid, parts, release).finally(() => pending.delete(key));
      pending.set(key, writing);
      return writing;
    },
    async read(accountId, cid, into) {
      const row = index.get(accountId, cid);
      if (row === undefined) return undefined;
      const sum = sumOfCid(cid);
      const found = await sealer.read({ accountId, ...row }, keys.ofConsumer(accountId), sum, into);
      if (typeof found !== "string") return found;
      const restored = await restore(accountId, row.stored);
      const plain = restored === undefined ? undefined : cipherOf(accountId).open(restored, sum);
      if (plain !== undefined || found === "none") return plain;
      spoilt.add(`${accountId}/${cid}`);
      throw damaged(cid);
    },
    async readFile(accountId, stored) {
      const file = await files.read(accountId, stored);
      if (file !== undefined && cidOfSum(await sumInBackground(file)) === (stored as string)) return file;
      const restored = await restore(accountId, stored);
      if (restored !== undefined || file === undefined) return restored;
      throw damaged(stored);
    },
    size,
    settled: (accountId, cid) => pending.get(`${accountId}/${cid}`)?.catch(() => {}),
    remove(accountId, cid) {
      const row = index.get(accountId, cid);
      if (row === undefined) return;
      files.remove(accountId, row.stored);
      index.remove(accountId, cid);
      spoilt.delete(`${accountId}/${cid}`);
    },
    removeStray(accountId, stored) {
      // Which file a chunk becomes is known once it is there: while some are being made, none of the account is taken for a stray.
      if (
        sealing.has(accountId) ||
        naming.has(`${accountId} ${stored}`) ||
        index.nameOf(accountId, stored) !== undefined
      )
        return;
      files.remove(accountId, stored);
    },
    stop: () => sealer.stop(),
    usage: (accountId) => ({ bytes: index.usage(accountId), bytesMax }),
  };
}

/**
 * Fills an empty index from the files: each is decrypted, which tells the chunk it is of. What cannot be read is left to the sweep.
 */
export async function rebuildIndex(
  { files, index, keys }: Pick<SealedParts, "files" | "index" | "keys">,
  logger: Logger,
): Promise<void> {
  const cipherOf = createCiphers(keys);
  let adding: Promise<void>[] = [];
  for await (const { accountId, stored } of files.list()) {
    const file = await files.read(accountId, stored);
    const plain = file === undefined ? undefined : cipherOf(accountId).openAny(file);
    if (file === undefined || plain === undefined || cidOfSum(await sumInBackground(file)) !== (stored as string)) {
      logger.error({ event: "chunk_unreadable", accountId, stored }, "a file of a chunk is damaged");
      continue;
    }
    const cid = cidOfSum(await sumInBackground(plain));
    adding.push(index.add({ accountId, cid, stored, bytes: plain.length }));
    if (adding.length < ROWS_AT_A_TIME) continue;
    await Promise.all(adding);
    adding = [];
  }
  await Promise.all(adding);
}

/** Throws `keys_lost` where chunks lie that were not written under these keys. */
export function checkKeys({ files, keys }: Pick<SealedParts, "files" | "keys">, root: string): void {
  const foreign = files.accounts().find((accountId) => !keys.hasConsumer(accountId));
  if (foreign === undefined) return;
  throw new QubixError(
    "keys_lost",
    `There is no key for the chunks of ${foreign} in ${root}: they were stored by a version that did not encrypt, or keys.db was lost. Bring keys.db back from a backup; or move that folder away, and the jobs go on without their stored checkpoints.`,
    { category: "platform" },
  );
}

/** One for each account, made at first use; the accounts bound them. */
function createCiphers(keys: ConsumerKeys): (accountId: AccountId) => ChunkCipher {
  const ciphers = new Map<AccountId, ChunkCipher>();
  return (accountId) => {
    let cipher = ciphers.get(accountId);
    if (cipher === undefined) ciphers.set(accountId, (cipher = createChunkCipher(keys.ofConsumer(accountId))));
    return cipher;
  };
}

function mismatch(cid: ChunkCid): QubixError {
  return new QubixError("chunk_mismatch", `The bytes sent for ${cid} are not those it names; send them again.`, {
    category: "user",
  });
}

function damaged(cid: ChunkCid | StoredCid): QubixError {
  return new QubixError("chunk_damaged", `The piece ${cid} is damaged on the orchestrator's disk.`, {
    category: "platform",
  });
}

/** Its worker is told this too: how much the consumer has is not its business. */
function quotaReached(bytes: number, bytesMax: number): QubixError {
  return new QubixError(
    "storage_quota",
    "All that the consumer's account may store is used up (qubix storage), so this was not stored. Remove checkpoints (qubix checkpoints rm), keep fewer, or ask the operator for more (--storage-max).",
    { category: "user", status: 507, details: { bytes, bytesMax } },
  );
}

function storageError(cause: unknown): unknown {
  const code = (cause as { readonly code?: unknown }).code;
  if (code !== "ENOSPC" && code !== "EDQUOT" && code !== "SQLITE_FULL") return cause;
  return new QubixError(
    "storage_full",
    "The orchestrator's disk is full, so this piece was not stored. Try again later; the operator has to make room.",
    { category: "platform", status: 507, retryable: true, cause },
  );
}
