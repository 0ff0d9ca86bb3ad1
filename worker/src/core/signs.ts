// Signs that a container gives of getting on, and how long each has been missing. Kept per slot while its container runs; judged by the orchestrator.
// Time in which nobody looked (the machine was suspended, the agent was away) is no silence, nor is that in which its guard held the container.
import type { Signs } from "@qubix/shared/protocol";

/** What a look at a running container finds. */
export interface Look {
  /** Another one after each change of the progress file; null where it was never written. */
  readonly progressMark: string | null;
  /** By when after a writing the job says it writes again; null where it does not say. */
  readonly progressDueMs: number | null;
  /** Bytes of output so far. */
  readonly logBytes: number;
  /** For how long its guard has held it so far; missing for never. */
  readonly heldMs?: number;
  /** What the Engine says it used so far; missing where it was not asked or did not tell. */
  readonly use?: { readonly cpuMs: number; readonly ioBytes: number; readonly gpuPercent: number | null };
}

interface Watched {
  readonly atMs: number;
  readonly mark: string;
}

/** All times on the worker's clock, moved on by what nobody saw. */
export interface SignTracker {
  readonly lookedAtMs: number;
  readonly heldMs: number;
  readonly progress: (Watched & { readonly dueMs: number | null }) | null;
  readonly log: {
    readonly bytes: number;
    readonly firstAtMs: number;
    readonly atMs: number;
    /** Longest silence between two outputs. */
    readonly gapMs: number;
  } | null;
  /** Whole checkpoints: when the last stood there, and the times between the last few. */
  readonly saved: { readonly atMs: number; readonly gapsMs: readonly number[] } | null;
  readonly startedAtMs: number;
  readonly use: { readonly atMs: number; readonly cpuMs: number; readonly ioBytes: number } | null;
  /** When it last used something to speak of; null before it could be told. */
  readonly busyAtMs: number | null;
}

/** Looks come every second. After a longer pause nobody was looking for the rest of it: a job's own deadline may be a few seconds only. */
const LOOK_EVERY_MS = 1_000;
const UNSEEN_MS = 3_000;
/** A program that only sleeps takes less than this share of a core; one that works at all, more. */
const IDLE_CPU_SHARE = 0.005;
/** Less than a file's worth of reading, writing, sending in ten seconds is housekeeping. */
const IDLE_IO_BYTES = 16 * 1024;
/** Times between checkpoints of which the median is taken. */
const GAPS_KEPT = 9;
/** Signs are told once one is missing for this share of the job's `stallAfterS`: heartbeats stay small while all is well. */
const TELL_FROM_SHARE = 0.25;

/** The next tracker after a look. `null` before the first. */
export function noteLook(before: SignTracker | null, nowMs: number, look: Look): SignTracker {
  if (before === null) return firstLook(nowMs, look);
  const stoodStillMs = notCountedMs(before, nowMs, look);
  const seen = stoodStillMs === 0 ? before : movedOn(before, stoodStillMs);
  return {
    ...seen,
    lookedAtMs: nowMs,
    heldMs: look.heldMs ?? 0,
    ...progressOf(seen, nowMs, look),
    ...logOf(seen, nowMs, look),
    ...useOf(seen, nowMs, look),
  };
}

/** Of the time since the last look: what nobody saw, or what the container was held for. */
function notCountedMs({ lookedAtMs, heldMs: before }: SignTracker, nowMs: number, { heldMs = 0 }: Look): number {
  const sinceMs = nowMs - lookedAtMs;
  const unseenMs = sinceMs > UNSEEN_MS ? sinceMs - LOOK_EVERY_MS : 0;
  return Math.max(unseenMs, Math.min(sinceMs, heldMs - before));
}

/** A whole checkpoint stands in the folder. */
export function noteSave(before: SignTracker | null, nowMs: number): SignTracker | null {
  if (before === null) return null;
  const gapMs = nowMs - (before.saved?.atMs ?? before.startedAtMs);
  return { ...before, saved: { atMs: nowMs, gapsMs: [...(before.saved?.gapsMs ?? []), gapMs].slice(-GAPS_KEPT) } };
}

