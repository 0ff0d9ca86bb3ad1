// Bounds and close codes of the worker sockets.
import { AUTH_TIMEOUT_MS, BULK_WINDOW_BYTES_MAX } from "@qubix/shared/protocol";

/** Sockets that have not authenticated yet, those in line included: a fleet of 10,000 may reconnect at once, but each handshake takes a moment only. */
export const UNAUTHENTICATED_SOCKETS_MAX = 12_000;
/** Handshakes under way at a time; the others wait in line. Over home lines one takes some 200 ms, so that this lets more than a thousand a second through. */
export const HANDSHAKES_MAX = 512;
/** One that takes longer does not hold up the line any more. */
export const HANDSHAKE_SLOT_MS = 1_000;
/** Workers wait this long for a welcome; who was in line for longer has hung up. */
export const HANDSHAKE_WAIT_MS_MAX = AUTH_TIMEOUT_MS;
/** Control messages a second of one session, and how many may come at once: a worker with hundreds of short jobs and their logs. Beyond it is not read for a moment. */
export const MESSAGES_PER_S_MAX = 4_000;
export const MESSAGES_BURST_MAX = 8_000;
/** How long a session that is too fast is not read. */
export const RATE_PAUSE_MS = 50;
/** Messages of one session that wait for an earlier one to be verified; beyond it is not read until they are through. */
export const QUEUED_MESSAGES_MAX = 1_000;
/** Bytes that wait to be sent to one worker; one that reads slower is disconnected, and reconciles when it is back. */
export const OUTGOING_BYTES_MAX = 8 * 1024 * 1024;
/** Text frames of a bulk socket: a question for 4096 chunk ids. */
export const BULK_TEXT_BYTES_MAX = 320 * 1024;
/** Bulk sockets of one worker: one is usual, a second while the first dies unnoticed. */
export const BULK_SOCKETS_PER_WORKER_MAX = 4;
/** Requests of one bulk socket that wait or are worked on. */
export const BULK_REQUESTS_MAX = 256;
/** Received bytes that are not durable yet, per bulk socket; beyond it is not read. Twice the sender's window: it is never reached by a good one. */
export const BULK_UNSTORED_BYTES_MAX = 2 * BULK_WINDOW_BYTES_MAX;
/** The same over all bulk sockets: what the orchestrator's memory can spare. */
export const BULK_UNSTORED_BYTES_TOTAL_MAX = 512 * 1024 * 1024;
/** Tries of one worker to measure its line, each way: a round trip, a small one and a large one. */
export const LINE_MEASURES_MAX = 3;
/** In so much time: at most 12 MiB each way every ten minutes, 0.2 Mbit/s. */
export const LINE_MEASURE_PERIOD_MS = 600_000;
/** Signs of life from a bulk socket are passed on this often. */
export const BULK_HEARD_MS = 500;
/** A socket that does not answer the closing handshake is cut. */
export const CLOSE_GRACE_MS = 1_000;
/** Longest reason a close frame can carry, in bytes. */
export const CLOSE_REASON_BYTES_MAX = 123;

export const CLOSE_CODES = {
  goingAway: 1001,
  tryLater: 1013,
  malformed: 4000,
  protocolVersion: 4001,
  authTimeout: 4002,
  wrongKey: 4003,
  unknownWorker: 4004,
  replaced: 4009,
  disconnected: 4010,
  tooMany: 4029,
} as const;
