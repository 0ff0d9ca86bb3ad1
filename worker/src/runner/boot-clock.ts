// The machine's boot-time clock (CLOCK_BOOTTIME): it counts suspended time, never jumps, and is the same for every process since the machine started.
// Container time is measured on it, so that neither a wall clock set anew nor a restart of the agent changes what a consumer pays.
import { readFileSync } from "node:fs";
import { uptime } from "node:os";
import type { MonotonicClock } from "@qubix/shared/runtime";

export interface BootClock extends MonotonicClock {
  /** Another value after each start of the machine: times of different boots cannot be compared. */
  readonly bootId: string;
}

const UPTIME_FILE = "/proc/uptime";
const BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id";

/** Reads the kernel's clock: on Linux to 10 ms, elsewhere through `os.uptime()`. */
export function createBootClock(): BootClock {
  return { bootId: readBootId(), nowMs: readUptimeMs };
}

function readUptimeMs(): number {
  try {
    return Math.round(Number.parseFloat(readFileSync(UPTIME_FILE, "utf8")) * 1000);
  } catch {
    return Math.round(uptime() * 1000);
  }
}

function readBootId(): string {
  try {
    return readFileSync(BOOT_ID_FILE, "utf8").trim();
  } catch {
    // Not Linux: the moment of boot, to the minute, tells two boots apart.
    return `boot-${Math.round((Date.now() / 1000 - uptime()) / 60)}`;
  }
}
