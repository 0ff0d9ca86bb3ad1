// Carries one container's output to the orchestrator: text in frames, each kept until it is answered, so that a cut line loses nothing.
// What is not answered is bounded: when the buffer is full, reading stops, and the Engine keeps the rest on disk.
import { StringDecoder } from "node:string_decoder";
import type { AttemptRef } from "@qubix/shared/domain";
import { LOG_FRAME_BYTES_MAX, type WorkerMessage } from "@qubix/shared/protocol";
import { advance, LOG_START, type LogCursor, type LogMessage, type LogStreamName } from "./log-stream.ts";

type LogBody = Omit<Extract<WorkerMessage, { kind: "log" }>, "msg">;

/** Text waits this long for more to share its frame: short, because the first line after a failover is what people wait for. */
const GATHER_MS = 10;
/** Text held in memory until it is answered; reading stops here. */
export const LOG_BUFFER_BYTES_MAX = 1024 * 1024;
/** Pieces held: streams that alternate byte by byte make as many frames. */
const FRAMES_HELD_MAX = 4096;
/** A job that prints more than this is slowed down; only 16 MiB of a job's log are kept anyway. */
export const LOG_BYTES_PER_S_MAX = 1024 * 1024;
const BURST_BYTES = 2 * LOG_BYTES_PER_S_MAX;

/** What survives a crash of the agent: all before it was answered. */
export interface PumpPosition {
  readonly epoch: number;
  readonly cursor: LogCursor;
  readonly offsets: { readonly [S in LogStreamName]: number };
}

export const PUMP_START: Omit<PumpPosition, "epoch"> = { cursor: LOG_START, offsets: { stdout: 0, stderr: 0 } };

export interface LogPumpPorts {
  /**
   * Sends one frame; false when there is no session. `answered` is called with true when it is durable there or refused for good, with false when
   * its attempt is not the current one: then it may be taken under the epoch to which the container is about to move.
   */
  send(body: LogBody, answered: (taken: boolean) => void): boolean;
  nowMs(): number;
}

export interface LogPump {
  push(message: LogMessage): void;
  /** A line of the agent's own, among the job's. */
  note(text: string): void;
  /** Resolves when there is room for more. */
  room(): Promise<void>;
  /** The line is open again: what was not answered is sent once more. */
  opened(): void;
  closed(): void;
  /** From here on under another attempt; what was not answered goes with it. */
  relabel(attempt: AttemptRef): void;
  /** Sends all that is held, at once. */
  flush(): void;
  /** True when nothing waits to be answered. */
  empty(): boolean;
  position(): PumpPosition;
  /** What has been read so far, answered or not: where reading goes on. */
  readCursor(): LogCursor;
  stop(): void;
}

interface Frame {
  readonly stream: LogStreamName;
  readonly text: string;
  readonly bytes: number;
  readonly time: string;
  readonly cursor: LogCursor;
  /** Null while it is not sent. */
  sent: symbol | null;
}

export function createLogPump(ports: LogPumpPorts, attempt: AttemptRef, from: PumpPosition): LogPump {
  const frames: Frame[] = [];
  const decoders = { stdout: new StringDecoder("utf8"), stderr: new StringDecoder("utf8") };
  const waiting: (() => void)[] = [];
  let label = attempt;
  let base = from.epoch === attempt.epoch ? from.offsets : PUMP_START.offsets;
  let answeredCursor = from.cursor;
  let cursor = from.cursor;
  let held = 0;
  let open = true;
  /** The label is refused: nothing is sent until there is another, or the slot goes. */
  let refused = false;
  let timer: NodeJS.Timeout | null = null;
  let tokens = BURST_BYTES;
  let filledAtMs = ports.nowMs();

  function add(stream: LogStreamName, text: string, time: string, after: LogCursor): void {
    const bytes = Buffer.byteLength(text);
    const last = frames.at(-1);
    if (
      last !== undefined &&
      last.sent === null &&
      last.stream === stream &&
      last.bytes + bytes <= LOG_FRAME_BYTES_MAX
    ) {
      frames[frames.length - 1] = { ...last, text: last.text + text, bytes: last.bytes + bytes, cursor: after };
    } else {
      frames.push({ stream, text, bytes, time, cursor: after, sent: null });
    }
    held += bytes;
    arm(GATHER_MS);
  }

  function arm(ms: number): void {
    timer ??= setTimeout(() => {
      timer = null;
      pump(false);
    }, ms);
  }

  function pump(unbounded: boolean): void {
    if (!open || refused) return;
    refill();
    const offsets = { ...base };
    for (const [index, frame] of frames.entries()) {
      const offset = offsets[frame.stream];
      offsets[frame.stream] += frame.bytes;
      if (frame.sent !== null) continue;
      if (!unbounded && tokens <= 0) return arm(Math.ceil((-tokens / LOG_BYTES_PER_S_MAX) * 1000) + GATHER_MS);
      const mark = Symbol("sent");
      const body: LogBody = {
        kind: "log",
        attempt: label,
        stream: frame.stream,
        offset,
        text: frame.text,
        time: frame.time,
      };
      frames[index] = { ...frame, sent: mark };
      if (!ports.send(body, (taken) => answered(mark, taken))) {
        frames[index] = frame;
        return;
      }
      tokens -= frame.bytes;
    }
  }

  function refill(): void {
    const now = ports.nowMs();
    tokens = Math.min(BURST_BYTES, tokens + ((now - filledAtMs) / 1000) * LOG_BYTES_PER_S_MAX);
    filledAtMs = now;
  }

  /** Answers come in the order of sending; the frame and all before it are done. */
  function answered(mark: symbol, taken: boolean): void {
    const index = frames.findIndex((frame) => frame.sent === mark);
    if (index < 0) return;
    if (!taken) {
      refused = true;
      for (const frame of frames.slice(index)) frame.sent = null;
      return;
    }
    for (const frame of frames.splice(0, index + 1)) {
      held -= frame.bytes;
      base = { ...base, [frame.stream]: base[frame.stream] + frame.bytes };
      answeredCursor = frame.cursor;
    }
    wake();
    if (frames.some((frame) => frame.sent === null)) pump(false);
  }

  function hasRoom(): boolean {
    return held < LOG_BUFFER_BYTES_MAX && frames.length < FRAMES_HELD_MAX;
  }

  function wake(): void {
    if (hasRoom()) for (const resolve of waiting.splice(0)) resolve();
  }

  return {
    push(message) {
      cursor = advance(cursor, message);
      const text = decoders[message.stream].write(message.bytes);
      if (text !== "") add(message.stream, text, message.time, cursor);
    },
    note(text) {
      add("stderr", text, new Date().toISOString(), cursor);
    },
    room: () => (hasRoom() ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
    opened() {
      open = true;
      refused = false;
      for (const frame of frames) frame.sent = null;
      pump(false);
    },
    closed() {
      open = false;
      for (const frame of frames) frame.sent = null;
    },
    relabel(next) {
      label = next;
      base = PUMP_START.offsets;
      refused = false;
      for (const frame of frames) frame.sent = null;
      arm(0);
    },
    flush: () => pump(true),
    empty: () => frames.length === 0,
    position: () => ({ epoch: label.epoch, cursor: answeredCursor, offsets: base }),
    readCursor: () => cursor,
    stop() {
      if (timer !== null) clearTimeout(timer);
      timer = null;
      open = false;
      held = 0;
      frames.length = 0;
      wake();
    },
  };
}
