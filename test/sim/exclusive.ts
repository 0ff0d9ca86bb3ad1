// The guards of exclusive jobs in the virtual world, and the truth about them: no two containers of one exclusive job ever run at the same time.
import type { SlotId } from "@qubix/worker/core";
import type { JobId } from "@qubix/shared/domain";
import { BrokenInvariant, type World } from "./world.ts";

/** A guard is as late as it may be: just within the margin that the orchestrator leaves. */
const GUARD_LATE_MS = 1_900;

/** Who runs, and is not held, of each exclusive job; for the whole world. */
export class Runs {
  readonly #running = new Map<JobId, Set<object>>();

  /** Breaks the run where another container of the job runs. */
  begin(jobId: JobId, container: object, name: string): void {
    let running = this.#running.get(jobId);
    if (running === undefined) this.#running.set(jobId, (running = new Set()));
    running.add(container);
    if (running.size > 1)
      throw new BrokenInvariant(`two containers of the exclusive ${jobId} run at once: ${name} is one`);
  }

  end(jobId: JobId, container: object): void {
    this.#running.get(jobId)?.delete(container);
  }
}

/** What a guard needs of a container. */
export interface Guarded {
  isRunning(): boolean;
  hold(): void;
  letGo(): void;
}

export interface SimGuard {
  /** On the world's clock. */
  extend(slotId: SlotId, untilMs: number): void;
  mayRun(slotId: SlotId): boolean;
  watch(slotId: SlotId, container: Guarded): void;
  forget(slotId: SlotId): void;
}

/** Outlives the agent; the machine's own end takes it along. */
export function createSimGuard(world: World): SimGuard {
  const leases = new Map<SlotId, number>();
  const watched = new Map<SlotId, Guarded>();
  const mayRun = (slotId: SlotId) => world.nowMs() < (leases.get(slotId) ?? 0);

  function arm(slotId: SlotId): void {
    const untilMs = leases.get(slotId) ?? 0;
    world.after(Math.max(0, untilMs + GUARD_LATE_MS - world.nowMs()), () => {
      if (leases.get(slotId) === untilMs) watched.get(slotId)?.hold();
    });
  }

  return {
    mayRun,
    extend(slotId, untilMs) {
      leases.set(slotId, untilMs);
      arm(slotId);
      if (mayRun(slotId)) watched.get(slotId)?.letGo();
    },
    watch(slotId, container) {
      watched.set(slotId, container);
      arm(slotId);
    },
    forget(slotId) {
      leases.delete(slotId);
      watched.delete(slotId);
    },
  };
}
