// The bulk socket: chunks to and from the store, on a line of their own so that they never delay a heartbeat. Opened when needed; a request that
// a cut line interrupts is asked again when the line is back, because each is idempotent.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { RawData, WebSocket } from "ws";
import type { ChunkCid, JobId } from "@qubix/shared/domain";
import {
  BULK_FRAME_BYTES_MAX,
  BULK_WINDOW_BYTES_MAX,
  type BulkRequest,
  type BulkResponse,
  bulkResponseSchema,
  CHUNK_STORED_BYTES_MAX,
  LINE_MEASURE_BYTES_MAX,
} from "@qubix/shared/protocol";
import { type Logger, QubixError } from "@qubix/shared/runtime";
import { createBackoff } from "./backoff.ts";
import { type LinkIdentity, openSocket, textOf } from "./handshake.ts";
import { createUplinkPacer, type Pacer } from "./pacer.ts";
import { createWindow } from "./window.ts";

/** A line on which a request gets no answer for this long is opened anew. */
const ANSWER_TIMEOUT_MS = 60_000;
/** An unused line is closed: the orchestrator has thousands of them. */
const IDLE_CLOSE_MS = 120_000;
/** Lines lost under one request before it is given up: it may be what breaks them. */
const LINES_LOST_MAX = 20;
/** Requests asked and not answered; the orchestrator bounds them too. */
const REQUESTS_MAX = 16;

