// A transport over node:http with a keep-alive agent: a third of the CPU of `fetch` per request, which counts for programs that submit thousands.
import { Agent as HttpAgent, type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Transport, TransportResponse } from "../sdk/index.ts";

/** Connections to one orchestrator at a time; further requests wait for one. */
const SOCKETS_MAX = 256;
const IDLE_SOCKETS_MAX = 64;
/** Shorter than the server keeps an idle connection (Node's default is 5 s), so that a request does not meet its close. */
const IDLE_SOCKET_TIMEOUT_MS = 4_000;

export interface HttpTransport {
  readonly transport: Transport;
  /** Closes idle connections; to be called when no more requests follow. */
  close(): void;
}

/** Creates the transport; connections open with the first request. */
export function createHttpTransport(): HttpTransport {
  const options = {
    keepAlive: true,
    maxSockets: SOCKETS_MAX,
    maxFreeSockets: IDLE_SOCKETS_MAX,
    scheduling: "lifo",
  } as const;
  const http = new HttpAgent({ ...options, timeout: IDLE_SOCKET_TIMEOUT_MS });
  const https = new HttpsAgent({ ...options, timeout: IDLE_SOCKET_TIMEOUT_MS });
  const transport: Transport = (request) =>
    new Promise((resolve, reject) => {
      const secure = request.url.startsWith("https:");
      const { body } = request;
      const headers: Record<string, string | number> = { ...request.headers };
      if (body !== undefined)
        headers["content-length"] = typeof body === "string" ? Buffer.byteLength(body) : body.length;
      const send = secure ? httpsRequest : httpRequest;
      const outgoing: ClientRequest = send(
        request.url,
        { method: request.method, headers, agent: secure ? https : http, signal: request.signal },
        (incoming) => resolve(responseOf(incoming)),
      );
      // The agent's time-out is for idle connections; a busy one waits as long as its caller does.
      outgoing.setTimeout(0);
      outgoing.on("error", reject);
      outgoing.end(body);
    });
  return {
    transport,
    close: () => {
      http.destroy();
      https.destroy();
    },
  };
}

function responseOf(incoming: IncomingMessage): TransportResponse {
  return {
    status: incoming.statusCode ?? 0,
    header: (name) => {
      const value = incoming.headers[name];
      return value === undefined ? null : Array.isArray(value) ? value.join(", ") : value;
    },
    text: async () => {
      const parts: Buffer[] = [];
      for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part);
      return Buffer.concat(parts).toString("utf8");
    },
    stream: () => incoming as AsyncIterable<Uint8Array>,
  };
}