/** What a heartbeat tells; undefined while nothing is silent for long. */
export function signsOf(tracker: SignTracker | null, nowMs: number, stallAfterS: number): Signs | undefined {
  if (tracker === null || nowMs - tracker.lookedAtMs > UNSEEN_MS) return undefined;
  const { progress, log, saved, busyAtMs } = tracker;
  const since = (atMs: number) => Math.max(0, nowMs - atMs);
  const signs: Signs = {
    ...(progress === null ? {} : { progressMs: since(progress.atMs) }),
    ...(progress === null || progress.dueMs === null ? {} : { progressDueMs: progress.dueMs }),
    ...(saved === null ? {} : { savedMs: since(saved.atMs), savedEveryMs: median(saved.gapsMs) }),
    ...(log === null ? {} : { logMs: since(log.atMs), logGapMs: log.gapMs, logSpanMs: log.atMs - log.firstAtMs }),
    ...(busyAtMs === null ? {} : { idleMs: since(busyAtMs) }),
  };
  const fromMs = stallAfterS * 1_000 * TELL_FROM_SHARE;
  const { progressMs = 0, progressDueMs = Number.POSITIVE_INFINITY, savedMs = 0, logMs = 0, idleMs = 0 } = signs;
  return Math.max(progressMs, savedMs, logMs, idleMs) >= fromMs || progressMs > progressDueMs ? signs : undefined;
}

function firstLook(nowMs: number, look: Look): SignTracker {
  return {
    lookedAtMs: nowMs,
    heldMs: look.heldMs ?? 0,
    // What was there before is taken for written just now: nobody knows better.
    progress: look.progressMark === null ? null : { atMs: nowMs, mark: look.progressMark, dueMs: look.progressDueMs },
    log: look.logBytes === 0 ? null : { bytes: look.logBytes, firstAtMs: nowMs, atMs: nowMs, gapMs: 0 },
    saved: null,
    startedAtMs: nowMs,
    use: look.use === undefined ? null : { atMs: nowMs, cpuMs: look.use.cpuMs, ioBytes: look.use.ioBytes },
    busyAtMs: null,
  };
}

function progressOf({ progress }: SignTracker, nowMs: number, look: Look): Pick<SignTracker, "progress"> {
  const { progressMark: mark, progressDueMs: dueMs } = look;
  if (mark === null || mark === progress?.mark) return { progress };
  return { progress: { atMs: nowMs, mark, dueMs } };
}

function logOf({ log }: SignTracker, nowMs: number, { logBytes: bytes }: Look): Pick<SignTracker, "log"> {
  if (bytes === (log?.bytes ?? 0)) return { log };
  if (log === null) return { log: { bytes, firstAtMs: nowMs, atMs: nowMs, gapMs: 0 } };
  return { log: { ...log, bytes, atMs: nowMs, gapMs: Math.max(log.gapMs, nowMs - log.atMs) } };
}

function useOf(seen: SignTracker, nowMs: number, { use }: Look): Pick<SignTracker, "use" | "busyAtMs"> {
  const { use: before, busyAtMs } = seen;
  if (use === undefined) return { use: before, busyAtMs };
  const now = { atMs: nowMs, cpuMs: use.cpuMs, ioBytes: use.ioBytes };
  if (before === null || nowMs <= before.atMs) return { use: now, busyAtMs };
  const isBusy =
    use.cpuMs - before.cpuMs > IDLE_CPU_SHARE * (nowMs - before.atMs) ||
    use.ioBytes - before.ioBytes > IDLE_IO_BYTES ||
    (use.gpuPercent ?? 0) > 0;
  // Idle since the look before, at the earliest: what came first is not known.
  return { use: now, busyAtMs: isBusy ? nowMs : (busyAtMs ?? before.atMs) };
}

function movedOn(tracker: SignTracker, ms: number): SignTracker {
  const { progress, log, saved, use, busyAtMs, startedAtMs } = tracker;
  return {
    ...tracker,
    progress: progress === null ? null : { ...progress, atMs: progress.atMs + ms },
    log: log === null ? null : { ...log, firstAtMs: log.firstAtMs + ms, atMs: log.atMs + ms },
    saved: saved === null ? null : { ...saved, atMs: saved.atMs + ms },
    // What it used meanwhile is not compared with this time: measured anew.
    use: use === null ? null : { ...use, atMs: use.atMs + ms },
    busyAtMs: busyAtMs === null ? null : busyAtMs + ms,
    startedAtMs: startedAtMs + ms,
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
