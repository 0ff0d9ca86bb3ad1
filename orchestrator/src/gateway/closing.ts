// Ends a socket in good order: a close frame with its reason, then a cut for a peer that does not answer.
import type { WebSocket } from "ws";
import { CLOSE_GRACE_MS, CLOSE_REASON_BYTES_MAX } from "./limits.ts";

/** Closes with a code and as much of the reason as a close frame can carry. */
export function closeSocket(ws: WebSocket, code: number, reason: string): void {
  if (ws.readyState === ws.CLOSED) return;
  ws.close(code, shorten(reason));
  // A peer that is gone, or does not read, never answers.
  const timer = setTimeout(() => ws.terminate(), CLOSE_GRACE_MS);
  timer.unref();
  ws.once("close", () => clearTimeout(timer));
}

function shorten(reason: string): string {
  const bytes = Buffer.from(reason, "utf8");
  if (bytes.length <= CLOSE_REASON_BYTES_MAX) return reason;
  // A cut in the middle of a character leaves a replacement character of up to three bytes.
  return bytes
    .subarray(0, CLOSE_REASON_BYTES_MAX - 3)
    .toString("utf8")
    .replace(/\uFFFD$/u, "");
}
