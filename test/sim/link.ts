// A worker's line to the orchestrator as its shell keeps it: dials until somebody answers, numbers messages, matches answers, gives silent lines up.
// It lives as long as the agent's process.
import type { OrchestratorMessage } from "@qubix/shared/protocol";
import type { WorkerCoreEvent, WorkerMessageBody } from "@qubix/worker/core";
import type { WorkerId } from "@qubix/shared/domain";
import type { Monitor } from "./monitor.ts";
import { connect, type Connection, type Path } from "./network.ts";
import type { OrchestratorNode } from "./orchestrator.ts";
import type { World } from "./world.ts";

export interface Link {
  dial(): void;
  /** Does nothing without an open session. */
  send(message: WorkerMessageBody): void;
  /** Whether what is sent in bulk would arrive now. */
  isReachable(): boolean;
  /** Gives the line up when it was silent for too long. */
  watch(isBusy: boolean): void;
  /** The process dies and its sockets close. */
  die(): void;
  /** The line breaks; each side learns of it, or does not. */
  cut(tells: { readonly worker: boolean; readonly orchestrator: boolean }): void;
}

export interface LinkSetup {
  readonly workerId: WorkerId;
  readonly path: Path;
  /** Claims more container time than there was. */
  readonly lies: boolean;
  /** Of a version that does not know the optional fields of messages. */
  readonly isOld: boolean;
  /** What earlier sessions, also of earlier processes, sent; newest last. */
  readonly history: WorkerMessageBody[];
}

interface Session {
  readonly connection: Connection;
  readonly sent: Map<number, WorkerMessageBody>;
  msg: number;
  isOpen: boolean;
  lastFrameMs: number;
}

/** No frame for three heartbeats: the line is taken for dead. */
const WATCHDOG_BUSY_MS = 3_000;
const WATCHDOG_IDLE_MS = 15_000;
/** How many messages of the last session may be repeated in the next. */
const REPEATS_MAX = 3;
/** Of what was sent, so much may come again. */
const HISTORY_MAX = 48;
/** What comes again by no doing of the worker's comes within this time, and bears numbers that none of its own messages has. */
const REPLAY_MS_MAX = 3_000;
const REPLAYED_FROM = 1_000_000;
const REPEATABLE: ReadonlySet<string> = new Set([
  "started",
  "tick",
  "checkpoint",
  "exited",
  "ended",
  "standby.ready",
  "standby.failed",
]);
/** What may be replayed from long ago, whole or by halves. */
const REPLAYABLE: ReadonlySet<string> = new Set([...REPEATABLE, "log"]);
/** Every order that is repeated is one in so many of the sessions' share. */
const REPEATED_ORDERS = 0.5;
/** A lying worker claims so many times the container time it had. */
const LIE = 3;
const REDIAL_MS_MIN = 50;
const REDIAL_MS_MAX = 1_500;

