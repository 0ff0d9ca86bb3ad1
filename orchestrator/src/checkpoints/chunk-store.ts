// The chunk store: content-addressed pieces on disk, apart for each consumer. What a kept tree has, or an upload under way was told is here, stays.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { AccountId, ChunkCid } from "@qubix/shared/domain";
import { decodePiece } from "@qubix/shared/chunks";
import { CHUNK_STORED_BYTES_MAX, type TreeManifest, type TreeRef } from "@qubix/shared/protocol";
import { QubixError, type Logger, type MonotonicClock } from "@qubix/shared/runtime";
import { createChunkFiles } from "./chunk-files.ts";
import { createChunkIndex } from "./chunk-index.ts";
import { cidOf } from "./cid.ts";
import { openChunkDatabase } from "./database.ts";
import { cidsOf, decodeManifest, encodeManifest, filesOf, sizeOf, storedOf } from "./manifest.ts";
import { createPins } from "./pins.ts";
import {
  UPLOAD_HOLDER,
  type ChunkStore,
  type FetchLost,
  type KeptTree,
  type TreeHolder,
  type TreeOwners,
  type TreeVerdict,
} from "./port.ts";
import { createReferences } from "./references.ts";
import { checkKeys, createSealedChunks, rebuildIndex } from "./sealed-chunks.ts";
import { lengthOf } from "./sealer.ts";
import { createStragglers } from "./stragglers.ts";
import { createStoredBlocks, missingChunks } from "./stored-blocks.ts";
import type { ConsumerKeys } from "../vault/index.ts";

/** A chunk that was answered as present is kept this long for the upload that relies on it, even if nothing refers to it. */
export const PIN_MS = 3_600_000;
/** How often files without a reference are looked for. */
const SWEEP_MS = PIN_MS;
/** Files deleted in one turn of the event loop. */
const DELETIONS_PER_TURN = 16;
/** Files looked at between two turns of the event loop: some milliseconds. */
const FILES_PER_TURN = 256;

export interface ChunkStorePorts {
  /** The folder of the chunks. */
  readonly root: string;
  readonly owners: TreeOwners;
  readonly keys: ConsumerKeys;
  /** What an account's chunks may take up on the disk. */
  readonly bytesPerAccountMax?: number;
  /** Where files that were lost here may be had. */
  readonly fetchLost?: FetchLost;
  /** The tree was accepted, or let go: ask `keeps`. Must not throw. */
  readonly onTree?: (tree: KeptTree) => void;
  readonly clock: MonotonicClock;
  readonly logger: Logger;
}

