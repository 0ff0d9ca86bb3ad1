// Machines that are kept for a job that has waited long for room on one: they take no other job that is new, until what runs there leaves enough room. Kept in
// memory alone: after a start of ours whoever still waits is given a place again.
import type { JobId } from "@qubix/shared/domain";
import type { Machine } from "./machine.ts";
import type { CoreState } from "./state.ts";

/** From now on the machine is for this job, and for those that lost a place. */
export function keepPlace({ volatile }: CoreState, jobId: JobId, machine: Machine): void {
  volatile.keptPlaces.set(jobId, machine);
  machine.keptFor = jobId;
}

/** The job has a place, has ended, or must look elsewhere: the machine is for everybody again. */
export function freePlace({ volatile, ix }: CoreState, jobId: JobId): void {
  const machine = volatile.keptPlaces.get(jobId);
  if (machine === undefined) return;
  volatile.keptPlaces.delete(jobId);
  machine.keptFor = null;
  machine.gained = true;
  ix.market.dirty.add(machine);
}
