// How a job's result was checked, as the HTTP API shows it.
import type { JobView } from "@qubix/shared/protocol";
import { samenessOf } from "./check-state.ts";
import type { JobRecord, VerificationRecord } from "./model.ts";
import type { CoreState } from "./state.ts";

type VerificationView = NonNullable<JobView["verification"]>;

/** `undefined` for a job that asked for none. `live`: for whether a run has found a place. */
export function verificationView(
  live: CoreState | null,
  { spec }: JobRecord,
  verification: VerificationRecord | undefined,
  wallOf: (clockMs: number) => string,
): VerificationView | undefined {
  const { mode } = spec.verification;
  if (mode === "none") return undefined;
  if (verification === undefined) {
    return { mode, state: "none", message: null, startedAt: null, decidedAt: null, runs: [] };
  }
  const { startedAtMs, decidedAtMs, message } = verification;
  return {
    mode,
    state: stateOf(live, verification),
    message,
    startedAt: wallOf(startedAtMs),
    decidedAt: decidedAtMs === null ? null : wallOf(decidedAtMs),
    runs: verification.runs.slice(1).map(({ jobId, fromSeq, workers, endedAtMs }, index) => ({
      jobId,
      fromSeq,
      workerId: workers.at(-1)?.workerId ?? null,
      endedAt: endedAtMs === null ? null : wallOf(endedAtMs),
      same: SAME[samenessOf(verification, 0, index + 1)],
    })),
  };
}

const SAME = { same: true, other: false, unread: null, unknown: null } as const;

function stateOf(live: CoreState | null, { phase, runs }: VerificationRecord): VerificationView["state"] {
  if (phase === "comparing") return "running";
  if (phase !== "running") return phase;
  const isPlaced = runs.some(({ jobId, endedAtMs }, at) => {
    return at > 0 && (endedAtMs !== null || (live?.rows.jobs.get(jobId)?.epoch ?? 0) > 0);
  });
  return isPlaced ? "running" : "waiting";
}
