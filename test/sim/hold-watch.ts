// Watches mass silences: nobody is given up while his silence is held, and nobody is kept for longer than a silence, a hold and a start of ours may last.
import { DEFAULT_CORE_CONFIG } from "@qubix/orchestrator/core";
import type { WorkerId } from "@qubix/shared/domain";
import { check, type Counts } from "./counts.ts";
import type { World } from "./world.ts";

export interface HoldWatch {
  /** An event that is no job's was committed. */
  event(kind: string, workerId: WorkerId | null, data: Readonly<Record<string, unknown>>): void;
  /** The orchestrator began anew: it knows of no holds. */
  restarted(): void;
  /** The orchestrator does nothing for so long. */
  disturbed(ms: number): void;
}

/** The fleet's scope; any other is a network. */
const FLEET = "fleet";
/** The least silence that makes anybody suspect. */
const SUSPECT_MS_MIN = 1_500;
/** The handling of what is due may take several ticks, and each of them a commit. */
const LATE_MS = 1_000;

/** `networkOf` says where a worker comes from. */
export function createHoldWatch(world: World, counts: Counts, networkOf: (id: WorkerId) => string): HoldWatch {
  const config = { ...DEFAULT_CORE_CONFIG, ...world.faults.bounds };
  const { massSilenceHoldMs, massSilenceReturnMs, silenceIdle, restartGraceMs, closeGraceMs } = config;
  /** When the hold of each scope began. */
  const began = new Map<string, number>();
  /** Their sockets closed by themselves: that is no silence. */
  const cut = new Set<WorkerId>();
  /** Silent when a hold ended, and since: that silence had its hold. */
  const outlasted = new Set<WorkerId>();
  /** Since when they are suspect; unknown where an earlier life of ours made them so, or their sockets closed while their silence was held, which is no news. */
  const suspectFrom = new Map<WorkerId, number>();
  /** When the newest hold began. */
  let heldFromMs = 0;
  /** From when on the orchestrator has done its work without a pause. */
  let steadyFromMs = 0;
  /** Until when a hold lasts at least, whoever comes back. */
  const shortestMs = Math.min(massSilenceHoldMs, massSilenceReturnMs);

  function checkLost(workerId: WorkerId): void {
    const fromMs = suspectFrom.get(workerId);
    const suspectMs = world.nowMs() - Math.max(fromMs ?? heldFromMs, steadyFromMs);
    // Whose work is taken away while he is suspect has an idle one's time.
    const confirmMs = fromMs === undefined ? restartGraceMs + closeGraceMs : silenceIdle.lostMs - SUSPECT_MS_MIN;
    const keptMs = confirmMs + massSilenceHoldMs + LATE_MS;
    check(suspectMs <= keptMs, () => `${workerId} was suspect for ${suspectMs} ms before it was given up`);
    if (cut.has(workerId)) return;
    for (const scope of [FLEET, networkOf(workerId)]) {
      const heldMs = world.nowMs() - (began.get(scope) ?? Number.NEGATIVE_INFINITY);
      check(heldMs >= shortestMs, () => `${workerId} was given up ${heldMs} ms after a silence of the ${scope} began`);
    }
  }

  /** Nobody is held twice for one silence. */
  function checkNew(scope: string, silent: number, workers: number): void {
    const before = [...outlasted].filter((id) => scope === FLEET || networkOf(id) === scope).length;
    check(silent + before <= workers, () => {
      return `a silence of the ${scope} counts ${silent} of ${workers}, and ${before} of them were held before`;
    });
  }

  return {
    event(kind, workerId, data) {
      if (kind === "mass_silence") {
        const scope = String(data["scope"]);
        const fromMs = began.get(scope);
        if (data["phase"] === "began") {
          counts.massSilences += 1;
          heldFromMs = world.nowMs();
          began.set(scope, heldFromMs);
          checkNew(scope, Number(data["silent"]), Number(data["workers"]));
          return;
        }
        began.delete(scope);
        for (const id of suspectFrom.keys()) outlasted.add(id);
        const heldMs = world.nowMs() - Math.max(fromMs ?? Number.POSITIVE_INFINITY, steadyFromMs);
        check(heldMs <= massSilenceHoldMs + LATE_MS, () => `a silence of the ${scope} was held for ${heldMs} ms`);
        if (data["silent"] !== 0) counts.holdsOutlasted += 1;
      }
      if (workerId === null) return;
      if (kind === "worker_lost") checkLost(workerId);
      if (kind === "worker_online" || kind === "worker_lost") {
        cut.delete(workerId);
        suspectFrom.delete(workerId);
        outlasted.delete(workerId);
      }
      if (kind !== "worker_suspect") return;
      if (!suspectFrom.has(workerId)) suspectFrom.set(workerId, world.nowMs());
      if (data["why"] === "closed") cut.add(workerId);
    },
    restarted() {
      began.clear();
      cut.clear();
      suspectFrom.clear();
      outlasted.clear();
      steadyFromMs = Math.max(steadyFromMs, world.nowMs());
    },
    disturbed(ms) {
      steadyFromMs = Math.max(steadyFromMs, world.nowMs() + ms);
    },
  };
}
