// The files of the chunk store as they lie: for an IPFS node, which serves ciphertext by its name and can read none of it.
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import type { TreeManifest } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { SEAL_BYTES } from "./chunk-cipher.ts";
import type { ChunkFiles } from "./chunk-files.ts";
import type { ChunkIndex } from "./chunk-index.ts";
import { cidsOf } from "./manifest.ts";
import type { StoredBlocks, StoredCid } from "./port.ts";
import type { SealedChunks } from "./sealed-chunks.ts";

interface BlocksPorts {
  readonly files: Pick<ChunkFiles, "size">;
  readonly sealed: Pick<SealedChunks, "readFile">;
  readonly index: Pick<ChunkIndex, "get" | "find">;
  readonly readManifest: (accountId: AccountId, manifestCid: ChunkCid) => Promise<TreeManifest>;
}

export function createStoredBlocks({ files, sealed, index, readManifest }: BlocksPorts): StoredBlocks {
  return {
    get: (accountId, stored) => sealed.readFile(accountId, stored),
    find(stored) {
      const row = index.find(stored);
      if (row === undefined) return undefined;
      const bytes = row.bytes + SEAL_BYTES;
      return files.size(row.accountId, stored) === bytes ? { accountId: row.accountId, bytes } : undefined;
    },
    async ofTree(accountId, manifestCid) {
      const found = new Map<StoredCid, number>();
      let missing = 0;
      for (const cid of cidsOf(manifestCid, await readManifest(accountId, manifestCid))) {
        const row = index.get(accountId, cid);
        if (row === undefined) missing += 1;
        else found.set(row.stored, row.bytes + SEAL_BYTES);
      }
      if (missing > 0) throw missingChunks(missing);
      return [...found].map(([stored, bytes]) => ({ stored, bytes }));
    },
  };
}

export function missingChunks(count: number): QubixError {
  return new QubixError(
    "chunks_missing",
    `${count} of the tree's pieces are not stored here. Ask which are missing, send those, and try again.`,
    { category: "user", status: 422 },
  );
}
