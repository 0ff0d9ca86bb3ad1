// When a worker's silence is out of the ordinary for this worker: a bounded window of the gaps between its heartbeats, and from it the silence that a
// normal law through them would hardly ever show (after "The φ accrual failure detector", Hayashibara and others, 2004, with φ = 8).
import type { SilenceBounds, SilenceLimits } from "./config.ts";

/** Gaps kept of one worker: half a minute of a busy one. As 16-bit numbers they take 64 bytes. */
export const GAPS_MAX = 32;
/** Fewer say nothing of how they scatter: until then the fixed limits hold. */
export const GAPS_MIN = 8;
const GAP_MS_MAX = 65_535;
/** Standard deviations above the mean that a gap exceeds once in 10⁸ times (φ = 8). */
const DEVIATIONS = 5.6;
/** A line that never scattered may begin to; below this a window is believed no further. Timers and schedulers alone are that far off. */
const DEVIATION_MS_MIN = 100;
/** Real lines have longer tails than a normal law: a gap that was met may be met again, and a little more. */
const LONGEST_FACTOR = 1.1;

/** What is known of the rhythm of one worker. Changed in place: each heartbeat writes one number. */
export interface Beats {
  /** It holds work: its heartbeats come faster then, and gaps of the two rhythms are not mixed. */
  busy: boolean;
  /** When the last came, without the time in which we did not listen; negative: none yet. */
  lastMs: number;
  /** Gaps seen since the rhythm began. */
  count: number;
  readonly gaps: Uint16Array;
}

export function createBeats(): Beats {
  return { busy: false, lastMs: -1, count: 0, gaps: new Uint16Array(GAPS_MAX) };
}

/** A heartbeat came. `atMs` is on a clock that stands still while we do not listen. */
export function noteBeat(beats: Beats, atMs: number, busy: boolean): void {
  if (beats.busy !== busy) {
    beats.busy = busy;
    beats.count = 0;
  } else if (beats.lastMs >= 0) {
    beats.gaps[beats.count % GAPS_MAX] = Math.min(GAP_MS_MAX, Math.max(0, Math.round(atMs - beats.lastMs)));
    beats.count += 1;
  }
  beats.lastMs = atMs;
}

/** A new connection: the time without one is no gap. What was learned of its rhythm stays. */
export function breakBeats(beats: Beats): void {
  beats.lastMs = -1;
}

export interface Rhythm {
  readonly meanMs: number;
  readonly deviationMs: number;
  readonly longestMs: number;
}

/** Of the gaps in the window; `undefined` while there are too few, or where they are of the other rhythm. */
export function rhythmOf(beats: Beats, busy: boolean): Rhythm | undefined {
  const count = Math.min(beats.count, GAPS_MAX);
  if (count < GAPS_MIN || beats.busy !== busy) return undefined;
  let sum = 0;
  let squares = 0;
  let longestMs = 0;
  for (let at = 0; at < count; at += 1) {
    const gap = beats.gaps[at] as number;
    sum += gap;
    squares += gap * gap;
    if (gap > longestMs) longestMs = gap;
  }
  const meanMs = sum / count;
  return { meanMs, deviationMs: Math.sqrt(Math.max(0, squares / count - meanMs * meanMs)), longestMs };
}

/** After which silence the worker is suspect, and after which it is lost: by its own history, within the bounds of what hangs on it. */
export function limitsFor(rhythm: Rhythm | undefined, bounds: SilenceBounds): SilenceLimits {
  const { accrual } = bounds;
  if (accrual === undefined || rhythm === undefined) return bounds;
  const { meanMs, deviationMs, longestMs } = rhythm;
  const unusualMs = meanMs + DEVIATIONS * Math.max(DEVIATION_MS_MIN, deviationMs);
  const wantedMs = Math.ceil(Math.max(unusualMs, longestMs * LONGEST_FACTOR));
  const suspectMs = Math.min(accrual.suspectMsMax, Math.max(accrual.suspectMsMin, wantedMs));
  return { suspectMs, lostMs: Math.min(bounds.lostMs, suspectMs + accrual.confirmMs) };
}
