// What is special about an `exclusive` job: no two of its containers may run at once, so a successor waits until the lease of a lost attempt is surely over.
import type { JobRecord } from "./model.ts";

export function isExclusive({ spec }: JobRecord): boolean {
  return spec.failover === "exclusive";
}

/** It waits for a lease and not for a place: it is in no queue, and its standby is not promoted, ready or not. */
export function waitsForLease({ leaseWait }: JobRecord): boolean {
  return leaseWait !== undefined && leaseWait !== null;
}
