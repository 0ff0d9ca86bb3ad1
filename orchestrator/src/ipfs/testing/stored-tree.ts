// A chunk store on a disk of its own for tests, with one tree that a job keeps.
import { mkdtempSync, rmSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AccountId } from "@qubix/shared/domain";
import { createLogger } from "@qubix/shared/runtime";
import { createChunkStore, type ChunkStore, type ChunkStorePorts, type StoredCid } from "../../checkpoints/index.ts";
import type { BuiltTree } from "../../checkpoints/testing/trees.ts";
import { openKeyRing, openMasterKey } from "../../vault/index.ts";

export const ALICE = "acc-alice" as AccountId;
export const JOB = "job-1";
export const quiet = createLogger("test", "silent");

export interface StoredTree extends AsyncDisposable {
  readonly chunks: ChunkStore;
  readonly dir: string;
  /** Keeps a tree as a job's checkpoint is kept. */
  keep(tree: BuiltTree): Promise<readonly StoredCid[]>;
  /** No job keeps it any more. */
  drop(tree: BuiltTree): void;
  file(stored: StoredCid): Promise<Buffer>;
  lose(stored: StoredCid): Promise<void>;
  spoil(stored: StoredCid): Promise<void>;
}

export async function openStoredTree(ports: Pick<ChunkStorePorts, "fetchLost" | "onTree"> = {}): Promise<StoredTree> {
  const dir = mkdtempSync(join(tmpdir(), "qubix-ipfs-"));
  const keys = openKeyRing(dir, openMasterKey(join(dir, "master.key")));
  const kept = new Set<string>();
  const root = join(dir, "chunks");
  const chunks = createChunkStore({
    root,
    owners: { uses: (_account, _holder, manifestCid) => kept.has(manifestCid), all: () => [] },
    keys,
    clock: { nowMs: () => performance.now() },
    logger: quiet,
    ...ports,
  });
  await chunks.start();
  const pathOf = (stored: StoredCid) => join(root, ALICE, stored.slice(-2), stored);
  return {
    chunks,
    dir,
    async keep(tree) {
      for (const { cid, bytes } of tree.chunks) await chunks.put(ALICE, JOB, cid, bytes);
      const verdict = await chunks.admitTree(ALICE, JOB, tree.ref);
      if (verdict.kind !== "ok") throw new Error(verdict.message);
      kept.add(tree.ref.manifestCid);
      chunks.settleTree(ALICE, JOB, tree.ref.manifestCid, true);
      return (await chunks.blocks.ofTree(ALICE, tree.ref.manifestCid)).map(({ stored }) => stored);
    },
    drop(tree) {
      kept.delete(tree.ref.manifestCid);
      chunks.collect(ALICE, JOB, [tree.ref]);
    },
    file: (stored) => readFile(pathOf(stored)),
    lose: (stored) => rm(pathOf(stored)),
    spoil: async (stored) => {
      const bytes = await readFile(pathOf(stored));
      bytes[40] = (bytes[40] ?? 0) ^ 1;
      await writeFile(pathOf(stored), bytes);
    },
    [Symbol.asyncDispose]: async () => {
      await chunks.stop();
      keys.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
