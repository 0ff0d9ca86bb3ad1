// An orchestrator's sockets for the tests of the links: a real ws server that speaks the shared protocol, checks every frame against its schema, and can misbehave.
import { createPublicKey, randomBytes, verify } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import {
  authSchema,
  authText,
  type BulkRequest,
  bulkRequestSchema,
  type OrchestratorMessageInput,
  PROTOCOL_VERSION,
  type WorkerMessage,
  workerMessageSchema,
} from "@qubix/shared/protocol";
import type { LinkIdentity, SocketPurpose } from "./handshake.ts";
import type { WorkerKey } from "./keys.ts";

const ED25519_SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
export const ORCHESTRATOR_ID = "orc-test";

export interface TestOrchestrator {
  readonly url: string;
  readonly messages: WorkerMessage[];
  readonly requests: BulkRequest[];
  /** Chunks by id. */
  readonly chunks: Map<string, Buffer>;
  /** Answers by challenge. */
  readonly proofs: Map<string, Buffer>;
  /** Sessions that were welcomed, by socket. */
  readonly welcomed: { control: number; bulk: number };
  /** Called for each control message; without it each is acknowledged. */
  onMessage: ((message: WorkerMessage, send: (message: OrchestratorMessageInput) => void) => void) | null;
  /** Called with each bulk socket's request; true when it was dealt with. */
  onRequest: ((request: BulkRequest, socket: WebSocket) => boolean) | null;
  /** Refuses the next authentications with this close code. */
  refuseWith: number | null;
  orchestratorId: string;
  protocol: number;
  send(message: OrchestratorMessageInput): void;
  /** Closes the control socket in good order. */
  close(code: number): void;
  /** Cuts every socket without a goodbye. */
  cut(): void;
  stop(): Promise<void>;
}

