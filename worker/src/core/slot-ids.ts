// The names of slots: derived from what a slot is first made for, so that an order alone says which it means.
import type { AttemptRef, StandbyId } from "@qubix/shared/domain";
import type { SlotId } from "./model.ts";

export function attemptSlotId({ jobId, replica, epoch }: AttemptRef): SlotId {
  return `${jobId}-r${replica}e${epoch}`;
}

/** Kept when the standby becomes an attempt. */
export function standbySlotId(id: StandbyId): SlotId {
  return id.replace("/", "-");
}
