// How a worker's socket authenticates: a challenge with a nonce, its Ed25519 signature, and a welcome. Both sockets do it alike.
import { randomBytes } from "node:crypto";
import type { RawData, WebSocket } from "ws";
import type { SessionId, WorkerId } from "@qubix/shared/domain";
import { authSchema, authText, PROTOCOL_VERSION } from "@qubix/shared/protocol";
import { closeSocket } from "./closing.ts";
import { parseJson, readFrame } from "./frames.ts";
import { CLOSE_CODES } from "./limits.ts";
import type { Fleet } from "./port.ts";
import { verifySignature } from "./signatures.ts";

const NONCE_BYTES = 32;
const SESSION_BYTES = 15;

export type SocketPurpose = "control" | "bulk";

export interface HandshakeOptions {
  readonly fleet: Fleet;
  readonly orchestratorId: string;
  readonly authTimeoutMs: number;
  /** Authenticated: frames go to the caller from here on. */
  readonly onOpened: (workerId: WorkerId, worker: { readonly name: string; readonly publicKey: string }) => void;
  /** Authenticated, refused or gone: called once. */
  readonly onDone: () => void;
}

/** Sends the challenge and waits for one `auth`. */
export function authenticate(ws: WebSocket, purpose: SocketPurpose, options: HandshakeOptions): void {
  const { fleet, orchestratorId, onOpened, onDone } = options;
  const nonce = randomBytes(NONCE_BYTES).toString("base64url");
  const finish = (): void => {
    clearTimeout(timer);
    ws.off("message", onMessage);
    ws.off("close", finish);
    onDone();
  };
  const refuse = (code: number, reason: string): void => {
    finish();
    closeSocket(ws, code, reason);
  };
  const timer = setTimeout(
    () => refuse(CLOSE_CODES.authTimeout, `not authenticated within ${options.authTimeoutMs} ms`),
    options.authTimeoutMs,
  );
  const onMessage = (data: RawData, isBinary: boolean): void => {
    try {
      judge(parseJson(data, isBinary));
    } catch {
      // While memory is rebuilt there is nothing to look a worker up in.
      refuse(CLOSE_CODES.tryLater, "the orchestrator is not ready, try again later");
    }
  };
  const judge = (value: unknown): void => {
    const version = versionOf(value);
    if (version !== undefined && version !== PROTOCOL_VERSION) {
      return refuse(
        CLOSE_CODES.protocolVersion,
        `this orchestrator speaks protocol ${PROTOCOL_VERSION}, the worker ${version}: update the older one`,
      );
    }
    const frame = readFrame(authSchema, value);
    if (frame.kind === "malformed") return refuse(CLOSE_CODES.malformed, frame.why);
    const { workerId, signature } = frame.value;
    const worker = fleet.worker(workerId);
    if (worker === undefined) {
      return refuse(CLOSE_CODES.unknownWorker, `worker ${workerId} is not enrolled here: enrol it with a new token`);
    }
    if (!verifySignature(worker.publicKey, authText(purpose, orchestratorId, nonce, workerId), signature)) {
      return refuse(CLOSE_CODES.wrongKey, `the signature is not by the key of worker ${workerId}: enrol it again`);
    }
    finish();
    onOpened(workerId, worker);
  };
  ws.on("message", onMessage);
  ws.on("close", finish);
  ws.send(JSON.stringify({ kind: "challenge", protocol: PROTOCOL_VERSION, orchestratorId, nonce }));
}

export function newSessionId(): SessionId {
  return `ses-${randomBytes(SESSION_BYTES).toString("base64url")}` as SessionId;
}

/** The version an `auth` of any version names: it is told before anything else of it is judged. */
function versionOf(value: unknown): number | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { kind, protocol } = value as { readonly kind?: unknown; readonly protocol?: unknown };
  return kind === "auth" && typeof protocol === "number" ? protocol : undefined;
}
