// The bulk socket of one worker: chunks in both directions, for the jobs it holds. Never read faster than the disk takes it, never sent faster than it reads.
import { randomBytes } from "node:crypto";
import type { RawData, WebSocket } from "ws";
import type { AccountId, WorkerId } from "@qubix/shared/domain";
import {
  BULK_FRAME_BYTES_MAX,
  BULK_WINDOW_BYTES_MAX,
  bulkRequestSchema,
  type BulkRequest,
  type BulkResponse,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { closeSocket } from "./closing.ts";
import { parseJson, readFrame } from "./frames.ts";
import type { LineMeasures } from "./line-measures.ts";
import {
  BULK_HEARD_MS,
  BULK_REQUESTS_MAX,
  BULK_UNSTORED_BYTES_MAX,
  BULK_UNSTORED_BYTES_TOTAL_MAX,
  CLOSE_CODES,
  RATE_PAUSE_MS,
} from "./limits.ts";
import type { SessionPorts } from "./port.ts";

type Put = BulkRequest & { readonly kind: "put" };
type Have = BulkRequest & { readonly kind: "have" };
type Get = BulkRequest & { readonly kind: "get" };
/** Whose job it is was looked up as it came: while memory is rebuilt that throws, and nobody is refused for it. */
type OwnedGet = Get & { readonly owner: AccountId | undefined };
type MeasureUp = BulkRequest & { readonly kind: "measure.up" };
type MeasureDown = BulkRequest & { readonly kind: "measure.down" };

/** What is sent to measure a line; at random, so that nothing on the way makes it shorter. */
const NOISE = randomBytes(BULK_FRAME_BYTES_MAX);

/** Codes of a store that has no room: the job's consumer is told too. */
const NO_ROOM: readonly string[] = ["storage_quota", "storage_full"];

type Proof = BulkRequest & { readonly kind: "proof" };

/** A request whose bytes are coming. */
interface Incoming {
  readonly what: string;
  readonly bytes: number;
  /** Of what is not awaited the bytes are dropped as they come. */
  readonly kept: boolean;
  readonly parts: Buffer[];
  received: number;
  /** Called once with all of it. */
  readonly whole: (parts: readonly Buffer[]) => void;
}

/** Shared by all bulk sockets. */
export interface BulkBudget {
  unstored: number;
}

export interface BulkOptions {
  readonly budget: BulkBudget;
  readonly measures: LineMeasures;
  readonly ws: WebSocket;
  readonly workerId: WorkerId;
  readonly nowMs: () => number;
  /** A sign of life, at most every {@link BULK_HEARD_MS}. */
  readonly onHeard: () => void;
}

/** Takes over an authenticated bulk socket. */
export function serveBulk(
  ports: Pick<SessionPorts, "writer" | "fleet" | "chunks" | "proofs" | "logger">,
  options: BulkOptions,
): void {
  const { writer, fleet, chunks, proofs, logger } = ports;
  const { ws, workerId, budget, measures, nowMs, onHeard } = options;
  const gets: (OwnedGet | MeasureDown)[] = [];
  let getting = false;
  let incoming: Incoming | undefined;
  let unstored = 0;
  let open = 0;
  let paused = false;
  let heardAtMs = Number.NEGATIVE_INFINITY;

  const send = (response: BulkResponse): void => {
    if (ws.readyState === ws.OPEN) ws.send(JSON.stringify(response));
  };

  const refuse = (req: number, error: unknown): void => {
    if (error instanceof QubixError) return send({ kind: "refused", req, code: error.code, message: error.message });
    logger.error({ event: "bulk_failed", workerId, err: error }, "a bulk request failed");
    send({
      kind: "refused",
      req,
      code: "internal_error",
      message: "The orchestrator met a fault; its operator finds it in the log.",
    });
  };

  /** Counts a request until its work is done, and stops reading while there are too many or too much. */
  const track = (req: number, work: Promise<void>): void => {
    open += 1;
    if (full()) pause();
    void work
      .catch((error: unknown) => refuse(req, error))
      .finally(() => {
        open -= 1;
        resume();
      });
  };

  const full = (): boolean =>
    open >= BULK_REQUESTS_MAX ||
    unstored >= BULK_UNSTORED_BYTES_MAX ||
    budget.unstored >= BULK_UNSTORED_BYTES_TOTAL_MAX;

  const pause = (): void => {
    if (paused) return;
    paused = true;
    ws.pause();
    // Others may be what fills the common budget: look again without work of our own.
    setTimeout(recheck, RATE_PAUSE_MS).unref();
  };
  const recheck = (): void => {
    resume();
    if (paused && ws.readyState === ws.OPEN) setTimeout(recheck, RATE_PAUSE_MS).unref();
  };
  const resume = (): void => {
    if (!paused || full()) return;
    paused = false;
    if (ws.readyState === ws.OPEN) ws.resume();
  };

  // ── Requests ──

  const have = async ({ req, jobId, cids }: Have, owner: AccountId | undefined): Promise<void> => {
    const missing = await chunks.missing(ownerOrThrow(owner), jobId, cids, workerId);
    send({ kind: "missing", req, cids: [...missing] });
  };

  const takePut = (request: Put): Incoming => {
    const owner = fleet.ownerOf(workerId, request.jobId);
    const whole = (parts: readonly Buffer[]): void => {
      unstored += request.stored;
      budget.unstored += request.stored;
      track(request.req, store(request, owner, parts));
    };
    return { what: `chunk ${request.cid}`, bytes: request.stored, kept: true, parts: [], received: 0, whole };
  };

  /** At most one awaited answer a challenge, and no larger than its challenge makes it: that bounds what is kept of it. */
  const takeProof = ({ req, challengeId, bytes }: Proof): Incoming => {
    const kept = proofs.awaits(workerId, challengeId, bytes);
    const whole = (parts: readonly Buffer[]): void => track(req, answer(req, challengeId, Buffer.concat(parts)));
    return { what: `the answer of ${challengeId}`, bytes, kept, parts: [], received: 0, whole };
  };

  const answer = async (req: number, challengeId: string, bytes: Buffer): Promise<void> => {
    await proofs.answered(workerId, challengeId, bytes);
    send({ kind: "stored", req });
  };

  const store = async (request: Put, owner: AccountId | undefined, parts: readonly Buffer[]): Promise<void> => {
    try {
      await chunks.put(ownerOrThrow(owner), request.jobId, request.cid, parts, workerId);
      send({ kind: "stored", req: request.req });
    } catch (error) {
      if (error instanceof QubixError && NO_ROOM.includes(error.code)) {
        const { code, message } = error;
        writer.submitVolatile({ kind: "storage.refused", workerId, jobId: request.jobId, code, message });
      }
      throw error;
    } finally {
      unstored -= request.stored;
      budget.unstored -= request.stored;
    }
  };

  /** Counted and thrown away. */
  const takeMeasure = ({ req, bytes }: MeasureUp): Incoming => {
    const isAllowed = measures.take(workerId, "up", nowMs());
    const whole = () => (isAllowed ? send({ kind: "stored", req }) : refuse(req, measuredTooOften()));
    return { what: "a measure of the line", bytes, kept: false, parts: [], received: 0, whole };
  };

  const takeGet = (get: OwnedGet | MeasureDown): void => {
    if (gets.length >= BULK_REQUESTS_MAX) return close(`more than ${BULK_REQUESTS_MAX} requests wait`);
    gets.push(get);
    if (!getting) void serveGets();
  };

  const serveGets = async (): Promise<void> => {
    getting = true;
    for (let get = gets.shift(); get !== undefined; get = gets.shift()) {
      const { req } = get;
      await (get.kind === "get" ? serveGet(get) : serveMeasure(get)).catch((error: unknown) => refuse(req, error));
    }
    getting = false;
  };

  const serveGet = async ({ req, cid, owner }: OwnedGet): Promise<void> => {
    const bytes = await chunks.get(ownerOrThrow(owner), cid);
    if (bytes === undefined) {
      throw new QubixError("chunk_unknown", `There is no chunk ${cid} for this job.`, {
        category: "user",
        status: 404,
      });
    }
    await sendData(req, bytes.length, (at) => bytes.subarray(at, at + BULK_FRAME_BYTES_MAX));
  };

  const serveMeasure = async ({ req, bytes }: MeasureDown): Promise<void> => {
    if (!measures.take(workerId, "down", nowMs())) throw measuredTooOften();
    await sendData(req, bytes, (at) => NOISE.subarray(0, Math.min(NOISE.length, bytes - at)));
  };

  const sendData = async (req: number, bytes: number, frameAt: (at: number) => Buffer): Promise<void> => {
    send({ kind: "data", req, stored: bytes });
    for (let at = 0; at < bytes && ws.readyState === ws.OPEN; at += BULK_FRAME_BYTES_MAX) {
      const sent = sendBinary(ws, frameAt(at));
      // What waits in our memory is bounded: beyond the window each frame waits until the one before it has left.
      if (ws.bufferedAmount > BULK_WINDOW_BYTES_MAX) await sent;
    }
  };

  // ── Frames ──

  const onText = (data: RawData): void => {
    if (incoming !== undefined) return close(`bytes of ${incoming.what} were expected`);
    const frame = readFrame(bulkRequestSchema, parseJson(data, false));
    if (frame.kind === "malformed") return close(frame.why);
    const request = frame.value;
    switch (request.kind) {
      case "have":
        return track(request.req, have(request, fleet.ownerOf(workerId, request.jobId)));
      case "put":
        incoming = takePut(request);
        return;
      case "proof":
        incoming = takeProof(request);
        return;
      case "measure.up":
        incoming = takeMeasure(request);
        return;
      case "get":
        return takeGet({ ...request, owner: fleet.ownerOf(workerId, request.jobId) });
      case "measure.down":
        return takeGet(request);
    }
  };

  const onBinary = (data: Buffer): void => {
    if (incoming === undefined) return close("bytes came that no request named");
    if (data.length > BULK_FRAME_BYTES_MAX) return close(`a frame has at most ${BULK_FRAME_BYTES_MAX} bytes`);
    incoming.received += data.length;
    if (incoming.received > incoming.bytes) return close("more bytes came than the request named");
    if (incoming.kept) incoming.parts.push(data);
    if (incoming.received < incoming.bytes) return;
    const { whole, parts } = incoming;
    incoming = undefined;
    whole(parts);
  };

  const close = (why: string): void => {
    logger.warn({ event: "malformed_bulk", workerId, why }, "disconnected");
    closeSocket(ws, CLOSE_CODES.malformed, why);
  };

  ws.on("message", (data: RawData, isBinary: boolean) => {
    const now = nowMs();
    if (now - heardAtMs >= BULK_HEARD_MS) {
      heardAtMs = now;
      onHeard();
    }
    try {
      if (isBinary) onBinary(data as Buffer);
      else onText(data);
    } catch (error) {
      // While memory is rebuilt nobody knows who holds what.
      logger.warn({ event: "bulk_not_served", workerId, err: error }, "disconnected");
      closeSocket(ws, CLOSE_CODES.tryLater, "the orchestrator is not ready, try again later");
    }
  });
  ws.once("close", () => {
    gets.length = 0;
    incoming = undefined;
  });
}

function sendBinary(ws: WebSocket, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => ws.send(bytes, { binary: true }, () => resolve()));
}

function measuredTooOften(): QubixError {
  return new QubixError("measured_too_often", "This line was measured a moment ago; try again in ten minutes.", {
    category: "user",
    status: 429,
  });
}

function ownerOrThrow(owner: AccountId | undefined): AccountId {
  if (owner !== undefined) return owner;
  throw new QubixError("not_held", "This worker holds no attempt and no standby of that job (any more).", {
    category: "conflict",
  });
}
