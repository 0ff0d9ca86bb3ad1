// What one slot asks of the guard: nothing, unless its job is exclusive.
import type { RunSpec } from "@qubix/shared/protocol";
import type { SlotId } from "../core/index.ts";
import type { Guard } from "../guard/guard.ts";
import type { Containers } from "./containers.ts";

export interface SlotGuard {
  /** The container is about to be made. */
  prepare(run: RunSpec): void;
  /** Right before its start. Throws `guard_failed` where the guard is not there or the lease is over. */
  arm(run: RunSpec, signal: AbortSignal): Promise<void>;
  /** It runs already, since an earlier life of the agent. */
  follow(run: RunSpec): Promise<void>;
  extend(untilMs: number): void;
  /** Its lease is over: it must not run on, not even to end in good order. */
  isOver(): boolean;
  heldMs(): number;
  /** Nothing is left to guard. */
  release(): void;
}

export function createSlotGuard(
  id: SlotId,
  { guard, containers }: { readonly guard: Guard | null; readonly containers: Pick<Containers, "inspect"> },
): SlotGuard {
  let guarded = false;

  /** Null for a job that is not exclusive. */
  function guardOf({ failover }: RunSpec): Guard | null {
    if (failover !== "exclusive") return null;
    guarded = true;
    return guard;
  }

  return {
    prepare: (run) => guardOf(run)?.want(id),
    async arm(run, signal) {
      const found = guardOf(run);
      if (!guarded) return;
      const container = await containers.inspect(id);
      if (found === null) throw new Error("this machine has no guard for exclusive jobs");
      if (container !== undefined) await found.arm(id, container.id, signal);
    },
    async follow(run) {
      const found = guardOf(run);
      const container = found === null ? undefined : await containers.inspect(id);
      if (container !== undefined) found?.adopt(id, container.id);
    },
    extend: (untilMs) => guard?.extend(id, untilMs),
    isOver: () => guarded && (guard?.leaseLeftMs(id) ?? 0) <= 0,
    heldMs: () => (guarded ? (guard?.heldMs(id) ?? 0) : 0),
    release: () => guard?.release(id),
  };
}
