// The Engine's log stream: frames of an 8-byte header (stream, 0, 0, 0, length as big-endian 32 bits) and one message, which begins with its time stamp.
// https://docs.docker.com/reference/api/engine/ (ContainerAttach, "Stream format"); time stamps are RFC 3339 with nine digits of fraction.

export type LogStreamName = "stdout" | "stderr";

/** One message as the Engine kept it: a line, or a piece of at most 16 KiB of a long one. */
export interface LogMessage {
  readonly stream: LogStreamName;
  readonly time: string;
  readonly bytes: Buffer;
}

const HEADER_BYTES = 8;
/** The Engine cuts lines at 16 KiB; a frame beyond this is not a log stream. */
const FRAME_BYTES_MAX = 1024 * 1024;

/** Cuts what arrives into messages, however the bytes are split. Throws on bytes that are no log stream. */
export function createLogParser(): { push(chunk: Buffer): LogMessage[] } {
  let rest: Buffer = Buffer.alloc(0);
  return {
    push(chunk) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      const messages: LogMessage[] = [];
      let at = 0;
      while (rest.length - at >= HEADER_BYTES) {
        const length = rest.readUInt32BE(at + 4);
        if (length > FRAME_BYTES_MAX) throw new RangeError(`a log frame of ${length} bytes: not a log stream`);
        if (rest.length - at < HEADER_BYTES + length) break;
        const message = parseMessage(rest[at] ?? 0, rest.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length));
        if (message !== undefined) messages.push(message);
        at += HEADER_BYTES + length;
      }
      rest = at === rest.length ? Buffer.alloc(0) : Buffer.from(rest.subarray(at));
      return messages;
    },
  };
}

function parseMessage(type: number, body: Buffer): LogMessage | undefined {
  if (type !== 1 && type !== 2) return undefined;
  const space = body.indexOf(0x20);
  if (space < 0) return undefined;
  return {
    stream: type === 1 ? "stdout" : "stderr",
    time: body.toString("latin1", 0, space),
    bytes: body.subarray(space + 1),
  };
}

/** How far one stream has been read: the newest time stamp, and how many messages bore it (the pieces of a long line all bear the same). */
export interface StreamCursor {
  readonly time: string;
  readonly count: number;
}
export type LogCursor = { readonly [S in LogStreamName]: StreamCursor };

export const LOG_START: LogCursor = { stdout: { time: "", count: 0 }, stderr: { time: "", count: 0 } };

/** The cursor after one more message. */
export function advance(cursor: LogCursor, message: LogMessage): LogCursor {
  const old = cursor[message.stream];
  const count = old.time === message.time ? old.count + 1 : 1;
  return { ...cursor, [message.stream]: { time: message.time, count } };
}

/** A filter that drops exactly what `cursor` has seen, when reading begins again at {@link sinceOf}. */
export function createResumeFilter(cursor: LogCursor): (message: LogMessage) => boolean {
  const left = { stdout: cursor.stdout.count, stderr: cursor.stderr.count };
  const passed = { stdout: false, stderr: false };
  return (message) => {
    const seen = cursor[message.stream];
    if (passed[message.stream] || seen.time === "") return true;
    if (message.time < seen.time) return false;
    if (message.time === seen.time && left[message.stream] > 0) {
      left[message.stream] -= 1;
      return false;
    }
    // From the first new message on everything is new, even if the wall clock was set back meanwhile.
    passed[message.stream] = true;
    return true;
  };
}

/** Where the Engine should begin, as `seconds.nanoseconds`; undefined for the beginning. */
export function sinceOf(cursor: LogCursor): string | undefined {
  const times = [cursor.stdout.time, cursor.stderr.time];
  if (times.some((time) => time === "")) return undefined;
  const first = times.toSorted()[0] ?? "";
  const fraction = /\.([0-9]{1,9})/.exec(first)?.[1] ?? "0";
  return `${Math.floor(Date.parse(first) / 1000)}.${fraction.padEnd(9, "0")}`;
}
