// The primary's side of a stream: gives a named peer what the newest trees of that job moved, as fast as the owner lets bytes leave.
import type { ChunkCid, JobId } from "@qubix/shared/domain";
import { BULK_FRAME_BYTES_MAX } from "@qubix/shared/protocol";
import type { Pacer } from "../link/pacer.ts";
import type { MovedPieces } from "./moved.ts";
import type { DirectStream } from "./node.ts";
import { ASKED_MAX, createRequestReader, NOT_HERE, type Received } from "./wire.ts";

export interface ServePorts {
  /** What there is of a job for this peer now; undefined where the orchestrator did not name it for that job, or does no longer. */
  moved(jobId: JobId): Pick<MovedPieces, "answer"> | undefined;
  readonly pacer: Pacer;
  sent(bytes: number): void;
}

/** Serves until the peer closes the stream, or asks for what is not its business: then the stream is reset. */
export function serveChunks(stream: DirectStream, ports: ServePorts): void {
  const wanted: ChunkCid[] = [];
  let job: JobId | null = null;
  let isServing = false;

  const reader = createRequestReader({
    job(jobId) {
      if (ports.moved(jobId) === undefined) throw new Error("a job for which this peer is not named");
      job = jobId;
    },
    wanted(cid) {
      if (wanted.length >= ASKED_MAX) throw new Error("too many requests at once");
      wanted.push(cid);
    },
  });

  async function serve(): Promise<void> {
    isServing = true;
    // The next is read while one leaves: it may lie on disk.
    for (let next = readNext(); next !== null; ) {
      const frame = await next;
      next = readNext();
      await answer(frame);
      next ??= readNext();
    }
    isServing = false;
  }

  function readNext(): Promise<Uint8Array> | null {
    const cid = wanted.shift();
    if (cid === undefined) return null;
    const moved = job === null ? undefined : ports.moved(job);
    if (moved === undefined) throw new Error("not named for this job any more");
    const frame = moved.answer(cid).then((found) => found ?? NOT_HERE);
    // Looked at in its turn; a stream that ends before must not make this an unhandled rejection.
    frame.catch(() => undefined);
    return frame;
  }

  /** In one piece where nothing holds it up: small ones cost twice, because a frame with its header is just more than one message of Noise holds. */
  async function answer(whole: Uint8Array): Promise<void> {
    let from = 0;
    for (let at = 0; at < whole.length; at += BULK_FRAME_BYTES_MAX) {
      const wait = ports.pacer.take(Math.min(BULK_FRAME_BYTES_MAX, whole.length - at));
      if (wait === null) continue;
      await send(whole.subarray(from, at));
      from = at;
      await wait;
    }
    await send(whole.subarray(from));
    ports.sent(whole.length - NOT_HERE.length);
  }

  /** What the peer does not read yet waits here, one chunk of it: there is no more memory behind a slow line than that and yamux's window. */
  async function send(frame: Uint8Array): Promise<void> {
    if (frame.length > 0 && !stream.send(frame)) await stream.onDrain();
  }

  function giveUp(error: unknown): void {
    wanted.length = 0;
    stream.abort(error instanceof Error ? error : new Error(String(error)));
  }

  stream.addEventListener("message", (event) => {
    try {
      reader.push(event.data as Received);
      if (!isServing) serve().catch(giveUp);
    } catch (error) {
      giveUp(error);
    }
  });
  stream.addEventListener("remoteCloseWrite", () => void stream.close().catch(giveUp));
}
