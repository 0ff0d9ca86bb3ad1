// Files in memory can be written to swap, which is a disk. The agent cannot lock them (that takes a mount of its own), so it tells the owner.
import { readFileSync } from "node:fs";

/** Whether the machine has swap that is not memory itself (zram). */
export function swapsFound(): boolean {
  try {
    const [, ...lines] = readFileSync("/proc/swaps", "utf8").trim().split("\n");
    return lines.some((line) => !line.startsWith("/dev/zram"));
  } catch {
    return false;
  }
}
