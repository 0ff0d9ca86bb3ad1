// One job's peer, as the orchestrator named it: the pieces kept for it, or the stream to it and when the next one may be tried.
import type { ChunkCid, JobId } from "@qubix/shared/domain";
import type { OrchestratorMessage } from "@qubix/shared/protocol";
import type { Logger } from "@qubix/shared/runtime";
import { createFetcher, type Fetcher, type FetchEnd } from "./fetch.ts";
import type { MovedPieces } from "./moved.ts";
import type { DirectNode, DirectPath } from "./node.ts";

export type DirectOrder = Extract<OrchestratorMessage, { kind: "direct.peer" }>;
export type NamedPeer = NonNullable<DirectOrder["peer"]>;

/** A connection that does not come in this time does not come. Nobody waits for it: chunks come from the orchestrator meanwhile. */
const OPEN_MS_MAX = 15_000;
/** Pause before the next try, doubled up to the most. */
const RETRY_MS = 2_000;
const RETRY_MS_MAX = 60_000;
/** After a peer that gave wrong bytes: it is broken or bad, and neither mends soon. */
const WRONG_BYTES_PAUSE_MS = 30 * 60_000;

export interface Peer {
  readonly jobId: JobId;
  readonly named: NamedPeer;
  /** The orchestrator named it in this session. */
  confirmed: boolean;
  /** Of a primary, from its first tree on. */
  moved: MovedPieces | null;
  /** It has (other) addresses. */
  renamed(named: NamedPeer): void;
  /** Begins to connect if there is no stream and none is on its way; resolves when that is settled. */
  open(): Promise<void>;
  fetch(cid: ChunkCid): Promise<{ readonly bytes: Uint8Array; readonly path: DirectPath } | null | undefined>;
  path(): DirectPath | null;
  end(): Promise<void>;
}

export function createPeer(
  jobId: JobId,
  first: NamedPeer,
  ports: { readonly logger: Logger; node(): Promise<DirectNode>; nowMs(): number },
): Peer {
  const logger = ports.logger.child({ jobId });
  const life = new AbortController();
  let named = first;
  let fetcher: Fetcher | null = null;
  let opening: Promise<void> | null = null;
  let notBeforeMs = 0;
  let failures = 0;

  async function connect(): Promise<void> {
    const signal = AbortSignal.any([life.signal, AbortSignal.timeout(OPEN_MS_MAX)]);
    try {
      const node = await ports.node();
      await node.connect(named.publicKey, named.addresses, signal);
      if (named.as === "primary") return;
      const opened = await node.open(named.publicKey, signal);
      if (life.signal.aborted) {
        opened.stream.abort(new Error("not named any more"));
        return;
      }
      logger.info({ event: "direct_open", path: opened.path }, "checkpoints come from the primary itself");
      const made = createFetcher(jobId, opened, (why) => lost(made, why));
      fetcher = made;
    } catch (error) {
      if (life.signal.aborted) return;
      postpone(RETRY_MS * 2 ** failures);
      logger.debug({ event: "direct_failed", err: error }, "no direct path; checkpoints come from the orchestrator");
    }
  }

  function lost(which: Fetcher, why: FetchEnd): void {
    if (fetcher !== which) return;
    fetcher = null;
    if (life.signal.aborted) return;
    const isWrong = why === "corrupt" || why === "protocol";
    postpone(isWrong ? WRONG_BYTES_PAUSE_MS : RETRY_MS * 2 ** failures, isWrong);
    logger[isWrong ? "warn" : "info"](
      { event: "direct_ended", why },
      "the direct path ended; checkpoints come from the orchestrator",
    );
  }

  function postpone(ms: number, isLong = false): void {
    failures = Math.min(failures + 1, 10);
    notBeforeMs = ports.nowMs() + (isLong ? ms : Math.min(ms, RETRY_MS_MAX));
  }

  const own: Peer = {
    jobId,
    get named() {
      return named;
    },
    confirmed: true,
    moved: null,
    renamed(next) {
      const isElsewhere = next.addresses.join(" ") !== named.addresses.join(" ");
      named = next;
      if (isElsewhere && failures > 0 && notBeforeMs - ports.nowMs() <= RETRY_MS_MAX) notBeforeMs = 0;
    },
    open() {
      if (fetcher !== null || life.signal.aborted || ports.nowMs() < notBeforeMs) return opening ?? Promise.resolve();
      opening ??= connect().finally(() => {
        opening = null;
      });
      return opening;
    },
    async fetch(cid) {
      if (named.as !== "standby") return undefined;
      const from = fetcher;
      if (from === null) {
        void own.open();
        return undefined;
      }
      const bytes = await from.get(cid);
      if (bytes === null || bytes === undefined) return bytes;
      failures = 0;
      return { bytes, path: from.path };
    },
    path: () => fetcher?.path ?? null,
    async end() {
      life.abort();
      fetcher?.close();
      await own.moved?.clear();
      own.moved = null;
    },
  };
  return own;
}
