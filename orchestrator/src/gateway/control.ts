// The control socket of one worker after its welcome: messages go to the writer in the order they came, heartbeats by the cheapest way.
import type { Duplex } from "node:stream";
import type { RawData, WebSocket } from "ws";
import type { SessionId, WorkerId } from "@qubix/shared/domain";
import { type OrchestratorMessage, stoppedText, toWireMoney, type WorkerMessage } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import type { TreeContent } from "../core/index.ts";
import { closeSocket } from "./closing.ts";
import { parseJson, readWorkerMessage } from "./frames.ts";
import {
  CLOSE_CODES,
  MESSAGES_BURST_MAX,
  MESSAGES_PER_S_MAX,
  OUTGOING_BYTES_MAX,
  QUEUED_MESSAGES_MAX,
  RATE_PAUSE_MS,
} from "./limits.ts";
import type { SessionPorts } from "./port.ts";
import { checkSealingKey } from "./sealing-keys.ts";
import { verifySignature } from "./signatures.ts";
import { tickFacts } from "./ticks.ts";
import { proveTree, treeOf } from "./trees.ts";

export interface ControlSession {
  readonly workerId: WorkerId;
  readonly sessionId: SessionId;
  send(message: OrchestratorMessage): void;
  /** Frames sent since the last flush leave together. */
  flush(): void;
  close(code: number, reason: string): void;
  /** From here on its end is nobody's business: another connection took its place. */
  detach(): void;
}

export interface ControlOptions {
  readonly ws: WebSocket;
  readonly stream: Duplex;
  readonly workerId: WorkerId;
  /** The key it was enrolled with, which has just signed. */
  readonly publicKey: string;
  readonly sessionId: SessionId;
  readonly nowMs: () => number;
  readonly onClosed: () => void;
}