export async function startTestOrchestrator(publicKey: string): Promise<TestOrchestrator> {
  const http = createServer();
  const servers = { control: new WebSocketServer({ noServer: true }), bulk: new WebSocketServer({ noServer: true }) };
  const sockets = new Set<WebSocket>();
  let control: WebSocket | null = null;
  const port = await listen(http);
  const own: TestOrchestrator = {
    url: `http://127.0.0.1:${port}`,
    messages: [],
    requests: [],
    chunks: new Map(),
    proofs: new Map(),
    welcomed: { control: 0, bulk: 0 },
    onMessage: null,
    onRequest: null,
    refuseWith: null,
    orchestratorId: ORCHESTRATOR_ID,
    protocol: PROTOCOL_VERSION,
    send: (message) => control?.send(JSON.stringify(message)),
    close: (code) => control?.close(code, "closed by the test"),
    cut() {
      for (const socket of sockets) socket.terminate();
    },
    async stop() {
      own.cut();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
  http.on("upgrade", (request, socket, head) => {
    const purpose = request.url === "/v1/worker/bulk" ? "bulk" : "control";
    servers[purpose].handleUpgrade(request, socket, head, (ws) => {
      sockets.add(ws);
      ws.on("close", () => sockets.delete(ws));
      serve(ws, purpose);
    });
  });
  return own;

  function serve(ws: WebSocket, purpose: SocketPurpose): void {
    const nonce = randomBytes(16).toString("base64url");
    ws.send(JSON.stringify({ kind: "challenge", protocol: own.protocol, orchestratorId: own.orchestratorId, nonce }));
    ws.once("message", (data: RawData) => {
      if (own.refuseWith !== null) return ws.close(own.refuseWith, "refused by the test");
      const auth = authSchema.parse(JSON.parse(text(data)));
      const signed = authText(purpose, own.orchestratorId, nonce, auth.workerId);
      if (!verifies(publicKey, signed, auth.signature)) return ws.close(4003, "wrong key");
      own.welcomed[purpose] += 1;
      if (purpose === "control") {
        control = ws;
        ws.on("message", (frame: RawData) => onControl(ws, frame));
      } else {
        serveBulk(ws);
      }
      ws.send(
        JSON.stringify({ kind: "welcome", sessionId: `ses-${own.welcomed[purpose]}`, name: "w", contactLossS: 60 }),
      );
      return undefined;
    });
  }

  function onControl(ws: WebSocket, data: RawData): void {
    const message = workerMessageSchema.parse(JSON.parse(text(data)));
    own.messages.push(message);
    const send = (answer: OrchestratorMessageInput) => ws.send(JSON.stringify(answer));
    if (own.onMessage === null) send({ kind: "ack", re: message.msg });
    else own.onMessage(message, send);
  }

  function serveBulk(ws: WebSocket): void {
    let incoming: { request: Extract<BulkRequest, { kind: "put" | "proof" }>; parts: Buffer[]; left: number } | null =
      null;
    let measuring: { readonly req: number; left: number } | null = null;
    ws.on("message", (data: RawData, isBinary: boolean) => {
      if (isBinary && measuring !== null) {
        measuring.left -= (data as Buffer).length;
        if (measuring.left > 0) return;
        ws.send(JSON.stringify({ kind: "stored", req: measuring.req }));
        measuring = null;
        return;
      }
      if (isBinary) {
        if (incoming === null) return ws.close(4000, "bytes without a put");
        const bytes = Buffer.from(data as Buffer);
        incoming.parts.push(bytes);
        incoming.left -= bytes.length;
        if (incoming.left > 0) return;
        const whole = Buffer.concat(incoming.parts);
        if (incoming.request.kind === "put") own.chunks.set(incoming.request.cid, whole);
        else own.proofs.set(incoming.request.challengeId, whole);
        ws.send(JSON.stringify({ kind: "stored", req: incoming.request.req }));
        incoming = null;
        return;
      }
      const request = bulkRequestSchema.parse(JSON.parse(text(data)));
      own.requests.push(request);
      if (own.onRequest?.(request, ws) === true) return;
      if (request.kind === "measure.up") measuring = { req: request.req, left: request.bytes };
      else if (request.kind === "put") incoming = { request, parts: [], left: request.stored };
      else if (request.kind === "proof") incoming = { request, parts: [], left: request.bytes };
      else answerBulk(ws, request);
    });
  }

  function answerBulk(ws: WebSocket, request: Exclude<BulkRequest, { kind: "put" | "proof" }>): void {
    if (request.kind === "have") {
      const cids = request.cids.filter((cid) => !own.chunks.has(cid));
      return ws.send(JSON.stringify({ kind: "missing", req: request.req, cids }));
    }
    const measured = request.kind === "measure.down" ? Buffer.alloc(request.bytes) : undefined;
    const bytes = request.kind === "get" ? own.chunks.get(request.cid) : measured;
    if (bytes === undefined) {
      return ws.send(
        JSON.stringify({ kind: "refused", req: request.req, code: "chunk_unknown", message: "no such chunk" }),
      );
    }
    ws.send(JSON.stringify({ kind: "data", req: request.req, stored: bytes.length }));
    for (let at = 0; at < bytes.length; at += 65_536) ws.send(bytes.subarray(at, at + 65_536));
  }
}

export function identityFor(orchestrator: TestOrchestrator, key: WorkerKey): LinkIdentity {
  return {
    url: orchestrator.url,
    workerId: "wrk-test",
    orchestratorId: ORCHESTRATOR_ID,
    agentVersion: "0.0.0",
    key,
  };
}

function verifies(publicKey: string, signed: string, signature: string): boolean {
  const der = Buffer.concat([ED25519_SPKI_PREFIX, Buffer.from(publicKey, "base64url")]);
  const key = createPublicKey({ key: der, format: "der", type: "spki" });
  return verify(null, Buffer.from(signed), key, Buffer.from(signature, "base64url"));
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}

function text(data: RawData): string {
  return Buffer.from(data as Buffer).toString("utf8");
}
