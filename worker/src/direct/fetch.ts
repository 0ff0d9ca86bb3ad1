// The standby's side of a stream: asks for chunks, many at once, and checks what comes by its name. Whatever goes wrong is an answer too: the chunk is then
// fetched from the orchestrator, and after the first trouble the stream is not used any more.
import type { ChunkCid, JobId } from "@qubix/shared/domain";
import { isNamed } from "../checkpoint/cid.ts";
import type { DirectPath, DirectStream } from "./node.ts";
import { ASKED_MAX, createAnswerReader, nameFrame, type Received } from "./wire.ts";

/** Answers are late when nothing came for so long: a line that is up brings at least a frame in this time, and a standby has no longer to waste. */
const SILENT_MS_MAX = 2_000;

/** Why a stream ended. `corrupt`: the peer gave other bytes than were asked for. */
export type FetchEnd = "closed" | "silent" | "corrupt" | "protocol";

export interface Fetcher {
  readonly path: DirectPath;
  /** Its bytes, checked, the caller's from then on; `null` where the peer does not have it, undefined where nothing is to be had on this stream (now). */
  get(cid: ChunkCid): Promise<Uint8Array | null | undefined>;
  close(): void;
}

interface Asked {
  readonly cid: ChunkCid;
  readonly settle: (bytes: Uint8Array | null | undefined) => void;
}

export function createFetcher(
  jobId: JobId,
  { stream, path }: { readonly stream: DirectStream; readonly path: DirectPath },
  ended: (why: FetchEnd) => void,
): Fetcher {
  const asked: Asked[] = [];
  let isOver = false;
  let heardAtMs = performance.now();
  let watch: NodeJS.Timeout | null = null;

  const reader = createAnswerReader((bytes) => {
    const first = asked.shift();
    if (first === undefined) throw new Error("an answer that nobody asked for");
    if (asked.length === 0) unwatch();
    if (bytes === undefined) return first.settle(null);
    void check(first, bytes);
  });

  async function check({ cid, settle }: Asked, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const isRight = await isNamed(cid, bytes);
    settle(isRight ? bytes : undefined);
    if (!isRight) end("corrupt");
  }

  function end(why: FetchEnd): void {
    if (isOver) return;
    isOver = true;
    unwatch();
    for (const { settle } of asked.splice(0)) settle(undefined);
    if (why !== "closed") stream.abort(new Error(`the direct path is not used: ${why}`));
    ended(why);
  }

  function look(): void {
    if (performance.now() - heardAtMs > SILENT_MS_MAX) end("silent");
  }

  function unwatch(): void {
    if (watch !== null) clearInterval(watch);
    watch = null;
  }

  stream.addEventListener("message", (event) => {
    heardAtMs = performance.now();
    try {
      reader.push(event.data as Received);
    } catch {
      end("protocol");
    }
  });
  stream.addEventListener("close", () => end("closed"));
  stream.addEventListener("remoteCloseWrite", () => end("closed"));
  stream.send(nameFrame(jobId));

  return {
    path,
    get(cid) {
      if (isOver || asked.length >= ASKED_MAX) return Promise.resolve(undefined);
      if (asked.length === 0) heardAtMs = performance.now();
      watch ??= setInterval(look, SILENT_MS_MAX / 4);
      return new Promise((settle) => {
        asked.push({ cid, settle });
        try {
          // Names are small, and no more than ASKED_MAX of them are under way: they need not wait for room.
          stream.send(nameFrame(cid));
        } catch {
          end("closed");
        }
      });
    },
    close() {
      end("closed");
      void stream.close().catch(() => undefined);
    },
  };
}
