// The live-events socket by `ws`: it sends the key as a header and sees why an upgrade was refused.
import type { SocketEnd, SocketFactory } from "../sdk/index.ts";
import { WebSocket } from "ws";

const HANDSHAKE_TIMEOUT_MS = 15_000;
/** Events are small; the server never sends more in one frame. */
const FRAME_BYTES_MAX = 4 * 1024 * 1024;
/** A refusal's body beyond this is not a problem document. */
const REFUSAL_BYTES_MAX = 64 * 1024;
/** A line that went dead without a close is noticed after at most two of these. */
const PING_INTERVAL_MS = 15_000;

/** Opens a socket of `ws`. */
export const openNodeSocket: SocketFactory = (url, apiKey, handlers) => {
  const socket = new WebSocket(url, {
    headers: apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` },
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    maxPayload: FRAME_BYTES_MAX,
    perMessageDeflate: false,
  });
  let done = false;
  let alive = true;
  let failure: unknown;
  const finish = (end: SocketEnd) => {
    if (done) return;
    done = true;
    clearInterval(ping);
    handlers.onClose(failure === undefined ? end : { ...end, error: failure });
  };
  const ping = setInterval(() => {
    if (socket.readyState !== WebSocket.OPEN) return;
    if (!alive) {
      socket.terminate();
      return;
    }
    alive = false;
    socket.ping();
  }, PING_INTERVAL_MS);
  socket.on("open", handlers.onOpen);
  socket.on("pong", () => {
    alive = true;
  });
  socket.on("message", (data, isBinary) => {
    alive = true;
    if (!isBinary) handlers.onMessage(textOf(data));
  });
  socket.on("unexpected-response", (request, response) => {
    let body = "";
    response.setEncoding("utf8");
    response.on("data", (part: string) => {
      if (body.length < REFUSAL_BYTES_MAX) body += part;
    });
    response.on("close", () => {
      request.destroy();
      finish({ code: 1006, reason: "refused", status: response.statusCode ?? 0, body });
    });
  });
  socket.on("error", (error) => {
    failure = error;
  });
  socket.on("close", (code, reason) => finish({ code, reason: reason.toString("utf8") }));
  return {
    close: () => {
      if (socket.readyState === WebSocket.OPEN) socket.close(1000);
      else socket.terminate();
      finish({ code: 1000, reason: "closed" });
    },
  };
};

function textOf(data: Buffer | ArrayBuffer | Buffer[]): string {
  if (Array.isArray(data)) return Buffer.concat(data).toString("utf8");
  return Buffer.isBuffer(data) ? data.toString("utf8") : Buffer.from(data).toString("utf8");
}
