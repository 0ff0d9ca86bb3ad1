// What a job was asked that is to go elsewhere: saying it, and what it means for the container's end. Who asks is in `moving.ts`.
import type { EndOutcome } from "@qubix/shared/protocol";
import type { Slot, StopReason } from "./model.ts";
import { type Draft, emit, liveOf, type WorkerState } from "./state.ts";

/** The container runs, under this agent: what it was asked is said, or said again. */
export function sendRequest(draft: Draft, slot: Slot): void {
  const { asked } = slot;
  if (asked === undefined || asked.untilMs === null || slot.stopping !== null) return;
  emit(draft, { kind: "request", slotId: slot.id, number: asked.n });
}

/** When a wish that was not answered is over; null for none. */
export function answerDueAtMs(slot: Slot): number | null {
  return slot.stopping === null && slot.phase === "running" ? (slot.asked?.untilMs ?? null) : null;
}

/** Whether a container that ended with an error did so because it was asked to go. */
export function leftAsAsked(slot: Slot): boolean {
  return slot.stopping === null && slot.asked !== undefined && slot.asked.untilMs !== null;
}

export function moveReason({ reclaim }: Slot): StopReason {
  return reclaim === undefined ? "drain" : "reclaimed";
}

/** The end as it is told: whether what the job saved when it was asked to is safe. */
export function outcomeOf(state: WorkerState, slot: Slot, outcome: EndOutcome): EndOutcome {
  if (outcome.kind !== "stopped" && outcome.kind !== "worker_failed") return outcome;
  // Where memory is saved the program runs on until it is stopped: what it did meanwhile is lost, and is told.
  if (
    slot.run.transparent === true ||
    slot.asked?.saved !== true ||
    slot.pending !== null ||
    liveOf(state, slot).newest !== null
  )
    return outcome;
  return { ...outcome, saved: true };
}
