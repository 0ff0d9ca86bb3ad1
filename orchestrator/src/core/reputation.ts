// What is known of a worker's work. Verdicts of checks come here.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import type { CoreState } from "./state.ts";
import { emit } from "./tables.ts";

/** Others came to the worker's result, or agreed against it. */
export function recordVerdict(
  state: CoreState,
  verdict: {
    readonly workerId: WorkerId;
    readonly jobId: JobId;
    readonly kind: "verified" | "wrong";
    readonly evidence: Readonly<Record<string, unknown>>;
  },
): void {
  const { workerId, jobId, kind, evidence } = verdict;
  const providerId = state.ix.machines.get(workerId)?.worker.providerId ?? null;
  emit(state, { channel: "workers", kind: `work_${kind}`, providerId, workerId, data: { jobId, ...evidence } });
}
