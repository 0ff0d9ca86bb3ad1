// The control socket: one session at a time, opened again whenever it breaks. Numbers our messages, and matches answers to what they answer.
import { setTimeout as sleep } from "node:timers/promises";
import type { RawData, WebSocket } from "ws";
import { proofClaimText } from "@qubix/shared/proof";
import { checkpointText, type OrchestratorMessage, stoppedText, type TickHead, tickText } from "@qubix/shared/protocol";
import { type Logger, QubixError } from "@qubix/shared/runtime";
import type { WorkerMessageBody } from "../core/index.ts";
import { createBackoff } from "./backoff.ts";
import {
  closeError,
  isFinal,
  type LinkIdentity,
  openSocket,
  parseOrchestratorMessage,
  REPLACED,
  type Welcome,
} from "./handshake.ts";

/** A session without a frame for this many heartbeats is dead: TCP alone would notice minutes later, or never. */
const SILENT_HEARTBEATS_MAX = 3;
/** How often that is looked at: often enough for the shortest interval between heartbeats, and no oftener than the present one needs. */
const WATCH_EVERY_MS_MIN = 250;
const WATCHES_PER_HEARTBEAT = 4;
/** A peer that does not close in turn is not waited for. */
const CLOSE_WAIT_MS = 250;
/** A session that ends sooner does not count as one: an orchestrator that lets go at once is not asked again at once. */
const SESSION_STEADY_MS = 5_000;
/** Two agents with one identity would take each other's place for ever; this slows them down. */
const REPLACED_PAUSE_MS = 5_000;
/** Bytes that wait to leave. A line that is this far behind is better opened anew. */
const OUTBOX_BYTES_MAX = 16 * 1024 * 1024;
/** Messages whose answer is awaited; the oldest is forgotten beyond this, and said again at the next session if it matters. */
const UNANSWERED_MAX = 10_000;

/** Heartbeats whose answer is awaited: more than fit into the time after which a silent session ends. */
const BEATS_MAX = 64;

/** The code of a refusal for an attempt that is not its job's current one. */
const STALE = "stale_epoch";

type OrderMessage = Exclude<OrchestratorMessage, { kind: "challenge" | "welcome" | "ack" | "refused" }>;

export type LogBody = Extract<WorkerMessageBody, { kind: "log" }>;

export interface ControlEvents {
  opened(welcome: Welcome): void;
  closed(): void;
  order(message: OrderMessage): void;
  acknowledged(body: WorkerMessageBody): void;
  /** `head`: of a tick, from where its chain goes on. */
  refused(body: WorkerMessageBody, code: string, reason: string, head?: TickHead): void;
  /** Trying to connect did not work; `final` when it never will. */
  failed(error: QubixError, final: boolean): void;
}

export interface ControlPorts {
  readonly identity: LinkIdentity;
  readonly logger: Logger;
  /** 0 to 1. */
  random(): number;
  /** The present interval between heartbeats. */
  heartbeatMs(): number;
}

export interface ControlLink {
  start(events: ControlEvents): void;
  stop(): Promise<void>;
  isOpen(): boolean;
  /** False when there is no session: nothing is kept, the core says it again at the next one. */
  send(body: WorkerMessageBody): boolean;
  /** `answered` is called when it was, unless the session ends before. */
  sendHeartbeat(body: Extract<WorkerMessageBody, { kind: "heartbeat" }>, answered: () => void): void;
  /**
   * For output, which gets no answer of its own: `durable` is called when a later message is answered. The orchestrator answers after its commit,
   * and takes a session's messages in order; only heartbeats overtake what waits behind a tree that is being verified. It is called with false
   * when the output was refused because its attempt is not the current one.
   */
  sendLog(body: LogBody, durable: (taken: boolean) => void): boolean;
}

interface Session {
  readonly socket: WebSocket;
  readonly unanswered: Map<number, WorkerMessageBody>;
  /** By message number, oldest first; those behind an answered one are not waited for. */
  readonly beats: Map<number, () => void>;
  /** Output by message number, oldest first. */
  readonly logs: { readonly msg: number; readonly durable: (taken: boolean) => void }[];
  nextMsg: number;
  heardAtMs: number;
}

