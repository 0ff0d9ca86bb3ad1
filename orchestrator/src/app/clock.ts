// The orchestrator's clock: milliseconds that go on through restarts and never read the wall clock. Leases, deadlines and billing count on it.
import { readFileSync } from "node:fs";
import { uptime } from "node:os";
import type { MonotonicClock } from "@qubix/shared/runtime";
import type { Store } from "../store/port.ts";

const BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id";
/** Where the system names no boot: the uptime alone tells two boots apart. */
const BOOT_ID_UNKNOWN = "unknown";

/** What the machine says of time. */
export interface MachineTime {
  /** Differs from boot to boot. */
  bootId(): string;
  /** Since the machine's start, suspended time included. */
  uptimeMs(): number;
  /** Never goes back; its zero is arbitrary. */
  monotonicMs(): number;
}

/**
 * Goes on where the store says the clock stood. On the same boot the time in between counts exactly; after a reboot the machine's uptime
 * counts, which is less than the time that passed: deadlines come late rather than early. Writes the store once.
 */
export function createOrchestratorClock(store: Store, machine: MachineTime = systemTime()): MonotonicClock {
  const bootId = machine.bootId();
  const uptimeMs = Math.floor(machine.uptimeMs());
  const startedAt = machine.monotonicMs();
  const stored = store.clock();
  const committedMs = store.meta()?.clockMs ?? 0;
  const sameBoot = stored !== null && stored.bootId === bootId && stored.offsetMs + uptimeMs >= committedMs;
  const startMs = sameBoot ? stored.offsetMs + uptimeMs : stored === null ? committedMs : committedMs + uptimeMs;
  store.saveClock({ bootId, offsetMs: startMs - uptimeMs });
  return { nowMs: () => startMs + Math.floor(machine.monotonicMs() - startedAt) };
}

function systemTime(): MachineTime {
  return {
    bootId: () => {
      try {
        return readFileSync(BOOT_ID_FILE, "utf8").trim();
      } catch {
        return BOOT_ID_UNKNOWN;
      }
    },
    uptimeMs: () => uptime() * 1000,
    monotonicMs: () => performance.now(),
  };
}
