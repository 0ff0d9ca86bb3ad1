// The progress file: a number between 0 and 1, a percentage, or a fraction such as `30/120`, and perhaps `deadline=600`: within so many seconds it is written
// again, else the job has stalled. The job writes it, so nothing in it is trusted.
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

const READ_BYTES_MAX = 64;
const MS_PER_S = 1_000;
/** A day: whoever is silent longer needs no deadline. */
const DEADLINE_S_MAX = 86_400;

/** What the file says; `mark` is another one after each change, and where it names a deadline after each writing. */
export interface ProgressFile {
  readonly progress: number | null;
  readonly dueMs: number | null;
  readonly mark: string;
}

/** The progress between 0 and 1; null where there is none that can be read. */
export async function readProgress(folder: string): Promise<number | null> {
  return (await readProgressFile(folder))?.progress ?? null;
}

/** Null where there is no such file. */
export async function readProgressFile(folder: string): Promise<ProgressFile | null> {
  try {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await open(join(folder, "progress"), flags);
    try {
      const stat = await handle.stat({ bigint: true });
      if (!stat.isFile()) return null;
      const buffer = Buffer.alloc(READ_BYTES_MAX);
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
      const text = buffer.toString("latin1", 0, bytesRead).trim();
      const { progress, deadlineS } = parseProgressFile(text);
      if (deadlineS === null) return { progress, dueMs: null, mark: text };
      return { progress, dueMs: Math.round(deadlineS * MS_PER_S), mark: `${text} ${stat.mtimeNs}` };
    } finally {
      await handle.close();
    }
  } catch {
    return null;
  }
}

/** `0.25 deadline=600` → 0.25 and 600; a deadline may stand alone, and one that cannot be read is none. */
export function parseProgressFile(text: string): {
  readonly progress: number | null;
  readonly deadlineS: number | null;
} {
  const match = /^(.*?)(?:(?:^|\s)deadline=([0-9]{1,6}(?:\.[0-9]{1,3})?))?\s*$/s.exec(text);
  const deadlineS = Number(match?.[2]);
  return {
    progress: parseProgress(match?.[1] ?? ""),
    deadlineS: deadlineS > 0 && deadlineS <= DEADLINE_S_MAX ? deadlineS : null,
  };
}

/** `0.25`, `25%`, `30/120` → 0.25; anything else is null. */
export function parseProgress(text: string): number | null {
  const match = /^\s*([0-9]+(?:\.[0-9]+)?(?:e-?[0-9]{1,2})?)\s*(?:(%)|\/\s*([0-9]+(?:\.[0-9]+)?))?\s*$/i.exec(text);
  if (match === null) return null;
  const value = Number(match[1]);
  const share = match[2] === "%" ? value / 100 : match[3] === undefined ? value : value / Number(match[3]);
  return Number.isFinite(share) && share >= 0 && share <= 1 ? share : null;
}