export function createControlLink(ports: ControlPorts): ControlLink {
  const { identity, logger } = ports;
  let session: Session | null = null;
  let life: AbortController | null = null;
  let running: Promise<void> = Promise.resolve();

  async function run(events: ControlEvents, signal: AbortSignal): Promise<void> {
    const backoff = createBackoff(() => ports.random());
    while (!signal.aborted) {
      try {
        const heldMs = await openSocket(identity, "control", signal, (socket, welcome) =>
          hold(socket, welcome, events, signal),
        );
        if (heldMs >= SESSION_STEADY_MS) backoff.reset();
      } catch (error) {
        if (signal.aborted) return;
        const problem = toProblem(error);
        logger.debug({ event: "link_failed", err: problem }, "no session");
        events.failed(problem, isFinal(problem));
        if (problem.code === REPLACED) await sleep(REPLACED_PAUSE_MS, undefined, { signal }).catch(() => undefined);
      }
      await sleep(backoff.next(), undefined, { signal }).catch(() => undefined);
    }
  }

  /** One session, from its welcome to its end; resolves with how long it lasted, in milliseconds. */
  function hold(socket: WebSocket, welcome: Welcome, events: ControlEvents, signal: AbortSignal): Promise<number> {
    const begunMs = performance.now();
    return new Promise((resolve, reject) => {
      const own: Session = {
        socket,
        unanswered: new Map(),
        beats: new Map(),
        logs: [],
        nextMsg: 1,
        heardAtMs: performance.now(),
      };
      const watch = watchdog(own, ports);
      const end = () => socket.close(1001, "the agent stops");
      signal.addEventListener("abort", end, { once: true });
      socket.on("message", (data: RawData, isBinary: boolean) => {
        own.heardAtMs = performance.now();
        if (!isBinary) receive(own, data, events);
      });
      socket.on("ping", () => {
        own.heardAtMs = performance.now();
      });
      socket.on("close", (code: number, reason: Buffer) => {
        watch.stop();
        signal.removeEventListener("abort", end);
        session = null;
        logger.info({ event: "session_closed", code, reason: reason.toString("utf8") }, "session closed");
        events.closed();
        const problem = closeError(code, reason.toString("utf8"));
        if (isFinal(problem) || problem.code === REPLACED) reject(problem);
        else resolve(performance.now() - begunMs);
      });
      session = own;
      logger.info({ event: "session_opened", sessionId: welcome.sessionId }, "session opened");
      events.opened(welcome);
    });
  }

  function receive(own: Session, data: RawData, events: ControlEvents): void {
    const message = parseOrchestratorMessage(data);
    if (message === undefined) {
      logger.warn({ event: "message_unknown" }, "the orchestrator sent something this version does not know");
      return;
    }
    if (message.kind === "ack" || message.kind === "refused") answer(own, message, events);
    else if (message.kind !== "challenge" && message.kind !== "welcome") events.order(message);
  }

  function answer(own: Session, message: Extract<OrchestratorMessage, { re: number }>, events: ControlEvents): void {
    const sent = own.unanswered.get(message.re);
    own.unanswered.delete(message.re);
    if (message.kind === "refused" && message.code === STALE) refuseLog(own, message.re);
    settleLogs(own, message.re);
    if (message.kind === "ack") settleBeat(own, message.re);
    if (sent === undefined) return;
    if (message.kind === "ack") return events.acknowledged(sent);
    logger.info({ event: "message_refused", kind: sent.kind, code: message.code }, message.message);
    events.refused(sent, message.code, message.message, message.head);
  }

  /** The message's number; undefined when there is no session. */
  function post(body: WorkerMessageBody): number | undefined {
    if (session === null || session.socket.readyState !== session.socket.OPEN) return undefined;
    const msg = session.nextMsg++;
    session.socket.send(encode(body, msg, identity));
    if (session.socket.bufferedAmount > OUTBOX_BYTES_MAX) {
      logger.warn({ event: "link_stuck" }, "the line does not drain; opening it anew");
      session.socket.terminate();
    }
    return msg;
  }

  return {
    start(events) {
      if (life !== null) return;
      life = new AbortController();
      running = run(events, life.signal);
    },
    async stop() {
      life?.abort();
      life = null;
      const closing = session?.socket;
      const force = setTimeout(() => closing?.terminate(), CLOSE_WAIT_MS);
      await running;
      clearTimeout(force);
    },
    isOpen: () => session !== null,
    send(body) {
      const msg = post(body);
      if (msg === undefined) return false;
      if (body.kind !== "heartbeat" && session !== null) remember(session, msg, body);
      return true;
    },
    sendHeartbeat(body, answered) {
      const msg = post(body);
      if (msg === undefined || session === null) return;
      session.beats.set(msg, answered);
      if (session.beats.size > BEATS_MAX) session.beats.delete(session.beats.keys().next().value ?? msg);
    },
    sendLog(body, durable) {
      const msg = post(body);
      if (msg === undefined) return false;
      session?.logs.push({ msg, durable });
      return true;
    },
  };
}

