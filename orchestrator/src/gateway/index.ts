// The worker gateway: `/v1/worker` for control messages, `/v1/worker/bulk` for chunks. It authenticates, checks every frame, and is the writer's way to the workers.
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import type { SessionId, WorkerId } from "@qubix/shared/domain";
import { AUTH_TIMEOUT_MS, CONTROL_FRAME_BYTES_MAX, type OrchestratorMessage } from "@qubix/shared/protocol";
import { serveBulk } from "./bulk.ts";
import { createAdmission } from "./admission.ts";
import { closeSocket } from "./closing.ts";
import { createControlSession, type ControlSession } from "./control.ts";
import { createFleet } from "./fleet.ts";
import { createLineMeasures } from "./line-measures.ts";
import { authenticate, newSessionId, type SocketPurpose } from "./handshake.ts";
import {
  BULK_SOCKETS_PER_WORKER_MAX,
  BULK_TEXT_BYTES_MAX,
  CLOSE_CODES,
  CLOSE_GRACE_MS,
  HANDSHAKE_SLOT_MS,
  HANDSHAKE_WAIT_MS_MAX,
  HANDSHAKES_MAX,
  UNAUTHENTICATED_SOCKETS_MAX,
} from "./limits.ts";
import { networkOf } from "./networks.ts";
import type { GatewayConfig, GatewayPorts } from "./port.ts";

export { CLOSE_CODES } from "./limits.ts";
export type { EventWriter, Fleet, GatewayConfig, GatewayPorts } from "./port.ts";
export { verifySignature } from "./signatures.ts";

export const DEFAULT_GATEWAY_CONFIG: GatewayConfig = { contactLossS: 3_600, authTimeoutMs: AUTH_TIMEOUT_MS };

const PURPOSES: Readonly<Record<string, SocketPurpose>> = { "/v1/worker": "control", "/v1/worker/bulk": "bulk" };

export interface WorkerGateway {
  /** For the HTTP server's `upgrade` event. False when the path is not the gateway's: then the socket is the caller's. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean;
  // The part of the writer's effects that goes to workers.
  send(workerId: WorkerId, sessionId: SessionId, message: OrchestratorMessage): void;
  disconnect(workerId: WorkerId, sessionId: SessionId, reason: string): void;
  flush(): void;
  /** Closes every socket, so that both sides reconcile. */
  reset(): void;
  /** Sockets by kind, for /metrics. */
  gauges(): Readonly<
    Record<
      "worker_sockets" | "worker_bulk_sockets" | "worker_sockets_unauthenticated" | "worker_sockets_in_line",
      number
    >
  >;
  /** Closes all sockets (1001) and takes no more. Called again: does nothing. */
  stop(): Promise<void>;
}

