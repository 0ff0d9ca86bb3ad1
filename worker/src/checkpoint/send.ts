// Pieces on their way to the store: gathered, asked for, and those it lacks sent, a few batches at a time.
import type { ChunkCid } from "@qubix/shared/domain";

/** Where pieces go. Both may throw a retryable error; asking again is harmless. */
export interface ChunkSink {
  missing(cids: readonly ChunkCid[], signal: AbortSignal): Promise<ReadonlySet<ChunkCid>>;
  put(cid: ChunkCid, stored: Uint8Array, signal: AbortSignal): Promise<void>;
}

export interface StoredPiece {
  readonly cid: ChunkCid;
  readonly stored: Uint8Array;
  /** Called once nobody needs the bytes any more. */
  done?(): void;
}

export interface Sender {
  /** Takes a piece when there is room for it. Throws what the sink threw of an earlier one. */
  add(piece: StoredPiece): Promise<void>;
  /** Resolves when all of them are stored. */
  finish(): Promise<void>;
  /** Resolves when nothing is under way any more. */
  abandon(): Promise<void>;
  /** Bytes that the store lacked. */
  moved(): number;
}

/** The store is asked about so many at a time, or as soon as they have so many bytes. */
const BATCH_PIECES = 64;
const BATCH_BYTES = 8 * 1024 * 1024;
/** Batches being sent while the next is gathered. */
const BATCHES_IN_FLIGHT = 2;

export function createSender(sink: ChunkSink, signal: AbortSignal): Sender {
  const known = new Set<ChunkCid>();
  const sending = new Set<Promise<void>>();
  let batch: StoredPiece[] = [];
  let batchBytes = 0;
  let moved = 0;
  let failure: unknown;

  function dispatch(): void {
    const pieces = batch;
    batch = [];
    batchBytes = 0;
    if (pieces.length === 0) return;
    const sent: Promise<void> = sendMissing(sink, pieces, signal).then(
      (bytes) => {
        moved += bytes;
        sending.delete(sent);
      },
      (error: unknown) => {
        failure ??= error;
        sending.delete(sent);
      },
    );
    sending.add(sent);
  }

  function check(): void {
    if (failure !== undefined) throw failure;
    signal.throwIfAborted();
  }

  return {
    async add(piece) {
      while (sending.size >= BATCHES_IN_FLIGHT) await Promise.race(sending);
      check();
      if (known.has(piece.cid)) return piece.done?.();
      known.add(piece.cid);
      batch.push(piece);
      batchBytes += piece.stored.length;
      // While the line has nothing to do, nothing is gathered.
      if (sending.size === 0 || batch.length >= BATCH_PIECES || batchBytes >= BATCH_BYTES) dispatch();
    },
    async finish() {
      check();
      dispatch();
      while (sending.size > 0) await Promise.race(sending);
      check();
    },
    async abandon() {
      await Promise.allSettled(sending);
    },
    moved: () => moved,
  };
}

/** Sends those of the pieces that the store lacks; returns how many bytes that were. */
export async function sendMissing(
  sink: ChunkSink,
  pieces: readonly StoredPiece[],
  signal: AbortSignal,
): Promise<number> {
  const missing = await sink.missing(
    pieces.map(({ cid }) => cid),
    signal,
  );
  const lacking = pieces.filter(({ cid }) => missing.has(cid));
  await Promise.all(lacking.map(({ cid, stored }) => sink.put(cid, stored, signal)));
  const bytes = lacking.reduce((sum, { stored }) => sum + stored.length, 0);
  for (const piece of pieces) piece.done?.();
  return bytes;
}