/** Opens the indexes in `root`; touches no chunk before `start`. */
export function createChunkStore(ports: ChunkStorePorts): ChunkStore {
  const { root, owners, keys, bytesPerAccountMax = Number.MAX_SAFE_INTEGER, fetchLost, onTree, clock, logger } = ports;
  const files = createChunkFiles(root);
  const database = openChunkDatabase(root);
  const index = createChunkIndex(database);
  const sealed = createSealedChunks({
    root,
    files,
    index,
    keys,
    bytesMax: bytesPerAccountMax,
    ...(fetchLost === undefined ? {} : { fetchLost }),
  });
  const references = createReferences(database);
  const pins = createPins(clock, PIN_MS);
  const stragglers = createStragglers((accountId, holder, cids) => {
    for (const cid of cids) pins.release(accountId, cid, holder);
    doom(accountId, cids);
  });
  /** Trees between `admitTree` and `settleTree`: how often, and what they have. */
  const admitted = new Map<string, { count: number; cids: readonly ChunkCid[] }>();
  const acceptedUploads = new Set<string>();
  /** Chunks that perhaps nothing refers to. */
  const doomed: { readonly accountId: AccountId; readonly cid: ChunkCid }[] = [];
  let deleting: NodeJS.Immediate | undefined;
  /** The trees of earlier starts were compared with the records. */
  let olderChecked = false;
  let sweeping: Promise<void> | undefined;
  let sweepTimer: NodeJS.Timeout | undefined;
  let phase: "new" | "running" | "stopped" = "new";

  const read = async (accountId: AccountId, cid: ChunkCid): Promise<Buffer> => {
    const bytes = await sealed.read(accountId, cid);
    if (bytes === undefined) throw missingChunks(1);
    return bytes;
  };

  const put: ChunkStore["put"] = async (accountId, holder, cid, bytes, by) => {
    const pinner = pinnerOf(holder, by);
    const parts = bytes instanceof Uint8Array ? [bytes] : bytes;
    if (lengthOf(parts) > CHUNK_STORED_BYTES_MAX) {
      throw new QubixError("chunk_too_large", `A chunk has at most ${CHUNK_STORED_BYTES_MAX} bytes.`, {
        category: "user",
        status: 413,
      });
    }
    pins.add(accountId, cid, pinner);
    try {
      await sealed.write(accountId, cid, parts);
    } catch (error) {
      pins.release(accountId, cid, pinner);
      if (error instanceof QubixError && error.code === "storage_quota") abandon(accountId, pinner);
      throw error;
    }
    stragglers.stored(accountId, pinner, cid);
    // Given up while it was written.
    if (!pins.has(accountId, cid)) doom(accountId, [cid]);
  };

  /** What came of a tree for which there is no room would keep smaller ones out: it goes at once, unless a tree has it or somebody else relies on it. */
  const abandon = (accountId: AccountId, holder: TreeHolder): void => {
    stragglers.refused(accountId, holder);
    doom(accountId, pins.releaseAll(accountId, holder));
  };

  const doom = (accountId: AccountId, cids: Iterable<ChunkCid>): void => {
    for (const cid of cids) doomed.push({ accountId, cid });
    if (doomed.length > 0 && phase !== "stopped") deleting ??= setImmediate(deleteSome);
  };

  /** How many are not here as large as they say. Chunks that are being written are waited for. */
  const findMissing = async (accountId: AccountId, manifest: TreeManifest): Promise<number> => {
    let missing = 0;
    let looked = 0;
    for (const chunk of storedOf(manifest)) {
      const writing = sealed.settled(accountId, chunk.cid);
      if (writing !== undefined) await writing;
      if (sealed.size(accountId, chunk.cid) !== chunk.stored) missing += 1;
      looked += 1;
      if (looked % FILES_PER_TURN === 0) await nextTurn();
    }
    return missing;
  };

  /** First the reference, then the look: what is found cannot be deleted any more. */
  const admit = async (
    accountId: AccountId,
    holder: TreeHolder,
    tree: TreeRef,
    bytesMax: number | undefined,
  ): Promise<TreeVerdict> => {
    const manifest = await readManifest(accountId, tree.manifestCid);
    const { files: count, bytes } = sizeOf(manifest);
    if (count !== tree.files || bytes !== tree.bytes) {
      return refused(
        "tree_invalid",
        `The manifest has ${count} files of ${bytes} bytes, the message says ${tree.files} of ${tree.bytes}.`,
      );
    }
    if (bytesMax !== undefined && filesOf(manifest).some(({ sha256 }) => sha256 === undefined)) {
      return refused("tree_invalid", "Each output file needs a sum of its own, for whoever fetches it.");
    }
    if (bytes > (bytesMax ?? Number.MAX_SAFE_INTEGER)) {
      return refused("output_exceeded", `The files have ${bytes} bytes, at most ${bytesMax} are allowed.`);
    }
    const cids = [...cidsOf(tree.manifestCid, manifest)];
    const entry = admitted.get(treeKey(accountId, holder, tree.manifestCid));
    if (entry !== undefined) entry.cids = cids;
    references.add({ accountId, holder, manifestCid: tree.manifestCid }, cids);
    const missing = await findMissing(accountId, manifest);
    return missing === 0 ? { kind: "ok", manifest } : refusedBy(missingChunks(missing));
  };

  const readManifest = async (accountId: AccountId, manifestCid: ChunkCid): Promise<TreeManifest> => {
    const writing = sealed.settled(accountId, manifestCid);
    if (writing !== undefined) await writing;
    return decodeManifest(await read(accountId, manifestCid));
  };

  /** Lets a tree go unless a record names it or it is on its way to one. */
  const reconsider = (accountId: AccountId, holder: TreeHolder, manifestCid: ChunkCid): void => {
    const key = treeKey(accountId, holder, manifestCid);
    if (admitted.has(key) || acceptedUploads.has(key) || owners.uses(accountId, holder, manifestCid)) return;
    doom(accountId, references.remove({ accountId, holder, manifestCid }));
    onTree?.({ accountId, manifestCid });
  };

  /** A few at a time, so that the writer never waits for it. What came to be needed meanwhile is spared; after a crash the sweep finds the rest. */
  const deleteSome = (): void => {
    deleting = undefined;
    try {
      for (const { accountId, cid } of doomed.splice(0, DELETIONS_PER_TURN)) deleteUnneeded(accountId, cid);
    } catch (error) {
      logger.error({ event: "chunk_not_deleted", err: error }, "left to the sweep");
    }
    if (doomed.length > 0) deleting = setImmediate(deleteSome);
  };

  const deleteUnneeded = (accountId: AccountId, cid: ChunkCid): void => {
    if (!references.has(accountId, cid) && !pins.has(accountId, cid)) sealed.remove(accountId, cid);
  };

  // ── Start: what a crash left ──

  const fill = async (): Promise<void> => {
    for (const tree of owners.all()) {
      try {
        const manifest = await readManifest(tree.accountId, tree.manifestCid);
        references.add(tree, cidsOf(tree.manifestCid, manifest));
      } catch (error) {
        logger.error({ event: "tree_unreadable", ...tree, err: error }, "a tree that a record names cannot be read");
      }
    }
    database.complete();
  };

  const sweep = async (): Promise<void> => {
    let looked = 0;
    for (const { accountId, holder, manifestCid } of olderChecked ? [] : references.older()) {
      if (phase !== "running") return;
      reconsider(accountId, holder, manifestCid);
      looked += 1;
      if (looked % FILES_PER_TURN === 0) await nextTurn();
    }
    olderChecked = true;
    for await (const { accountId, stored } of files.list(PIN_MS)) {
      if (phase !== "running") return;
      const cid = index.nameOf(accountId, stored);
      if (cid === undefined) sealed.removeStray(accountId, stored);
      else deleteUnneeded(accountId, cid);
    }
    await forgetLost();
    pins.purge();
  };

  /** Rows whose file is gone count for nothing; where it may be had elsewhere and a tree needs it, the row says what to ask for. */
  const forgetLost = async (): Promise<void> => {
    for (const rows of index.rows()) {
      if (phase !== "running") return;
      for (const { accountId, cid, stored } of rows) {
        if (fetchLost !== undefined && references.has(accountId, cid)) continue;
        const isLost = files.size(accountId, stored) === undefined && sealed.settled(accountId, cid) === undefined;
        if (isLost) index.remove(accountId, cid);
      }
      await nextTurn();
    }
  };

  const scheduleSweep = (): void => {
    sweepTimer = setTimeout(() => {
      sweeping = sweep()
        .catch((error: unknown) => logger.error({ event: "sweep_failed", err: error }, "chunks were not swept"))
        .finally(() => {
          sweeping = undefined;
          if (phase === "running") scheduleSweep();
        });
    }, SWEEP_MS);
    sweepTimer.unref();
  };

  const blocks = createStoredBlocks({ files, sealed, index, readManifest });

  return {
    async start() {
      if (phase !== "new") return;
      phase = "running";
      files.clean();
      checkKeys({ files, keys }, root);
      if (database.fresh) {
        await rebuildIndex({ files, index, keys }, logger);
        await fill();
      }
      scheduleSweep();
    },
    warm: () => sealed.warm(),
    async stop() {
      if (phase === "stopped") return;
      phase = "stopped";
      clearTimeout(sweepTimer);
      clearImmediate(deleting);
      stragglers.stop();
      await sweeping;
      await sealed.stop();
      await index.idle();
      await database.close();
    },
    async missing(accountId, holder, cids, by) {
      const pinner = pinnerOf(holder, by);
      stragglers.asked(accountId, pinner, cids);
      const missing: ChunkCid[] = [];
      let looked = 0;
      for (const cid of cids) {
        pins.add(accountId, cid, pinner);
        const writing = sealed.settled(accountId, cid);
        if (writing !== undefined) await writing;
        if (sealed.size(accountId, cid) === undefined) {
          pins.release(accountId, cid, pinner);
          missing.push(cid);
        }
        looked += 1;
        if (looked % FILES_PER_TURN === 0) await nextTurn();
      }
      return missing;
    },
    put,
    get: (accountId, cid, into) => sealed.read(accountId, cid, into),
    readManifest,
    async putManifest(accountId, holder, manifest) {
      const stored = await encodeManifest(manifest);
      const manifestCid = cidOf(stored);
      await put(accountId, holder, manifestCid, stored);
      return { manifestCid, ...sizeOf(manifest), bytesMoved: stored.length };
    },
    async admitTree(accountId, holder, tree, bytesMax) {
      const key = treeKey(accountId, holder, tree.manifestCid);
      const entry = admitted.get(key) ?? { count: 0, cids: [] };
      entry.count += 1;
      admitted.set(key, entry);
      try {
        return await admit(accountId, holder, tree, bytesMax);
      } catch (error) {
        if (error instanceof QubixError) return refusedBy(error);
        throw error;
      }
    },
    settleTree(accountId, holder, manifestCid, accepted, by) {
      const key = treeKey(accountId, holder, manifestCid);
      const entry = admitted.get(key);
      if (entry !== undefined && entry.count > 1) entry.count -= 1;
      else admitted.delete(key);
      if (!accepted) return reconsider(accountId, holder, manifestCid);
      if (holder === UPLOAD_HOLDER) acceptedUploads.add(key);
      onTree?.({ accountId, manifestCid });
      // The tree keeps them from here on.
      for (const cid of entry?.cids ?? []) pins.release(accountId, cid, pinnerOf(holder, by));
    },
    collect(accountId, holder, trees) {
      for (const { manifestCid } of trees) {
        reconsider(accountId, holder, manifestCid);
      }
    },
    sweep,
    openFile(accountId, manifest, path) {
      const entry = manifest.entries.find((candidate) => candidate.path === path);
      if (entry?.kind !== "file") {
        throw new QubixError("file_unknown", `There is no file ${path} here.`, { category: "user", status: 404 });
      }
      return (async function* () {
        for (const chunk of entry.chunks) {
          const stored: Buffer[] = [];
          for (const { cid } of [chunk, ...(chunk.layers ?? [])]) {
            stored.push(await read(accountId, cid));
          }
          yield decodePiece(chunk, stored);
        }
      })();
    },
    usage: (accountId) => sealed.usage(accountId),
    trees: () => references.trees(),
    keeps: ({ accountId, manifestCid }) => references.holds(accountId, manifestCid),
    blocks,
  };
}

function treeKey(accountId: AccountId, holder: TreeHolder, manifestCid: ChunkCid): string {
  return `${accountId} ${holder} ${manifestCid}`;
}

/** Whose pins these are. */
function pinnerOf(holder: TreeHolder, by: string | undefined): TreeHolder {
  return by === undefined ? holder : `${holder}/${by}`;
}

function refused(code: string, message: string): TreeVerdict {
  return { kind: "refused", code, message };
}

function refusedBy(error: QubixError): TreeVerdict {
  return refused(error.code, error.message);
}