/** Attached to an HTTP server by its owner. */
export function createWorkerGateway(
  ports: GatewayPorts,
  config: GatewayConfig = DEFAULT_GATEWAY_CONFIG,
): WorkerGateway {
  const { writer, logger } = ports;
  const fleet = createFleet(writer);
  const sessionPorts = { ...ports, fleet };
  const servers = {
    control: createServer(CONTROL_FRAME_BYTES_MAX),
    bulk: createServer(BULK_TEXT_BYTES_MAX),
  };
  const budget = { unstored: 0 };
  const measures = createLineMeasures();
  const sockets = new Set<WebSocket>();
  const sessions = new Map<WorkerId, ControlSession>();
  const bulkSockets = new Map<WorkerId, Set<WebSocket>>();
  const corked = new Set<ControlSession>();
  let unauthenticated = 0;
  let stopped = false;
  const nowMs = () => performance.now();
  const admission = createAdmission(
    {
      slots: HANDSHAKES_MAX,
      waitingMax: UNAUTHENTICATED_SOCKETS_MAX,
      slotMs: HANDSHAKE_SLOT_MS,
      waitMsMax: HANDSHAKE_WAIT_MS_MAX,
    },
    nowMs,
  );

  const onConnection = (ws: WebSocket, stream: Duplex, { purpose, network, release }: Dialled): void => {
    sockets.add(ws);
    unauthenticated += 1;
    ws.once("close", () => {
      sockets.delete(ws);
      release();
    });
    // Broken frames, oversize and cut lines end the socket; its close says the rest.
    ws.on("error", (error) => logger.debug({ event: "worker_socket_error", err: error }, "socket error"));
    authenticate(ws, purpose, {
      fleet,
      orchestratorId: ports.orchestratorId,
      authTimeoutMs: config.authTimeoutMs,
      onDone: () => {
        unauthenticated -= 1;
      },
      onOpened: (workerId, { name, publicKey }) => {
        if (purpose === "control") openControl(ws, stream, { workerId, name, publicKey, network, release });
        else {
          openBulk(ws, workerId, name);
          release();
        }
      },
    });
  };

  // ── Control ──

  /** The newest connection of a worker counts. The core hears of it before the worker is welcomed. */
  const openControl = (
    ws: WebSocket,
    stream: Duplex,
    { workerId, name, publicKey, network, release }: Authenticated,
  ): void => {
    const sessionId = newSessionId();
    const older = sessions.get(workerId);
    const session = createControlSession(sessionPorts, {
      ws,
      stream,
      workerId,
      publicKey,
      sessionId,
      nowMs,
      onClosed: () => {
        corked.delete(session);
        if (sessions.get(workerId) === session) sessions.delete(workerId);
        closed(workerId, sessionId);
      },
    });
    sessions.set(workerId, session);
    older?.detach();
    older?.close(CLOSE_CODES.replaced, "another connection of this worker took over");
    writer
      .submit({ kind: "worker.opened", workerId, sessionId, ...(network === undefined ? {} : { network }) })
      .then(() => {
        session.send(welcome(sessionId, name, config));
        session.flush();
        release();
      })
      .catch((error: unknown) => {
        logger.warn({ event: "worker_not_opened", workerId, err: error }, "try again later");
        session.close(CLOSE_CODES.tryLater, "the orchestrator is not ready, try again later");
      });
  };

  const closed = (workerId: WorkerId, sessionId: SessionId): void => {
    ports.proofs.closed(workerId, sessionId);
    writer.submit({ kind: "worker.closed", workerId, sessionId }).catch((error: unknown) => {
      // Its silence will say the same, later.
      logger.warn({ event: "worker_close_not_taken", workerId, err: error }, "left to the silence detector");
    });
  };

  // ── Bulk ──

  const openBulk = (ws: WebSocket, workerId: WorkerId, name: string): void => {
    const own = bulkSockets.get(workerId) ?? new Set<WebSocket>();
    const [oldest] = own;
    if (own.size >= BULK_SOCKETS_PER_WORKER_MAX && oldest !== undefined) {
      closeSocket(oldest, CLOSE_CODES.tooMany, `a worker has at most ${BULK_SOCKETS_PER_WORKER_MAX} bulk sockets`);
      own.delete(oldest);
    }
    own.add(ws);
    bulkSockets.set(workerId, own);
    ws.once("close", () => {
      own.delete(ws);
      if (own.size === 0 && bulkSockets.get(workerId) === own) bulkSockets.delete(workerId);
    });
    serveBulk(sessionPorts, { ws, budget, measures, workerId, nowMs, onHeard: () => heard(workerId) });
    ws.send(JSON.stringify(welcome(newSessionId(), name, config)));
  };

  const heard = (workerId: WorkerId): void => {
    const session = sessions.get(workerId);
    if (session) writer.submitVolatile({ kind: "worker.heard", workerId, sessionId: session.sessionId });
  };

  const closeAll = (code: number, reason: string): void => {
    for (const ws of sockets) closeSocket(ws, code, reason);
  };

  return {
    handleUpgrade(request, socket, head) {
      const purpose = PURPOSES[pathOf(request)];
      if (purpose === undefined) return false;
      const network = networkOf(request.socket.remoteAddress);
      const isFull = unauthenticated + admission.counts().waiting >= UNAUTHENTICATED_SOCKETS_MAX;
      const begin = (release: () => void): void => {
        let isOpen = false;
        servers[purpose].handleUpgrade(request, socket, head, (ws) => {
          isOpen = true;
          onConnection(ws, socket, { purpose, network, release });
        });
        // Not a WebSocket after all: that was answered already.
        if (!isOpen) release();
      };
      if (!stopped && !isFull && admission.enter(socket, begin)) return true;
      socket.on("error", () => {});
      // One who does not hang up in turn would keep his socket for ever: the server looks after those no more that asked for an upgrade.
      socket.once("finish", () => socket.destroy());
      socket.end(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
      );
      return true;
    },
    send(workerId, sessionId, message) {
      const session = sessions.get(workerId);
      if (session?.sessionId !== sessionId) return;
      session.send(message);
      corked.add(session);
    },
    disconnect(workerId, sessionId, reason) {
      const session = sessions.get(workerId);
      if (session?.sessionId !== sessionId) return;
      session.close(CLOSE_CODES.disconnected, reason);
      for (const ws of bulkSockets.get(workerId) ?? []) closeSocket(ws, CLOSE_CODES.disconnected, reason);
    },
    flush() {
      for (const session of corked) session.flush();
      corked.clear();
    },
    reset: () => closeAll(CLOSE_CODES.tryLater, "the orchestrator starts anew, reconnect"),
    gauges: () => ({
      worker_sockets: sessions.size,
      worker_bulk_sockets: [...bulkSockets.values()].reduce((sum, own) => sum + own.size, 0),
      worker_sockets_unauthenticated: unauthenticated,
      worker_sockets_in_line: admission.counts().waiting,
    }),
    async stop() {
      if (stopped) return;
      stopped = true;
      admission.stop();
      closeAll(CLOSE_CODES.goingAway, "the orchestrator stops");
      const untilMs = nowMs() + CLOSE_GRACE_MS;
      while (sockets.size > 0 && nowMs() < untilMs) await new Promise((resolve) => setTimeout(resolve, 10));
      for (const ws of sockets) ws.terminate();
    },
  };
}

interface Dialled {
  readonly purpose: SocketPurpose;
  /** Of its address, where that is known. */
  readonly network: string | undefined;
  /** Its handshake is over. */
  readonly release: () => void;
}

interface Authenticated extends Omit<Dialled, "purpose"> {
  readonly workerId: WorkerId;
  readonly name: string;
  readonly publicKey: string;
}

function createServer(maxPayload: number): WebSocketServer {
  return new WebSocketServer({ noServer: true, maxPayload, perMessageDeflate: false, clientTracking: false });
}

function pathOf(request: IncomingMessage): string {
  const url = request.url ?? "";
  const query = url.indexOf("?");
  return query === -1 ? url : url.slice(0, query);
}

function welcome(sessionId: SessionId, name: string, config: GatewayConfig): OrchestratorMessage {
  return { kind: "welcome", sessionId, name, contactLossS: config.contactLossS };
}
