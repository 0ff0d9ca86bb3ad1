// Recorded evidence against a worker. What comes of it (a slash in two phases, with an appeal) is decided from this record.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import type { CoreState } from "./state.ts";
import { emit, machineOf } from "./tables.ts";

export interface Accusation {
  /** contradiction: two signed statements that cannot both be true. */
  readonly kind: "contradiction" | "failed_proof" | "wrong_result";
  readonly workerId: WorkerId;
  readonly jobId: JobId | null;
  /** All that is needed to see it again. */
  readonly evidence: Readonly<Record<string, unknown>>;
}

/** Writes the evidence into the event log, where the worker's provider sees it. */
export function accuse(state: CoreState, { kind, workerId, jobId, evidence }: Accusation): void {
  const { providerId } = machineOf(state, workerId).worker;
  emit(state, { channel: "workers", kind: "accused", providerId, jobId, workerId, data: { kind, evidence } });
}
