// What may cost a provider his stake is an accusation with its evidence, recorded before anything else comes of it.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import type { CoreState } from "./state.ts";
import { emit } from "./tables.ts";

export interface Accusation {
  readonly kind: "contradiction" | "failed_proof" | "wrong_result";
  readonly workerId: WorkerId;
  readonly jobId: JobId | null;
  readonly evidence: Readonly<Record<string, unknown>>;
}

export function accuse(state: CoreState, { kind, workerId, jobId, evidence }: Accusation): void {
  const providerId = state.ix.machines.get(workerId)?.worker.providerId ?? null;
  emit(state, {
    channel: "workers",
    kind: "accused",
    providerId,
    workerId,
    data: { accusation: kind, jobId, ...evidence },
  });
}
