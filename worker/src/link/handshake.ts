// Opens an authenticated socket: the orchestrator's challenge, our signature, its welcome. Both sockets open alike; the purpose that is signed differs.
import { type RawData, WebSocket } from "ws";
import {
  AUTH_TIMEOUT_MS,
  authText,
  CONTROL_FRAME_BYTES_MAX,
  type OrchestratorMessage,
  orchestratorMessageSchema,
  PROTOCOL_VERSION,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import type { WorkerKey } from "./keys.ts";

export interface LinkIdentity {
  /** `http(s)://HOST:PORT` of the orchestrator. */
  readonly url: string;
  readonly workerId: string;
  readonly orchestratorId: string;
  readonly agentVersion: string;
  readonly key: WorkerKey;
}

export type Welcome = Extract<OrchestratorMessage, { kind: "welcome" }>;
export type SocketPurpose = "control" | "bulk";

const PATHS: Readonly<Record<SocketPurpose, string>> = { control: "/v1/worker", bulk: "/v1/worker/bulk" };
/** A newer connection of the same worker took this one's place. */
const REPLACED_CLOSE_CODE = 4009;
export const REPLACED = "replaced";
/** Close codes of the orchestrator that no second try will change, and what to do about them. */
const FINAL_CLOSE_CODES: Readonly<Record<number, { readonly code: string; readonly advice: string }>> = {
  4001: {
    code: "protocol_version",
    advice: "Update qubix-worker (or the orchestrator), so that both speak one version.",
  },
  4003: {
    code: "wrong_key",
    advice: "This data directory's key is not the one that was enrolled; enrol again into a new one.",
  },
  4004: {
    code: "unknown_worker",
    advice: "The orchestrator does not know this worker; enrol again into a new data directory.",
  },
};

/**
 * Calls `attach` when the orchestrator has welcomed us, in the same turn, so that no frame that follows is missed; resolves with what it returns.
 * Rejects with a {@link QubixError}: `link_failed` may go better later, the others will not.
 */
export function openSocket<T>(
  identity: LinkIdentity,
  purpose: SocketPurpose,
  signal: AbortSignal,
  attach: (socket: WebSocket, welcome: Welcome) => T | Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(socketUrl(identity.url, purpose), {
      handshakeTimeout: AUTH_TIMEOUT_MS,
      maxPayload: CONTROL_FRAME_BYTES_MAX,
      perMessageDeflate: false,
    });
    const timer = setTimeout(() => fail(failed("it did not answer in time")), AUTH_TIMEOUT_MS);
    const abort = () => fail(failed("the agent stops"));
    signal.addEventListener("abort", abort, { once: true });
    socket.on("message", onMessage);
    socket.on("error", onError);
    socket.on("close", onClose);

    function settle(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      socket.off("message", onMessage);
      socket.off("close", onClose);
    }
    function fail(error: QubixError): void {
      settle();
      socket.terminate();
      reject(error);
    }
    function onError(error: Error): void {
      fail(failed(error.message));
    }
    function onClose(code: number, reason: Buffer): void {
      fail(closeError(code, reason.toString("utf8")));
    }
    function onMessage(data: RawData, isBinary: boolean): void {
      const message = isBinary ? undefined : parseOrchestratorMessage(data);
      if (message?.kind === "challenge") {
        const problem = checkChallenge(message, identity);
        if (problem !== undefined) return fail(problem);
        socket.send(JSON.stringify(authOf(message, identity, purpose)));
      } else if (message?.kind === "welcome") {
        settle();
        // From here on whoever holds the socket listens; without a listener an error would end the program.
        socket.off("error", onError);
        socket.on("error", () => undefined);
        resolve(attach(socket, message));
      } else {
        fail(failed("it does not speak the worker protocol"));
      }
    }
  });
}

/** Undefined for what is no message of the protocol. */
export function parseOrchestratorMessage(data: RawData): OrchestratorMessage | undefined {
  try {
    return orchestratorMessageSchema.parse(JSON.parse(textOf(data)));
  } catch {
    return undefined;
  }
}

export function textOf(data: RawData): string {
  return (Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data as Buffer)).toString("utf8");
}

/** A closed connection as an error: final for the codes that say so. */
export function closeError(closeCode: number, reason: string): QubixError {
  if (closeCode === REPLACED_CLOSE_CODE) {
    const message =
      "Another agent has connected as this worker: its data directory was copied. Run it on one machine only.";
    return new QubixError(REPLACED, message, { category: "provider", retryable: true });
  }
  const final = FINAL_CLOSE_CODES[closeCode];
  if (final === undefined)
    return failed(`it closed the connection (${closeCode}${reason === "" ? "" : `: ${reason}`})`);
  return new QubixError(final.code, `The orchestrator refuses this worker: ${reason || final.code}. ${final.advice}`, {
    category: "provider",
  });
}

/** True for refusals that trying again will not change. */
export function isFinal(error: unknown): boolean {
  return error instanceof QubixError && !error.retryable;
}

function authOf(
  challenge: Extract<OrchestratorMessage, { kind: "challenge" }>,
  identity: LinkIdentity,
  purpose: SocketPurpose,
) {
  const text = authText(purpose, challenge.orchestratorId, challenge.nonce, identity.workerId);
  return {
    kind: "auth",
    protocol: PROTOCOL_VERSION,
    workerId: identity.workerId,
    signature: identity.key.sign(text),
    agentVersion: identity.agentVersion,
  };
}

/** Another orchestrator than the enrolled one gets no signature of ours: it could open a session elsewhere with it. */
function checkChallenge(
  challenge: Extract<OrchestratorMessage, { kind: "challenge" }>,
  identity: LinkIdentity,
): QubixError | undefined {
  if (challenge.orchestratorId !== identity.orchestratorId) {
    return new QubixError(
      "wrong_orchestrator",
      `${identity.url} is the orchestrator ${challenge.orchestratorId}, but this worker was enrolled with ${identity.orchestratorId}. Enrol into a new data directory to work for this one.`,
      { category: "provider" },
    );
  }
  if (challenge.protocol !== PROTOCOL_VERSION) {
    return closeError(4001, `it speaks protocol ${challenge.protocol}, this worker ${PROTOCOL_VERSION}`);
  }
  return undefined;
}

function socketUrl(url: string, purpose: SocketPurpose): string {
  const target = new URL(url);
  target.protocol = target.protocol === "https:" ? "wss:" : "ws:";
  target.pathname = target.pathname.replace(/\/$/, "") + PATHS[purpose];
  return target.href;
}

function failed(why: string): QubixError {
  return new QubixError("link_failed", `No connection to the orchestrator: ${why}`, {
    category: "platform",
    retryable: true,
  });
}
