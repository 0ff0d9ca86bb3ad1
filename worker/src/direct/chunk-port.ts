// The checkpoints of one slot on their way: what leaves is also kept for the job's standby, what comes is asked of the primary first. Every chunk that is not to
// be had there comes from the orchestrator, within the same transfer.
import type { ChunkCid } from "@qubix/shared/domain";
import type { ChunkSink } from "../checkpoint/send.ts";
import type { ChunkSource } from "../checkpoint/unpack.ts";
import type { DirectPath } from "./node.ts";
import type { MovedPieces } from "./moved.ts";

export type FetchPath = DirectPath | "orchestrator";
export type BytesByPath = { readonly [path in FetchPath]: number };

/** One transfer's way to the chunks: a new one for each tree. */
export interface CheckpointPort extends ChunkSink, ChunkSource {
  /** Bytes that came, by the way they took. */
  fetched(): BytesByPath;
}

/** What the direct path has to do with this job now; both undefined without a peer. */
export interface JobPeer {
  /** Where this worker is the primary: keeps what moves. */
  moved(): MovedPieces | undefined;
  /** Where it is the standby; `null` for a chunk that the peer lacks, undefined when the path is not up. */
  fetch(cid: ChunkCid): Promise<{ readonly bytes: Uint8Array; readonly path: DirectPath } | null | undefined>;
  count(path: FetchPath, bytes: number): void;
}

/** Where there is no direct path: all comes from the orchestrator. */
export const NO_PEER: JobPeer = { moved: () => undefined, fetch: async () => undefined, count: () => undefined };

/** A primary that lacks so many in a row lacks most of this tree (a whole one, and it came from elsewhere): asking costs a round trip each. */
const MISSES_MAX = 4;
/** Then it is asked for one chunk in so many: the newest pieces may follow. */
const ASK_EVERY = 16;

export function createCheckpointPort(store: ChunkSink & ChunkSource, peer: JobPeer): CheckpointPort {
  const fetched = { direct: 0, relay: 0, orchestrator: 0 };
  let keeping: { readonly pieces: MovedPieces; readonly begun: Promise<void> } | null = null;
  let misses = 0;
  let asks = 0;

  async function keep(cid: ChunkCid, stored: Uint8Array): Promise<void> {
    const pieces = peer.moved();
    if (pieces === undefined) return;
    if (keeping?.pieces !== pieces) keeping = { pieces, begun: pieces.begin() };
    await keeping.begun;
    await pieces.keep(cid, stored);
  }

  async function fetch(cid: ChunkCid): Promise<Uint8Array | undefined> {
    asks += 1;
    if (misses >= MISSES_MAX && asks % ASK_EVERY !== 0) return undefined;
    const got = await peer.fetch(cid);
    if (got === null) misses += 1;
    if (got === null || got === undefined) return undefined;
    misses = 0;
    count(got.path, got.bytes);
    return got.bytes;
  }

  function count(path: FetchPath, bytes: Uint8Array): void {
    fetched[path] += bytes.length;
    peer.count(path, bytes.length);
  }

  return {
    missing: (cids, signal) => store.missing(cids, signal),
    async put(cid, stored, signal) {
      // The standby's copy is only a short cut: a full disk under it must not cost the checkpoint.
      const kept = keep(cid, stored).catch(() => undefined);
      await Promise.all([store.put(cid, stored, signal), kept]);
    },
    async get(cid, signal) {
      const near = await fetch(cid);
      signal.throwIfAborted();
      if (near !== undefined) return near;
      const bytes = await store.get(cid, signal);
      count("orchestrator", bytes);
      return bytes;
    },
    fetched: () => ({ ...fetched }),
  };
}
