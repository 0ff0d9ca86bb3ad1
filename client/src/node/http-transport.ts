// A transport over node:http with a keep-alive agent: about half the CPU of `fetch` per request, which counts for programs that submit thousands.
import { Agent as HttpAgent, type IncomingMessage, request as httpRequest, type RequestOptions } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Transport, TransportRequest, TransportResponse } from "../sdk/transport.ts";

/** Connections to one orchestrator at a time; further requests wait for one. */
const SOCKETS_MAX = 256;
const IDLE_SOCKETS_MAX = 64;
/** Shorter than servers keep an idle connection (Node's default is 5 s), so that a request does not meet its close. */
const IDLE_SOCKET_TIMEOUT_MS = 4_000;

export interface HttpTransport {
  readonly transport: Transport;
  /** Closes all connections; to be called when no more requests follow. */
  close(): void;
}

/** Creates the transport; connections open with the first request. */
export function createHttpTransport(): HttpTransport {
  const options = {
    keepAlive: true,
    maxSockets: SOCKETS_MAX,
    maxFreeSockets: IDLE_SOCKETS_MAX,
    timeout: IDLE_SOCKET_TIMEOUT_MS,
  };
  const http = new HttpAgent(options);
  const https = new HttpsAgent(options);
  const originOf = createOriginCache();
  const transport: Transport = (request) =>
    new Promise((resolve, reject) => {
      const { secure, base, prefix } = originOf(request.url);
      const agent = secure ? https : http;
      const send = secure ? httpsRequest : httpRequest;
      const { signal } = request;
      const outgoing = send(
        { ...base, agent, method: request.method, path: request.url.slice(prefix), headers: headersOf(request) },
        (incoming) => {
          incoming.once("close", () => signal.removeEventListener("abort", abort));
          resolve(responseOf(incoming));
        },
      );
      const abort = () => outgoing.destroy(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
      // The agent's time-out is for idle connections; a busy one waits as long as its caller does.
      outgoing.setTimeout(0);
      outgoing.on("error", reject);
      outgoing.end(request.body);
    });
  return {
    transport,
    close: () => {
      http.destroy();
      https.destroy();
    },
  };
}

interface Origin {
  readonly secure: boolean;
  readonly base: RequestOptions;
  /** Length of the URL before its path. */
  readonly prefix: number;
}

/** A client talks to one origin: parsing its URL anew for each request would cost as much as sending it. */
function createOriginCache(): (url: string) => Origin {
  let last = "";
  let origin: Origin = { secure: false, base: {}, prefix: 0 };
  return (url) => {
    if (last !== "" && url.startsWith(last) && url[last.length] === "/") return origin;
    const parsed = new URL(url);
    last = parsed.origin;
    const hostname = parsed.hostname.replace(/^\[|\]$/g, "");
    const base = parsed.port === "" ? { hostname } : { hostname, port: parsed.port };
    origin = { secure: parsed.protocol === "https:", base, prefix: last.length };
    return origin;
  };
}

function headersOf({ headers, body }: TransportRequest): Record<string, string | number> {
  if (body === undefined) return { ...headers };
  return { ...headers, "content-length": typeof body === "string" ? Buffer.byteLength(body) : body.length };
}

function responseOf(incoming: IncomingMessage): TransportResponse {
  return {
    status: incoming.statusCode ?? 0,
    header: (name) => {
      const value = incoming.headers[name];
      return value === undefined ? null : Array.isArray(value) ? value.join(", ") : value;
    },
    text: () => textOf(incoming),
    stream: () => incoming as AsyncIterable<Uint8Array>,
  };
}

function textOf(incoming: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    incoming.setEncoding("utf8");
    incoming.on("data", (part: string) => {
      text += part;
    });
    incoming.on("end", () => resolve(text));
    incoming.on("error", reject);
    incoming.on("close", () => reject(new Error("the answer was cut off")));
  });
}
