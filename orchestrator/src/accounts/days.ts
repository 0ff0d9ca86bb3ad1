// Ranges of UTC days.

const DAY_MS = 86_400_000;

export interface Days {
  /** Both inclusive, e.g. `2026-11-27`. */
  readonly from: string;
  readonly to: string;
  /** The same as wall times: from inclusive, to exclusive. */
  readonly fromWallMs: number;
  readonly toWallMs: number;
  readonly count: number;
}

/** Both days exist. */
export function daysBetween(from: string, to: string): Days {
  const fromWallMs = Date.parse(`${from}T00:00:00Z`);
  const toWallMs = Date.parse(`${to}T00:00:00Z`) + DAY_MS;
  return { from, to, fromWallMs, toWallMs, count: (toWallMs - fromWallMs) / DAY_MS };
}

/** The day `days` before (or, below zero, after) another. */
export function dayBefore(day: string, days: number): string {
  return new Date(Date.parse(`${day}T00:00:00Z`) - days * DAY_MS).toISOString().slice(0, 10);
}

export function timeOf(wallMs: number): string {
  return new Date(wallMs).toISOString();
}