export interface BulkLink {
  missing(jobId: JobId, cids: readonly ChunkCid[], signal: AbortSignal): Promise<ReadonlySet<ChunkCid>>;
  put(jobId: JobId, cid: ChunkCid, stored: Uint8Array, signal: AbortSignal): Promise<void>;
  get(jobId: JobId, cid: ChunkCid, signal: AbortSignal): Promise<Uint8Array>;
  /** The answer of a challenge; resolves when it is judged, whatever the verdict. */
  proof(challengeId: string, answer: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Sends or asks for `bytes` that nobody needs; the milliseconds until all of them were there. Not tried again on a line that is cut. */
  measure(way: "up" | "down", bytes: number, signal: AbortSignal): Promise<number>;
  stop(): void;
}

type RequestBody = BulkRequest extends infer R ? (R extends unknown ? Omit<R, "req"> : never) : never;
interface Answer {
  readonly response: BulkResponse;
  readonly bytes: Uint8Array | null;
}
interface Waiting {
  /** The bytes of the answer are counted and thrown away. */
  readonly isMeasure: boolean;
  resolve(answer: Answer): void;
  reject(error: Error): void;
}
interface Line {
  readonly socket: WebSocket;
  readonly waiting: Map<number, Waiting>;
  nextReq: number;
  /** Settles when the last request has left: the bytes of one follow its header, and nothing comes between. */
  sent: Promise<void>;
  heardAtMs: number;
  /** The answer whose bytes are arriving. */
  arriving: {
    readonly response: Extract<BulkResponse, { kind: "data" }>;
    /** Null where the bytes only measure the line. */
    readonly parts: Buffer[] | null;
    left: number;
  } | null;
}

export function createBulkLink(ports: {
  readonly identity: LinkIdentity;
  readonly logger: Logger;
  random(): number;
  /** The owner's cap on what leaves, shared with his other lines; none without it. */
  readonly pacer?: Pacer;
}): BulkLink {
  const life = new AbortController();
  const pacer = ports.pacer ?? createUplinkPacer(() => null);
  const window = createWindow({
    bytesMax: BULK_WINDOW_BYTES_MAX,
    requestsMax: REQUESTS_MAX,
    nowMs: () => performance.now(),
  });
  let line: Promise<Line> | null = null;
  let idle: NodeJS.Timeout | null = null;
  let busy = 0;

  async function measure(way: "up" | "down", bytes: number, signal: AbortSignal): Promise<number> {
    busy += 1;
    try {
      const open = await opened(signal);
      const payload = way === "up" ? randomBytes(bytes) : null;
      const begunMs = performance.now();
      accepted(await ask(open, pacer, { kind: `measure.${way}`, bytes }, payload, signal));
      return performance.now() - begunMs;
    } finally {
      busy -= 1;
      closeWhenIdle();
    }
  }

  async function request(body: RequestBody, payload: Uint8Array | null, signal: AbortSignal): Promise<Answer> {
    const release = await window.enter(payload?.length ?? 0, signal);
    busy += 1;
    try {
      for (let lost = 0; ; lost += 1) {
        signal.throwIfAborted();
        try {
          const open = await opened(signal);
          return accepted(await ask(open, pacer, body, payload, signal));
        } catch (error) {
          signal.throwIfAborted();
          if (!isLineLost(error) || lost >= LINES_LOST_MAX) throw error;
        }
      }
    } finally {
      busy -= 1;
      release();
      closeWhenIdle();
    }
  }

  /** The present line, or a new one; waits for as long as it takes. One that is being closed may take long to close, and is not waited for. */
  async function opened(signal: AbortSignal): Promise<Line> {
    const present = line;
    if (present !== null) {
      const own = await raceAbort(present, signal);
      if (own.socket.readyState === own.socket.OPEN) return own;
      if (line === present) line = null;
    }
    line ??= connect();
    return raceAbort(line, signal);
  }

  async function connect(): Promise<Line> {
    const backoff = createBackoff(() => ports.random());
    for (;;) {
      life.signal.throwIfAborted();
      try {
        return await openSocket(ports.identity, "bulk", life.signal, hold);
      } catch (error) {
        ports.logger.debug({ event: "bulk_failed", err: error }, "no bulk line");
        await sleep(backoff.next(), undefined, { signal: life.signal });
      }
    }
  }

  function hold(socket: WebSocket): Line {
    const own: Line = {
      socket,
      waiting: new Map(),
      nextReq: 1,
      sent: Promise.resolve(),
      heardAtMs: performance.now(),
      arriving: null,
    };
    const watch = setInterval(() => {
      if (own.waiting.size > 0 && performance.now() - own.heardAtMs > ANSWER_TIMEOUT_MS) socket.terminate();
    }, ANSWER_TIMEOUT_MS / 10);
    socket.on("message", (data: RawData, isBinary: boolean) => {
      own.heardAtMs = performance.now();
      if (!receive(own, data, isBinary)) socket.close(4000, "not the bulk protocol");
    });
    socket.on("close", () => {
      clearInterval(watch);
      const waiting = [...own.waiting.values()];
      own.waiting.clear();
      for (const one of waiting) one.reject(lineLost());
    });
    return own;
  }

  function closeWhenIdle(): void {
    if (idle !== null) clearTimeout(idle);
    idle = setTimeout(() => {
      if (busy > 0 || line === null) return;
      void line.then((own) => own.socket.close(1000, "idle")).catch(() => undefined);
    }, IDLE_CLOSE_MS);
    idle.unref();
  }

  return {
    async missing(jobId, cids, signal) {
      const { response } = await request({ kind: "have", jobId, cids: [...cids] }, null, signal);
      return new Set(response.kind === "missing" ? response.cids : []);
    },
    async put(jobId, cid, stored, signal) {
      await request({ kind: "put", jobId, cid, stored: stored.length }, stored, signal);
    },
    async get(jobId, cid, signal) {
      const { bytes } = await request({ kind: "get", jobId, cid }, null, signal);
      if (bytes === null) throw new QubixError("bulk_protocol", "an answer without bytes", { category: "platform" });
      return bytes;
    },
    async proof(challengeId, answer, signal) {
      await request({ kind: "proof", challengeId, bytes: answer.length }, answer, signal);
    },
    measure,
    stop() {
      life.abort();
      if (idle !== null) clearTimeout(idle);
      void line?.then((own) => own.socket.terminate()).catch(() => undefined);
    },
  };
}

function ask(
  own: Line,
  pacer: Pacer,
  body: RequestBody,
  payload: Uint8Array | null,
  signal: AbortSignal,
): Promise<Answer> {
  if (own.socket.readyState !== own.socket.OPEN) return Promise.reject(lineLost());
  const req = own.nextReq++;
  // A line that was idle has been silent for long: the answer's time begins now.
  if (own.waiting.size === 0) own.heardAtMs = performance.now();
  const answer = new Promise<Answer>((resolve, reject) =>
    own.waiting.set(req, { isMeasure: body.kind === "measure.down", resolve, reject }),
  );
  // Who asked may give up meanwhile: what has begun to leave leaves whole all the same, or the line would be of no use to others.
  own.sent = own.sent.then(async () => {
    if (signal.aborted) own.waiting.delete(req);
    else await transmit(own, pacer, JSON.stringify({ ...body, req }), payload);
  });
  return raceAbort(answer, signal);
}

/** Sends a header and what belongs to it, as fast as the owner allows. A line that closes meanwhile has told those who wait. */
async function transmit(own: Line, pacer: Pacer, header: string, payload: Uint8Array | null): Promise<void> {
  if (own.socket.readyState !== own.socket.OPEN) return;
  own.socket.send(header);
  if (payload === null) return;
  for (let at = 0; at < payload.length; at += BULK_FRAME_BYTES_MAX) {
    const frame = payload.subarray(at, at + BULK_FRAME_BYTES_MAX);
    const wait = pacer.take(frame.length);
    if (wait !== null) {
      await wait;
      // We were the slow ones, not the line.
      own.heardAtMs = performance.now();
    }
    if (own.socket.readyState !== own.socket.OPEN) return;
    own.socket.send(frame);
  }
}

/** False for what does not belong here. */
function receive(own: Line, data: RawData, isBinary: boolean): boolean {
  if (isBinary) return receiveBytes(own, data);
  if (own.arriving !== null) return false;
  const parsed = parseResponse(data);
  if (parsed === undefined) return false;
  if (parsed.kind === "data") {
    const isMeasure = own.waiting.get(parsed.req)?.isMeasure ?? false;
    if (parsed.stored > (isMeasure ? LINE_MEASURE_BYTES_MAX : CHUNK_STORED_BYTES_MAX)) return false;
    own.arriving = { response: parsed, parts: isMeasure ? null : [], left: parsed.stored };
    return true;
  }
  finish(own, { response: parsed, bytes: null });
  return true;
}

function receiveBytes(own: Line, data: RawData): boolean {
  const { arriving } = own;
  const bytes = Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data as Buffer);
  if (arriving === null || bytes.length > arriving.left) return false;
  arriving.parts?.push(bytes);
  arriving.left -= bytes.length;
  if (arriving.left > 0) return true;
  own.arriving = null;
  finish(own, { response: arriving.response, bytes: Buffer.concat(arriving.parts ?? []) });
  return true;
}

function finish(own: Line, answer: Answer): void {
  const waiting = own.waiting.get(answer.response.req);
  own.waiting.delete(answer.response.req);
  waiting?.resolve(answer);
}

function parseResponse(data: RawData): BulkResponse | undefined {
  try {
    return bulkResponseSchema.parse(JSON.parse(textOf(data)));
  } catch {
    return undefined;
  }
}

function accepted(answer: Answer): Answer {
  const { response } = answer;
  if (response.kind !== "refused") return answer;
  throw new QubixError(response.code, `The orchestrator's store refused: ${response.message}`, {
    category: "platform",
  });
}

function lineLost(): QubixError {
  return new QubixError("line_lost", "The line to the orchestrator's store was cut", {
    category: "platform",
    retryable: true,
  });
}

function isLineLost(error: unknown): boolean {
  return error instanceof QubixError && error.code === "line_lost";
}

function raceAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    void work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
