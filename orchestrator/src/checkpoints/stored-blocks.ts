// The files of the chunk store as they lie: for an IPFS node, which serves ciphertext by its name and can read none of it.
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import type { TreeManifest } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { SEAL_BYTES } from "./chunk-cipher.ts";
import type { ChunkFiles } from "./chunk-files.ts";
import type { ChunkIndex } from "./chunk-index.ts";
import { cidOfSum, sumInBackground } from "./cid.ts";
import { cidsOf } from "./manifest.ts";
import type { StoredBlocks, StoredCid } from "./port.ts";

interface BlocksPorts {
  readonly files: Pick<ChunkFiles, "read">;
  readonly index: Pick<ChunkIndex, "get">;
  readonly readManifest: (accountId: AccountId, manifestCid: ChunkCid) => Promise<TreeManifest>;
}

export function createStoredBlocks({ files, index, readManifest }: BlocksPorts): StoredBlocks {
  return {
    async get(accountId, stored) {
      const file = await files.read(accountId, stored);
      if (file !== undefined && cidOfSum(await sumInBackground(file)) !== (stored as string)) throw damaged(stored);
      return file;
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

function damaged(stored: StoredCid): QubixError {
  return new QubixError("chunk_damaged", `The file ${stored} is damaged on the orchestrator's disk.`, {
    category: "platform",
  });
}