export function createLink(
  world: World,
  monitor: Monitor,
  orchestrator: OrchestratorNode,
  { workerId, path, lies, isOld, history }: LinkSetup,
  give: (event: WorkerCoreEvent) => void,
): Link {
  const { rng } = world;
  let isAlive = true;
  let session: Session | null = null;
  let lastSent: readonly WorkerMessageBody[] = [];
  const beats = new WeakMap<WorkerMessageBody, number>();

  function dial(): void {
    if (!isAlive || session !== null) return;
    if (Math.max(path.upBlockedUntilMs, path.downBlockedUntilMs) > world.nowMs()) return redial();
    let own: Session | null = null;
    const end = {
      receive: (message: OrchestratorMessage) => own !== null && hear(own, message),
      closed: () => own !== null && drop(own),
    };
    const connection = orchestrator.accept(workerId, (other) =>
      connect(world, workerId, path, { worker: end, orchestrator: other }),
    );
    if (connection === null) return redial();
    own = { connection, sent: new Map(), msg: 0, isOpen: false, lastFrameMs: world.nowMs() };
    session = own;
    if (world.strikes("flaps")) world.after(rng.int(0, 150), () => connection.cut(drawTells()));
    // A line that is blocked before the welcome came is given up too.
    world.after(WATCHDOG_BUSY_MS, () => {
      if (own !== null && !own.isOpen) drop(own);
    });
    return undefined;
  }

  function redial(): void {
    world.after(rng.int(REDIAL_MS_MIN, REDIAL_MS_MAX), dial);
  }

  function drawTells(): { readonly worker: boolean; readonly orchestrator: boolean } {
    return { worker: rng.chance(0.7), orchestrator: rng.chance(0.7) };
  }

  function drop(own: Session): void {
    if (!isAlive || session !== own) return;
    own.connection.closeByWorker();
    session = null;
    lastSent = [...own.sent.values()].filter(({ kind }) => REPEATABLE.has(kind));
    if (own.isOpen) give({ kind: "closed" });
    redial();
  }

  function hear(own: Session, message: OrchestratorMessage): void {
    if (!isAlive || session !== own) return;
    own.lastFrameMs = world.nowMs();
    const re = message.kind === "ack" || message.kind === "refused" ? own.sent.get(message.re) : undefined;
    if (re?.kind !== "heartbeat") world.note(`> ${workerId} ${describe(message)}`);
    monitor.delivered(workerId, message, re);
    if (message.kind === "welcome") {
      own.isOpen = true;
      give({ kind: "opened", sessionId: message.sessionId, contactLossS: message.contactLossS });
      if (world.strikes("repeats")) repeat();
      if (world.strikes("repeats")) world.after(rng.int(0, REPLAY_MS_MAX), () => replay(own));
      return;
    }
    if (message.kind === "ack" || message.kind === "refused") {
      own.sent.delete(message.re);
      if (re === undefined) return;
      if (re.kind === "heartbeat") return answered(re);
      if (message.kind === "ack") give({ kind: "acknowledged", message: re });
      else {
        const { code, message: reason, head } = message;
        give({ kind: "refused", message: re, code, reason, ...(head === undefined ? {} : { head }) });
      }
      return;
    }
    give({ kind: "message", message });
    if (world.strikes("repeats", REPEATED_ORDERS)) give({ kind: "message", message });
  }

  function answered(heartbeat: WorkerMessageBody & { kind: "heartbeat" }): void {
    const attempts = (heartbeat.attempts ?? []).map(({ attempt }) => attempt);
    const sentAtMs = beats.get(heartbeat);
    if (attempts.length > 0 && sentAtMs !== undefined) give({ kind: "answered", attempts, sentAtMs });
  }

  /** What the last session carried up arrives once more, in any order: the sender could not know that it had arrived. */
  function repeat(): void {
    const sent = lastSent;
    for (let count = rng.int(1, REPEATS_MAX); count > 0 && sent.length > 0; count -= 1) send(rng.pick(sent));
  }

  /** Something on the way says again what was said long ago; the worker knows nothing of it, nor of the answers. */
  function replay(own: Session): void {
    if (!isAlive || session !== own || !own.isOpen || history.length === 0) return;
    const checkpoints = history.filter(({ kind }) => kind === "checkpoint");
    for (let count = rng.int(1, REPEATS_MAX); count > 0; count -= 1) {
      // Few beside all that is said, and the most may be made of them.
      const body = rng.pick(checkpoints.length > 0 && rng.chance(0.5) ? checkpoints : history);
      world.note(`< ${workerId} replayed ${describe(body)}`);
      carry(own, body, REPLAYED_FROM + count);
    }
  }

  function carry({ connection }: Session, body: WorkerMessageBody, msg: number): void {
    const said = isOld ? withoutOptional(body) : body;
    const told = lies ? inflate(said) : said;
    const isSigned = told.kind === "checkpoint" || told.kind === "stopped" || told.kind === "tick";
    connection.sendUp(isSigned ? { ...told, signature: "sig", msg } : { ...told, msg });
  }

  function send(body: WorkerMessageBody): void {
    if (!isAlive || session?.isOpen !== true) return;
    if (body.kind !== "heartbeat") world.note(`< ${workerId} ${describe(body)}`);
    session.msg += 1;
    session.sent.set(session.msg, body);
    // The world's clock; a repeated one counts from when it was first sent.
    if (body.kind === "heartbeat" && !beats.has(body)) beats.set(body, world.nowMs());
    if (REPLAYABLE.has(body.kind) && history.push(body) > HISTORY_MAX) history.shift();
    carry(session, body, session.msg);
  }

  return {
    dial,
    send,
    isReachable: () => session?.isOpen === true && orchestrator.isUp() && path.upBlockedUntilMs <= world.nowMs(),
    watch(isBusy) {
      if (session === null || !session.isOpen) return;
      const limitMs = isBusy ? WATCHDOG_BUSY_MS : WATCHDOG_IDLE_MS;
      if (world.nowMs() - session.lastFrameMs > limitMs) drop(session);
    },
    die() {
      isAlive = false;
      session?.connection.closeByWorker();
    },
    cut(tells) {
      session?.connection.cut(tells);
    },
  };
}

function describe(message: OrchestratorMessage | WorkerMessageBody): string {
  const attempt = "attempt" in message ? ` ${message.attempt.jobId}/${message.attempt.epoch}` : "";
  const standby = "standbyId" in message ? ` ${message.standbyId}` : "";
  const re = "re" in message ? ` ${message.re}` : "";
  const seq = "seq" in message ? ` seq ${message.seq}` : "";
  const outcome = message.kind === "ended" ? ` ${message.outcome.kind}` : "";
  return `${message.kind}${attempt}${standby}${seq}${re}${outcome}`;
}

/** The same message as a worker sends it that does not know the newer fields. */
function withoutOptional(body: WorkerMessageBody): WorkerMessageBody {
  if (body.kind === "started") {
    const { imageDigest: _, ...rest } = body;
    return rest;
  }
  if (body.kind !== "checkpoint") return body;
  const { shipMs: _, intervalS: __, ...rest } = body;
  return rest;
}

/** The same message with the container time a lying provider claims. */
function inflate(body: WorkerMessageBody): WorkerMessageBody {
  if (body.kind === "exited" || body.kind === "ended" || body.kind === "checkpoint") {
    return { ...body, ranMs: body.ranMs * LIE };
  }
  if (body.kind === "hello") {
    return { ...body, attempts: body.attempts.map((entry) => ({ ...entry, ranMs: entry.ranMs * LIE })) };
  }
  if (body.kind !== "heartbeat" || body.attempts === undefined) return body;
  return { ...body, attempts: body.attempts.map((entry) => ({ ...entry, ranMs: entry.ranMs * LIE })) };
}
