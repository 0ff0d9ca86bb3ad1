// Log text of running attempts: each stream of each attempt has a cursor in bytes of UTF-8, so that what comes twice is kept once, and each job has a bound.
import { attemptId } from "@qubix/shared/domain";
import type { WorkerMessage } from "@qubix/shared/protocol";
import { currentOf, refuseStale } from "./attempts.ts";
import type { Machine } from "./machine.ts";
import type { JobRecord } from "./model.ts";
import { noteStep } from "./recovery.ts";
import type { CoreState } from "./state.ts";
import { logsOf, markLog } from "./tables.ts";

/** Keeps what is new of it. A gap is kept as such: the text stands at the offset the worker gave. */
export function onLog(state: CoreState, machine: Machine, message: Extract<WorkerMessage, { kind: "log" }>): void {
  const current = currentOf(state, machine, message.attempt);
  if (current === undefined) return refuseStale(state, machine, message, message.attempt);
  const { job } = current;
  const logs = logsOf(state, job.id);
  const key = `${attemptId(message.attempt)} ${message.stream}`;
  const cursor = logs.cursors.get(key) ?? 0;
  const known = Math.max(0, cursor - message.offset);
  const text = known === 0 ? message.text : dropBytes(message.text, known);
  if (text === "" || logs.full) return;
  const offset = Math.max(cursor, message.offset);
  const bytes = utf8Length(text);
  const before = { bytes: logs.bytes, full: logs.full, cursor: logs.cursors.get(key), lastTime: logs.lastTime };
  state.step.undo.push(() => {
    logs.bytes = before.bytes;
    logs.full = before.full;
    logs.lastTime = before.lastTime;
    if (before.cursor === undefined) logs.cursors.delete(key);
    else logs.cursors.set(key, before.cursor);
  });
  if (message.time !== "") logs.lastTime = message.time;
  if (logs.bytes + bytes > state.config.logBytesPerJobMax) return cutOff(state, job);
  logs.bytes += bytes;
  logs.cursors.set(key, offset + bytes);
  state.step.logs.push({
    jobId: job.id,
    replica: message.attempt.replica,
    epoch: message.attempt.epoch,
    stream: message.stream,
    offset,
    text,
    time: message.time,
  });
  noteStep(state, job, current.attempt);
}

function cutOff(state: CoreState, job: JobRecord): void {
  logsOf(state, job.id).full = true;
  markLog(
    state,
    job,
    `-- the log reached its bound of ${state.config.logBytesPerJobMax} bytes; what follows is dropped --`,
  );
}

/** Bytes of the text as UTF-8. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    // Two bytes; three from U+0800 on; a pair of surrogates is two units and four bytes.
    bytes += unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 1 : 2;
  }
  return bytes;
}

/** The text without its first `count` bytes; a character that is cut through is dropped whole. */
function dropBytes(text: string, count: number): string {
  let left = count;
  let at = 0;
  while (left > 0 && at < text.length) {
    const point = text.codePointAt(at) as number;
    left -= point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    at += point < 0x10000 ? 1 : 2;
  }
  return text.slice(at);
}