function remember(own: Session, msg: number, body: WorkerMessageBody): void {
  own.unanswered.set(msg, body);
  if (own.unanswered.size <= UNANSWERED_MAX) return;
  for (const oldest of own.unanswered.keys()) {
    own.unanswered.delete(oldest);
    return;
  }
}

function settleBeat(own: Session, answered: number): void {
  const tell = own.beats.get(answered);
  if (tell === undefined) return;
  own.beats.delete(answered);
  tell();
}

/** Everything before the answered message has been taken, but for what may wait behind a tree that is not answered itself. */
function settleLogs(own: Session, answered: number): void {
  let before = answered;
  for (const [msg, { kind }] of own.unanswered) {
    if (kind !== "checkpoint" && kind !== "ended") continue;
    before = Math.min(before, msg);
    break;
  }
  const left = own.logs.findIndex((log) => log.msg > before);
  for (const log of own.logs.splice(0, left < 0 ? own.logs.length : left)) log.durable(true);
}

/** It was not taken. What was sent before it was, or its own refusal has come already: output is answered in order. */
function refuseLog(own: Session, refused: number): void {
  const index = own.logs.findIndex((log) => log.msg === refused);
  for (const log of own.logs.splice(0, index + 1)) log.durable(log.msg !== refused);
}

/** Ends a session on which nothing is heard. Its own clock may have stood still (a suspended machine): then it first listens again. */
function watchdog(own: Session, ports: ControlPorts): { stop(): void } {
  const everyMs = () => Math.max(WATCH_EVERY_MS_MIN, ports.heartbeatMs() / WATCHES_PER_HEARTBEAT);
  let waitMs = everyMs();
  let lookedAtMs = performance.now();
  let timer = setTimeout(look, waitMs);
  function look(): void {
    const nowMs = performance.now();
    if (nowMs - lookedAtMs > 2 * waitMs) own.heardAtMs = nowMs;
    lookedAtMs = nowMs;
    if (nowMs - own.heardAtMs > SILENT_HEARTBEATS_MAX * ports.heartbeatMs()) {
      ports.logger.warn({ event: "session_silent" }, "nothing heard of the orchestrator; opening the line anew");
      return own.socket.terminate();
    }
    waitMs = everyMs();
    timer = setTimeout(look, waitMs);
  }
  return { stop: () => clearTimeout(timer) };
}

function encode(body: WorkerMessageBody, msg: number, identity: LinkIdentity): string {
  const text = textToSign(body);
  const signed = text === null ? body : { ...body, signature: identity.key.sign(text) };
  // Amounts are decimal strings on the wire.
  return JSON.stringify({ ...signed, msg }, (_key, value: unknown) =>
    typeof value === "bigint" ? value.toString() : value,
  );
}

function textToSign(body: WorkerMessageBody): string | null {
  if (body.kind === "checkpoint") return checkpointText(body);
  if (body.kind === "tick") return tickText(body);
  if (body.kind === "proof.commit") {
    return body.claim === undefined ? null : proofClaimText({ ...body, ...body.claim });
  }
  return body.kind === "stopped" ? stoppedText(body.attempt) : null;
}

function toProblem(error: unknown): QubixError {
  if (error instanceof QubixError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new QubixError("link_failed", message, { category: "platform", retryable: true, cause: error });
}
