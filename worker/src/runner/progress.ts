// The progress file: a number between 0 and 1, a percentage, or a fraction such as `30/120`. The job writes it, so nothing in it is trusted.
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

const READ_BYTES_MAX = 64;

/** The progress between 0 and 1; null where there is none that can be read. */
export async function readProgress(folder: string): Promise<number | null> {
  try {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await open(join(folder, "progress"), flags);
    try {
      if (!(await handle.stat()).isFile()) return null;
      const buffer = Buffer.alloc(READ_BYTES_MAX);
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
      return parseProgress(buffer.toString("latin1", 0, bytesRead));
    } finally {
      await handle.close();
    }
  } catch {
    return null;
  }
}

/** `0.25`, `25%`, `30/120` → 0.25; anything else is null. */
export function parseProgress(text: string): number | null {
  const match = /^\s*([0-9]+(?:\.[0-9]+)?(?:e-?[0-9]{1,2})?)\s*(?:(%)|\/\s*([0-9]+(?:\.[0-9]+)?))?\s*$/i.exec(text);
  if (match === null) return null;
  const value = Number(match[1]);
  const share = match[2] === "%" ? value / 100 : match[3] === undefined ? value : value / Number(match[3]);
  return Number.isFinite(share) && share >= 0 && share <= 1 ? share : null;
}
