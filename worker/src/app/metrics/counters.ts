// What happened since the agent started, for its metrics and its status. Counting is cheap enough to be always on.
import type { WorkerMessageBody } from "../../core/index.ts";

export interface Counters {
  readonly startedAtMs: number;
  /** Wall time of the present session's beginning; null without one. */
  readonly connectedAtMs: number | null;
  readonly sessions: number;
  readonly heartbeats: number;
  /** Ends that the orchestrator has, by outcome: `succeeded`, `failed exit_code`, … */
  readonly ends: ReadonlyMap<string, number>;
  readonly checkpoints: number;
  /** Plain bytes of the committed checkpoints. */
  readonly checkpointBytes: number;
  /** What of them had to be sent. */
  readonly checkpointBytesMoved: number;
  readonly logBytes: number;
  opened(): void;
  closed(): void;
  /** A message goes out; `everyMs` is the interval between heartbeats now. */
  sent(message: WorkerMessageBody, everyMs: number): void;
  acknowledged(message: WorkerMessageBody): void;
  logged(text: string): void;
  /** The latest that a heartbeat came after its time since this was last asked, in milliseconds. */
  takeLatenessMs(): number;
}

/** `nowMs`: a clock that never jumps; `wallMs`: for people. */
export function createCounters(nowMs: () => number, wallMs: () => number): Counters {
  const startedAtMs = wallMs();
  const ends = new Map<string, number>();
  const own = { sessions: 0, heartbeats: 0, checkpoints: 0, checkpointBytes: 0, checkpointBytesMoved: 0, logBytes: 0 };
  let connectedAtMs: number | null = null;
  let beatAtMs: number | null = null;
  let latenessMs = 0;
  return {
    startedAtMs,
    get connectedAtMs() {
      return connectedAtMs;
    },
    get sessions() {
      return own.sessions;
    },
    get heartbeats() {
      return own.heartbeats;
    },
    get checkpoints() {
      return own.checkpoints;
    },
    get checkpointBytes() {
      return own.checkpointBytes;
    },
    get checkpointBytesMoved() {
      return own.checkpointBytesMoved;
    },
    get logBytes() {
      return own.logBytes;
    },
    ends,
    opened() {
      own.sessions += 1;
      connectedAtMs = wallMs();
      beatAtMs = null;
    },
    closed() {
      connectedAtMs = null;
      beatAtMs = null;
    },
    sent(message, everyMs) {
      if (message.kind !== "heartbeat") return;
      own.heartbeats += 1;
      const atMs = nowMs();
      if (beatAtMs !== null) latenessMs = Math.max(latenessMs, atMs - beatAtMs - everyMs);
      beatAtMs = atMs;
    },
    acknowledged(message) {
      if (message.kind === "ended") {
        const { outcome } = message;
        const name = "code" in outcome ? `${outcome.kind} ${outcome.code}` : outcome.kind;
        ends.set(name, (ends.get(name) ?? 0) + 1);
      } else if (message.kind === "checkpoint") {
        own.checkpoints += 1;
        own.checkpointBytes += message.tree.bytes;
        own.checkpointBytesMoved += message.tree.bytesMoved;
      }
    },
    logged(text) {
      own.logBytes += Buffer.byteLength(text);
    },
    takeLatenessMs() {
      const taken = latenessMs;
      latenessMs = 0;
      return taken;
    },
  };
}
