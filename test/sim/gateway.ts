// The orchestrator's side of the workers' connections, for as long as its process lives: a session is welcome once it is durable, messages with
// trees are only passed on when all of the tree is there, and what arrives while the process stands still is read when it goes on.
import type { CoreEvent, Effect, Reply } from "@qubix/orchestrator/core";
import type { Store } from "@qubix/orchestrator/store";
import type { ChunkCid, JobId, SessionId, WorkerId } from "@qubix/shared/domain";
import type { EndOutcome, WorkerMessage } from "@qubix/shared/protocol";
import { contentIn } from "./mirrors.ts";
import type { Monitor } from "./monitor.ts";
import { type Connection, type End, networkOf } from "./network.ts";
import { orderOf, proofRng, verdictOn } from "./proofs.ts";
import type { Trees } from "./trees.ts";
import type { World } from "./world.ts";

/** How the answer to a request came: with a reply, or not at all (the process died, or 503). */
export type Answer = { readonly kind: "reply"; readonly reply: Reply } | { readonly kind: "unavailable" };

export interface Gateway {
  accept(workerId: WorkerId, open: (end: End<WorkerMessage>) => Connection): Connection;
  carry(effect: Effect): void;
  closeAll(): void;
}

export interface GatewayPorts {
  submit(event: CoreEvent, onAnswer?: (answer: Answer) => void): void;
  isAlive(): boolean;
  stalledUntilMs(): number;
  tick: Store["tick"];
}

interface Session {
  readonly id: SessionId;
  readonly workerId: WorkerId;
  readonly connection: Connection;
}

export function createGateway(world: World, monitor: Monitor, trees: Trees, ports: GatewayPorts): Gateway {
  const sessions = new Map<WorkerId, Session>();
  const rng = proofRng(world.seed + world.nowMs());

  function accept(workerId: WorkerId, open: (end: End<WorkerMessage>) => Connection): Connection {
    const id = monitor.nextSession();
    const isCurrent = () => ports.isAlive() && sessions.get(workerId)?.id === id;
    let readMs = 0;
    /** Now, or, if it stands still, as soon as it goes on; in the order in which it came. Timers that are due may come first. */
    const read = (action: () => void) => {
      readMs = Math.max(readMs, world.nowMs(), ports.stalledUntilMs());
      if (readMs <= world.nowMs()) action();
      else world.after(readMs - world.nowMs(), action);
    };
    const connection = open({
      receive(message) {
        if (isCurrent()) monitor.arrived(workerId);
        read(() => {
          if (isCurrent()) take(workerId, id, message);
        });
      },
      closed() {
        read(() => {
          if (!isCurrent()) return;
          sessions.delete(workerId);
          ports.submit({ kind: "worker.closed", workerId, sessionId: id });
        });
      },
    });
    const older = sessions.get(workerId);
    sessions.set(workerId, { id, workerId, connection });
    ports.submit({ kind: "worker.opened", workerId, sessionId: id, network: networkOf(workerId) }, (answer) => {
      if (!isCurrent()) return;
      if (answer.kind === "unavailable") return close(workerId, id);
      const { contactLossS } = world.faults;
      connection.sendDown({ kind: "welcome", sessionId: id, name: workerId, contactLossS });
    });
    if (older !== undefined) {
      older.connection.closeByOrchestrator();
      ports.submit({ kind: "worker.closed", workerId, sessionId: older.id });
    }
    return connection;
  }

  function close(workerId: WorkerId, id: SessionId): void {
    const session = sessions.get(workerId);
    if (session?.id !== id) return;
    session.connection.closeByOrchestrator();
    sessions.delete(workerId);
    ports.submit({ kind: "worker.closed", workerId, sessionId: id });
  }

  function take(workerId: WorkerId, sessionId: SessionId, message: WorkerMessage): void {
    if (message.kind === "proof.commit" || message.kind === "proof.failed") {
      // A verdict is lost with the process that makes it.
      verdictOn(world, rng, workerId, message, (event) => ports.submit(event));
    }
    const brought = broughtBy(message);
    if (brought === null || !monitor.holds(workerId, brought.jobId)) return pass(workerId, sessionId, message, null);
    if (trees.admit(brought.jobId, brought.cid)) return pass(workerId, sessionId, message, brought);
    const why = { code: "chunks_missing", message: "the tree is not whole" };
    if (message.kind === "ended") {
      const outcome: EndOutcome = { kind: "worker_failed", code: "upload_failed", message: why.message };
      return pass(workerId, sessionId, { ...message, outcome }, null);
    }
    return sessions.get(workerId)?.connection.sendDown({ kind: "refused", re: message.msg, ...why });
  }

  function pass(workerId: WorkerId, sessionId: SessionId, message: WorkerMessage, brought: Brought | null): void {
    const known = message.kind === "tick" ? ports.tick({ ...message.attempt, n: message.n }) : undefined;
    const tick = known === undefined ? {} : { tick: { signed: true, known } };
    ports.submit({ kind: "worker.message", workerId, sessionId, message, ...contentIn(message), ...tick }, (answer) => {
      const isTaken = answer.kind === "reply";
      if (brought !== null) trees.settle(brought.jobId, brought.cid, isTaken);
      // Try again later, on another connection.
      if (!isTaken && message.kind !== "heartbeat") close(workerId, sessionId);
    });
  }

  function carry(effect: Effect): void {
    if (effect.kind !== "send" && effect.kind !== "disconnect" && effect.kind !== "challenge") return;
    const session = sessions.get(effect.workerId);
    if (session?.id !== effect.sessionId) return;
    if (effect.kind === "send") {
      session.connection.sendDown(effect.message);
      return;
    }
    if (effect.kind === "challenge") {
      session.connection.sendDown(orderOf(effect.challengeId, effect.target));
      return;
    }
    world.note(`disconnect ${effect.workerId}: ${effect.reason}`);
    close(effect.workerId, effect.sessionId);
  }

  return {
    accept,
    carry,
    closeAll() {
      for (const { connection } of sessions.values()) connection.closeByOrchestrator();
      sessions.clear();
    },
  };
}

interface Brought {
  readonly jobId: JobId;
  readonly cid: ChunkCid;
}

/** The tree a message brings, if any. */
function broughtBy(message: WorkerMessage): Brought | null {
  if (message.kind === "checkpoint") return { jobId: message.attempt.jobId, cid: message.tree.manifestCid };
  if (message.kind !== "ended" || message.outcome.kind !== "succeeded" || message.outcome.outputs === null) return null;
  return { jobId: message.attempt.jobId, cid: message.outcome.outputs.manifestCid };
}
