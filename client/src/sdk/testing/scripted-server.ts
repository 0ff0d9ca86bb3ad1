// A server for tests that answers as it is told: what a client does on faults cannot be seen with an orchestrator that has none.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer, type WebSocket } from "ws";

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}
export type Step = (response: ServerResponse, seen: Seen) => void;

export interface ScriptedServer {
  readonly url: string;
  readonly seen: readonly Seen[];
  /** URLs and keys of the WebSocket connections that were made. */
  readonly sockets: readonly { readonly path: string; readonly headers: IncomingMessage["headers"] }[];
  stop(): Promise<void>;
}

/** Each request takes the next step; the last one is for all that follow. `onSocket` gets each connection with its number, from 1. */
export async function startScriptedServer(
  steps: readonly Step[],
  onSocket: (socket: WebSocket, n: number) => void = () => {},
): Promise<ScriptedServer> {
  const seen: Seen[] = [];
  const sockets: { path: string; headers: IncomingMessage["headers"] }[] = [];
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      const entry = { method, path: url, headers, body: Buffer.concat(parts).toString() };
      seen.push(entry);
      const step = steps[Math.min(seen.length, steps.length) - 1];
      step?.(response, entry);
    });
  });
  const webSockets = new WebSocketServer({ server });
  webSockets.on("connection", (socket, request) => {
    sockets.push({ path: request.url ?? "", headers: request.headers });
    onSocket(socket, sockets.length);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    sockets,
    stop: async () => {
      for (const socket of webSockets.clients) socket.terminate();
      webSockets.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Step =>
  (response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
  };

export const cut: Step = (response) => {
  response.socket?.destroy();
};

/** The head and some of the body, then the line is cut. */
export const cutAfter =
  (text: string): Step =>
  (response) => {
    response.writeHead(200).write(text, () => response.socket?.destroy());
  };

export const silent: Step = () => {};
