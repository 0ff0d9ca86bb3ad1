// Live events over WebSocket: an async iterator that survives lost connections. Each event has a `seq`; after a break the stream goes on after
// the last one that was received, so that none is missing and none comes twice.
import { QubixError } from "@qubix/shared/errors";
import { errorFromResponse, errorFromTransport } from "./problem.ts";
import type { Requester } from "./request.ts";
import { backoffMs, sleep } from "./retry.ts";
import type { Socket, SocketEnd, SocketFactory } from "./socket.ts";
import type { EventChannel, EventsFrame, EventView } from "./types.ts";

/** Frames held for a reader that is slower than the network. Beyond it the socket is closed, and opened again when they are used up. */
const BUFFERED_FRAMES_MAX = 2_000;
/** Connections lost in a row before it is given up; at the longest back-off this is about a minute. */
const CONNECT_TRIES_MAX = 20;
const UPGRADE_REQUIRED = 426;
/** A close with these codes is the server's last word: the same again would be answered alike. */
const FATAL_CLOSE_CODES: readonly number[] = [1002, 1003, 1007, 1008];

export interface SubscribeOptions {
  /** Begin after this `seq`; without it, with what happens from now on. */
  readonly after?: number | undefined;
  /** All that the key may see by default. */
  readonly channels?: readonly EventChannel[] | undefined;
  readonly kinds?: readonly string[] | undefined;
  readonly jobId?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told when the connection is lost and will be opened again. */
  readonly onReconnect?: ((end: SocketEnd) => void) | undefined;
}

export interface EventsDeps {
  readonly requester: Requester;
  readonly openSocket: SocketFactory;
  readonly random: () => number;
}

/** Subscribes. The iterator ends when the loop is left or the signal aborts; it throws when the server refuses (`unauthorized` …) or stays away. */
export async function* subscribe(
  deps: EventsDeps,
  options: SubscribeOptions = {},
): AsyncGenerator<EventView, void, undefined> {
  let after = options.after;
  let failures = 0;
  while (!isAborted(options.signal)) {
    const connection = connect(deps, after, options);
    try {
      for await (const frame of connection.frames()) {
        failures = 0;
        for (const event of frame.events) {
          if (after !== undefined && event.seq <= after) continue;
          after = event.seq;
          yield event;
        }
        after = frame.seq;
      }
    } finally {
      connection.close();
    }
    if (isAborted(options.signal)) return;
    const end = connection.end();
    // Closed by ourselves because the reader was slow: go on at once.
    if (end === null) continue;
    // One that opens and says nothing is no better than one that does not open: only a frame is a good sign.
    failures += 1;
    throwIfFinal(deps.requester.baseUrl, end, failures);
    if (!connection.opened() && end.status === undefined) await throwIfRefused(deps.requester, after, options);
    options.onReconnect?.(end);
    const stopped = await sleep(backoffMs(failures, deps.random()), options.signal).then(
      () => false,
      () => true,
    );
    if (stopped) return;
  }
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

interface Connection {
  frames(): AsyncGenerator<EventsFrame, void, undefined>;
  close(): void;
  opened(): boolean;
  /** How it ended; null while open or when closed by ourselves. */
  end(): SocketEnd | null;
}

function connect(deps: EventsDeps, after: number | undefined, options: SubscribeOptions): Connection {
  const buffer: EventsFrame[] = [];
  let wake: (() => void) | undefined;
  let ended: SocketEnd | null = null;
  let closedByUs = false;
  let wasOpened = false;
  const notify = () => {
    wake?.();
    wake = undefined;
  };
  const close = () => {
    if (closedByUs) return;
    closedByUs = true;
    socket.close();
    notify();
  };
  const socket: Socket = deps.openSocket(urlOf(deps.requester, pathOf(after, options)), deps.requester.apiKey, {
    onOpen: () => {
      wasOpened = true;
    },
    onMessage: (text) => {
      if (closedByUs) return;
      const frame = parseFrame(text);
      if (frame === undefined) return;
      buffer.push(frame);
      if (buffer.length >= BUFFERED_FRAMES_MAX) close();
      notify();
    },
    onClose: (end) => {
      if (!closedByUs) ended = end;
      notify();
    },
  });
  options.signal?.addEventListener("abort", close, { once: true });
  const frames = async function* (): AsyncGenerator<EventsFrame, void, undefined> {
    for (;;) {
      for (let frame = buffer.shift(); frame !== undefined; frame = buffer.shift()) yield frame;
      if (closedByUs || ended !== null) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return {
    frames,
    close: () => {
      options.signal?.removeEventListener("abort", close);
      close();
    },
    opened: () => wasOpened,
    end: () => ended,
  };
}

function urlOf(requester: Requester, path: string): string {
  return `${requester.baseUrl.replace(/^http/, "ws")}${path}`;
}

function pathOf(after: number | undefined, options: SubscribeOptions): string {
  const query = new URLSearchParams();
  if (after !== undefined) query.set("after", String(after));
  if (options.channels !== undefined) query.set("channels", options.channels.join(","));
  if (options.kinds !== undefined) query.set("kinds", options.kinds.join(","));
  if (options.jobId !== undefined) query.set("jobId", options.jobId);
  const text = query.toString();
  return `/v1/events${text === "" ? "" : `?${text}`}`;
}

/** Anything that is not a frame of events is a later addition, and passed over. */
function parseFrame(text: string): EventsFrame | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isFrame = typeof value === "object" && value !== null && "seq" in value && "events" in value;
    return isFrame ? (value as EventsFrame) : undefined;
  } catch {
    return undefined;
  }
}

/** A standard WebSocket does not tell why it was refused: the same question as a plain request does. */
async function throwIfRefused(
  requester: Requester,
  after: number | undefined,
  options: SubscribeOptions,
): Promise<void> {
  const path = pathOf(after, options);
  try {
    await requester.json({ method: "GET", path, idempotent: false, signal: options.signal });
  } catch (error) {
    if (!(error instanceof QubixError) || error.retryable || error.status >= 500) return;
    // 426: all is well but that it came without a socket.
    if (error.status !== UPGRADE_REQUIRED) throw error;
  }
}

function throwIfFinal(baseUrl: string, end: SocketEnd, failures: number): void {
  if (end.status !== undefined && end.status >= 400 && end.status < 500 && end.status !== 429) {
    throw errorFromResponse(end.status, end.body ?? "");
  }
  if (FATAL_CLOSE_CODES.includes(end.code)) {
    throw new QubixError("events_refused", `The server closed the live events: ${end.reason || `code ${end.code}`}`, {
      category: "user",
    });
  }
  if (failures >= CONNECT_TRIES_MAX) throw errorFromTransport(baseUrl, end.error ?? end.reason);
}
