// What is special about a slot of an `exclusive` job: its container runs only under a lease, which answered heartbeats renew, and the orchestrator is told,
// signed, when it is certain that the container is over.
import { EXCLUSIVE_LEASE_MS } from "@qubix/shared/protocol";
import type { Slot, WorkerCoreEvent } from "./model.ts";
import { beat, tellStopped } from "./reports.ts";
import { type Draft, emit, liveOf, slotOfAttempt, update } from "./state.ts";

/** A container is not started on what is left of a lease when that is less: creating its processes must be done long before the guard would pause them. */
const START_LEASE_MS_MIN = 5_000;

const MAY_RUN: readonly Slot["phase"][] = ["preparing", "starting", "running"];

export function isExclusive({ run }: Slot): boolean {
  return run.failover === "exclusive";
}

/** Whether a container may start now; if not, a heartbeat asks for the lease at once, and {@link noteAnswered} starts it. */
export function mayStart(draft: Draft, slot: Slot): boolean {
  if (!isExclusive(slot)) return true;
  const live = liveOf(draft.state, slot);
  if ((live.leaseUntilMs ?? 0) - draft.nowMs >= START_LEASE_MS_MIN) return true;
  live.startWaits = true;
  askForLease(draft);
  return false;
}

/** The lease counts from an answered heartbeat that lists the attempt under its epoch: the next one need not wait its turn. */
export function askForLease(draft: Draft): void {
  if (draft.state.sessionId !== null) beat(draft);
}

/**
 * A heartbeat was answered, that was sent at `sentAtMs`. It renews what it lists under the epoch that is still the slot's: a fence comes before the answer,
 * so what the orchestrator counts as over is renewed no more. Returns the slots that waited for it and may start.
 */
export function noteAnswered(
  draft: Draft,
  { attempts, sentAtMs }: Extract<WorkerCoreEvent, { kind: "answered" }>,
): readonly Slot[] {
  const untilMs = sentAtMs + EXCLUSIVE_LEASE_MS;
  const starts: Slot[] = [];
  for (const attempt of attempts) {
    const slot = slotOfAttempt(draft.state, attempt);
    if (slot === undefined || !isExclusive(slot) || !MAY_RUN.includes(slot.phase)) continue;
    const live = liveOf(draft.state, slot);
    if (untilMs <= (live.leaseUntilMs ?? 0)) continue;
    live.leaseUntilMs = untilMs;
    emit(draft, { kind: "lease", slotId: slot.id, untilMs });
    if (live.startWaits && slot.phase === "preparing") starts.push(slot);
    live.startWaits = false;
  }
  return starts;
}

/** From here on its container certainly does not run: it has ended, or was never started. */
export function noteOver(draft: Draft, slot: Slot): Slot {
  return isExclusive(slot) && slot.over !== true ? update(draft, slot, { over: true }) : slot;
}

/** The container is deleted, and with it the slot. */
export function tellRemoved(draft: Draft, slot: Slot): void {
  if (isExclusive(slot)) tellStopped(draft, { ...slot, over: true });
}