/** Takes over an authenticated socket. */
export function createControlSession(ports: SessionPorts, options: ControlOptions): ControlSession {
  const { writer, proofs, logger } = ports;
  const { ws, stream, workerId, publicKey, sessionId, nowMs, onClosed } = options;
  const waiting: WorkerMessage[] = [];
  let busy = false;
  let corked = false;
  let detached = false;
  let paused = false;
  let tokens = MESSAGES_BURST_MAX;
  let tokensAtMs = nowMs();

  const send = (message: OrchestratorMessage): void => {
    if (ws.readyState !== ws.OPEN) return;
    if (ws.bufferedAmount > OUTGOING_BYTES_MAX) {
      logger.warn({ event: "worker_reads_slowly", workerId, sessionId }, "disconnected");
      ws.terminate();
      return;
    }
    if (!corked) {
      corked = true;
      stream.cork();
    }
    ws.send(encode(message));
  };

  const flush = (): void => {
    if (!corked) return;
    corked = false;
    stream.uncork();
  };

  const answer = (message: OrchestratorMessage): void => {
    send(message);
    flush();
  };

  const close = (code: number, reason: string): void => {
    flush();
    closeSocket(ws, code, reason);
  };

  // ── Reading ──

  const pause = (): void => {
    if (paused) return;
    paused = true;
    ws.pause();
  };
  const resume = (): void => {
    if (!paused || waiting.length >= QUEUED_MESSAGES_MAX) return;
    paused = false;
    if (ws.readyState === ws.OPEN) ws.resume();
  };

  const throttle = (): void => {
    tokens -= 1;
    if (tokens > 0) return;
    const now = nowMs();
    tokens = Math.min(MESSAGES_BURST_MAX, tokens + ((now - tokensAtMs) * MESSAGES_PER_S_MAX) / 1000);
    tokensAtMs = now;
    if (tokens > 0) return;
    pause();
    setTimeout(resume, RATE_PAUSE_MS).unref();
  };

  const onMessage = (data: RawData, isBinary: boolean): void => {
    const frame = readWorkerMessage(parseJson(data, isBinary));
    if (frame.kind === "malformed") {
      logger.warn({ event: "malformed_message", workerId, sessionId, why: frame.why }, "disconnected");
      return close(CLOSE_CODES.malformed, frame.why);
    }
    throttle();
    const message = checked(frame.value);
    if (message.kind === "heartbeat") {
      writer.submitVolatile({ kind: "worker.message", workerId, sessionId, message });
      return;
    }
    if (message.kind === "stopped" && !verifySignature(publicKey, stoppedText(message.attempt), message.signature)) {
      return answer({ kind: "refused", re: message.msg, code: "signature_invalid", message: STOPPED_UNSIGNED });
    }
    if (message.kind === "proof.commit" || message.kind === "proof.failed") proofs.heard(workerId, message);
    if (!busy && treeOf(message) === null) return pass(message, () => {});
    waiting.push(message);
    if (waiting.length >= QUEUED_MESSAGES_MAX) pause();
    if (!busy) void drain();
  };

  const checked = (received: WorkerMessage): WorkerMessage => {
    const { message, forged } = checkSealingKey(received, { id: workerId, publicKey });
    if (forged)
      logger.warn({ event: "sealing_key_unsigned", workerId }, "the key for secrets was left out of its offer");
    return message;
  };

  /** One that brings a tree is proven before those behind it are passed on. Never rejects. */
  const drain = async (): Promise<void> => {
    busy = true;
    for (let message = waiting.shift(); message !== undefined; message = waiting.shift()) {
      await prove(message);
      resume();
    }
    busy = false;
  };

  const prove = async (message: WorkerMessage): Promise<void> => {
    try {
      const tree = treeOf(message);
      if (tree === null || (message.kind !== "checkpoint" && message.kind !== "ended")) return pass(message, () => {});
      const proof = await proveTree(ports, workerId, message, tree);
      if (proof.kind === "pass") pass(proof.message, proof.settle, proof.content);
      else answer({ kind: "refused", re: message.msg, code: proof.code, message: proof.message });
    } catch (error) {
      logger.error({ event: "tree_not_proven", workerId, sessionId, err: error }, "disconnected");
      close(CLOSE_CODES.tryLater, "the orchestrator could not read its chunks, try again later");
    }
  };

  /** Hands a message to the core, whose own answer comes as an effect. Only what went wrong is answered here. */
  const pass = (message: WorkerMessage, settle: (accepted: boolean) => void, content?: TreeContent): void => {
    if (detached) return settle(false);
    const known = content === undefined ? {} : { content };
    const tick = message.kind === "tick" ? { tick: tickFacts(writer, publicKey, message) } : {};
    writer
      .submit({ kind: "worker.message", workerId, sessionId, message, ...known, ...tick })
      .then((reply) => settle(reply.kind !== "refused"))
      .catch((error: unknown) => {
        settle(false);
        onFailure(message, error);
      });
  };

  const onFailure = (message: WorkerMessage, error: unknown): void => {
    if (error instanceof QubixError && error.retryable) return close(CLOSE_CODES.tryLater, error.message);
    answer({
      kind: "refused",
      re: message.msg,
      code: error instanceof QubixError ? error.code : "internal_error",
      message: "The orchestrator met a fault with this message; its operator finds it in the log.",
    });
  };

  ws.on("message", (data: RawData, isBinary: boolean) => {
    try {
      onMessage(data, isBinary);
    } catch (error) {
      // While memory is rebuilt, or the store cannot be read, there is nothing to look its message up in. Uncaught, it would end everybody's session.
      logger.error({ event: "message_not_taken", workerId, sessionId, err: error }, "disconnected");
      close(CLOSE_CODES.tryLater, "the orchestrator is not ready, try again later");
    }
  });
  ws.once("close", () => {
    waiting.length = 0;
    if (!detached) onClosed();
  });

  return {
    workerId,
    sessionId,
    send,
    flush,
    close,
    detach: () => {
      detached = true;
    },
  };
}

const STOPPED_UNSIGNED = "The word that a container is over is not signed by this worker: its lease is waited for.";

/** Most frames are acknowledgements; their text needs no serialiser. Amounts are decimal strings on the wire. */
function encode(message: OrchestratorMessage): string {
  if (message.kind === "ack") return `{"kind":"ack","re":${message.re}}`;
  if (message.kind !== "earnings") return JSON.stringify(message);
  return JSON.stringify({
    ...message,
    totals: message.totals.map((money) => toWireMoney(money.amount, money.currency)),
  });
}
