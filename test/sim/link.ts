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
const REPEATABLE: ReadonlySet<string> = new Set([
  "started",
  "checkpoint",
  "exited",
  "ended",
  "standby.ready",
  "standby.failed",
]);
/** A lying worker claims so many times the container time it had. */
const LIE = 3;
const REDIAL_MS_MIN = 50;
const REDIAL_MS_MAX = 1_500;

export function createLink(
  world: World,
  monitor: Monitor,
  orchestrator: OrchestratorNode,
  { workerId, path, lies }: LinkSetup,
  give: (event: WorkerCoreEvent) => void,
): Link {
  const { rng, faults } = world;
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
    if (world.strikes(faults.flaps)) world.after(rng.int(0, 150), () => connection.cut(drawTells()));
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
      if (world.strikes(faults.repeats)) repeat();
      return;
    }
    if (message.kind === "ack" || message.kind === "refused") {
      own.sent.delete(message.re);
      if (re === undefined) return;
      if (re.kind === "heartbeat") return answered(re);
      if (message.kind === "ack") give({ kind: "acknowledged", message: re });
      else give({ kind: "refused", message: re, code: message.code, reason: message.message });
      return;
    }
    give({ kind: "message", message });
    if (world.strikes(faults.repeats)) give({ kind: "message", message });
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

  function send(body: WorkerMessageBody): void {
    if (!isAlive || session?.isOpen !== true) return;
    if (body.kind !== "heartbeat") world.note(`< ${workerId} ${describe(body)}`);
    session.msg += 1;
    const { msg, connection } = session;
    session.sent.set(msg, body);
    // The world's clock; a repeated one counts from when it was first sent.
    if (body.kind === "heartbeat" && !beats.has(body)) beats.set(body, world.nowMs());
    const told = lies ? inflate(body) : body;
    const isSigned = told.kind === "checkpoint" || told.kind === "stopped";
    connection.sendUp(isSigned ? { ...told, signature: "sig", msg } : { ...told, msg });
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
