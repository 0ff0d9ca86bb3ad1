// Watches mass silences: nobody is given up while his silence is held, and nobody is kept for longer than a silence, a hold and a start of ours may last.
import { DEFAULT_CORE_CONFIG } from "@qubix/orchestrator/core";
import type { WorkerId } from "@qubix/shared/domain";
import { check, type Counts } from "./counts.ts";
import type { World } from "./world.ts";

export interface HoldWatch {
  /** An event that is no job's was committed. `heardMs`: when that worker was last read. */
  event(kind: string, workerId: WorkerId | null, data: Readonly<Record<string, unknown>>, heardMs: number): void;
  /** The orchestrator began anew: it knows of no holds. */
  restarted(): void;
  /** The orchestrator does nothing for so long. */
  disturbed(ms: number): void;
}

/** The fleet's scope; any other is a network. */
const FLEET = "fleet";
/** The handling of what is due may take several ticks, and each of them a commit. */
const LATE_MS = 2_000;

/** `networkOf` says where a worker comes from. */
export function createHoldWatch(world: World, counts: Counts, networkOf: (id: WorkerId) => string): HoldWatch {
  const { massSilenceHoldMs, massSilenceReturnMs, silenceIdle } = { ...DEFAULT_CORE_CONFIG, ...world.faults.bounds };
  /** When the hold of each scope began. */
  const began = new Map<string, number>();
  /** Their sockets closed by themselves: that is no silence. */
  const cut = new Set<WorkerId>();
  /** From when on the orchestrator has done its work without a pause. */
  let steadyFromMs = 0;
  /** Until when a hold lasts at least, whoever comes back. */
  const shortestMs = Math.min(massSilenceHoldMs, massSilenceReturnMs);

  function checkLost(workerId: WorkerId, heardMs: number): void {
    const silentMs = world.nowMs() - Math.max(heardMs, steadyFromMs);
    const keptMs = silenceIdle.lostMs + massSilenceHoldMs + LATE_MS;
    check(silentMs <= keptMs, () => `${workerId} was silent for ${silentMs} ms before it was given up`);
    if (cut.has(workerId)) return;
    for (const scope of [FLEET, networkOf(workerId)]) {
      const heldMs = world.nowMs() - (began.get(scope) ?? Number.NEGATIVE_INFINITY);
      check(heldMs >= shortestMs, () => `${workerId} was given up ${heldMs} ms after a silence of the ${scope} began`);
    }
  }

  return {
    event(kind, workerId, data, heardMs) {
      if (kind === "mass_silence") {
        const scope = String(data["scope"]);
        const fromMs = began.get(scope);
        if (data["phase"] === "began") {
          counts.massSilences += 1;
          began.set(scope, world.nowMs());
          return;
        }
        began.delete(scope);
        const heldMs = world.nowMs() - Math.max(fromMs ?? Number.POSITIVE_INFINITY, steadyFromMs);
        check(heldMs <= massSilenceHoldMs + LATE_MS, () => `a silence of the ${scope} was held for ${heldMs} ms`);
        if (data["silent"] !== 0) counts.holdsOutlasted += 1;
      }
      if (workerId === null) return;
      if (kind === "worker_online") cut.delete(workerId);
      if (kind === "worker_suspect" && data["why"] === "closed") cut.add(workerId);
      if (kind === "worker_lost") checkLost(workerId, heardMs);
    },
    restarted() {
      began.clear();
      cut.clear();
      steadyFromMs = Math.max(steadyFromMs, world.nowMs());
    },
    disturbed(ms) {
      steadyFromMs = Math.max(steadyFromMs, world.nowMs() + ms);
    },
  };
}
