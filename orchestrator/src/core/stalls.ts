// Whether a container that lives gets on, judged by what its worker says has been silent for how long. Pure. One silence alone proves nothing: a job may log
// rarely, save rarely, or sleep. Two that agree do, or a deadline that the job set itself.
import type { Signs } from "@qubix/shared/protocol";

export const STALL_SIGNALS = ["deadline", "progress", "checkpoint", "log", "idle"] as const;
export type StallSignal = (typeof STALL_SIGNALS)[number];

export interface StallVerdict {
  readonly kind: "fine" | "suspected" | "stalled";
  readonly signals: readonly StallSignal[];
  /** How long the longest of them has lasted. */
  readonly silentMs: number;
}

/** A silence counts once it is this many times what the job itself is used to. */
const RHYTHM_TIMES = 3;
/** Only who has printed for at least this share of the limit has a rhythm: a server that says hello and waits has none. */
const RHYTHM_SHARE = 0.5;
const AGREEING = 2;

const FINE: StallVerdict = { kind: "fine", signals: [], silentMs: 0 };

/** `stallAfterMs`: what the job allows. */
export function judgeStall(signs: Signs, stallAfterMs: number): StallVerdict {
  const { progressMs, progressDueMs } = signs;
  if (progressMs !== undefined && progressDueMs !== undefined) {
    // Who says when he writes next is believed, and held to it.
    return progressMs > progressDueMs ? { kind: "stalled", signals: ["deadline"], silentMs: progressMs } : FINE;
  }
  if (progressMs !== undefined && progressMs <= stallAfterMs) return FINE;
  const silences = silencesOf(signs, stallAfterMs);
  if (silences.size === 0) return FINE;
  return {
    kind: silences.size >= AGREEING ? "stalled" : "suspected",
    signals: [...silences.keys()],
    silentMs: Math.max(...silences.values()),
  };
}

function silencesOf(signs: Signs, stallAfterMs: number): ReadonlyMap<StallSignal, number> {
  const { progressMs, savedMs, savedEveryMs = 0, logMs, logGapMs = 0, logSpanMs = 0, idleMs } = signs;
  const silences = new Map<StallSignal, number>();
  const note = (signal: StallSignal, ms: number | undefined, limitMs: number) => {
    if (ms !== undefined && ms > limitMs) silences.set(signal, ms);
  };
  note("progress", progressMs, stallAfterMs);
  note("checkpoint", savedMs, Math.max(stallAfterMs, RHYTHM_TIMES * savedEveryMs));
  if (logSpanMs >= RHYTHM_SHARE * stallAfterMs) note("log", logMs, Math.max(stallAfterMs, RHYTHM_TIMES * logGapMs));
  note("idle", idleMs, stallAfterMs);
  return silences;
}
