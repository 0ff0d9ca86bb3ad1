// The two replicas of a mirror job as the HTTP API shows them.
import type { JobView } from "@qubix/shared/protocol";
import { isActiveAttempt } from "./indexes.ts";
import { checkpointsOf, resultText, runOf } from "./mirror-state.ts";
import type { AttemptRecord, JobRecord } from "./model.ts";
import type { CoreState } from "./state.ts";

type MirrorView = NonNullable<JobView["mirror"]>;
type ReplicaView = MirrorView["replicas"][number];

/** `undefined` for a job without a mirror. */
export function mirrorView(
  state: CoreState | null,
  job: JobRecord,
  attempts: readonly AttemptRecord[],
): MirrorView | undefined {
  const { mirror } = job;
  if (mirror === undefined) return undefined;
  return {
    verified: mirror.verified,
    third: mirror.thirdAfter !== null,
    checkpointsSame: mirror.compared.same,
    checkpointsDifferent: mirror.compared.different,
    replicas: [0, 1].map((replica) => replicaView(state, job, replica, attempts)),
  };
}

function replicaView(
  state: CoreState | null,
  job: JobRecord,
  replica: number,
  attempts: readonly AttemptRecord[],
): ReplicaView {
  const attempt = attempts.findLast((other) => other.replica === replica);
  const isActive = attempt !== undefined && isActiveAttempt(attempt);
  // Before the third has its first attempt, replica 1's newest is still the second's.
  const isThirdSought = replica === 1 && job.mirror?.thirdAfter !== null && job.mirror?.thirdAfter === attempt?.epoch;
  const run = attempt === undefined ? undefined : runOf(job, attempt);
  const result = isThirdSought ? undefined : job.mirror?.results.find((other) => other.run === run);
  const saved = checkpointsOf(job, replica).at(-1);
  const live = attempt === undefined ? undefined : state?.volatile.live.get(attempt.id);
  return {
    replica,
    state: isActive
      ? attempt.phase === "assigned"
        ? "starting"
        : "running"
      : result === undefined
        ? "sought"
        : "ended",
    epoch: attempt?.epoch ?? 0,
    workerId: isActive || result !== undefined ? (attempt?.workerId ?? null) : null,
    providerId: isActive || result !== undefined ? (attempt?.providerId ?? null) : null,
    progress: live?.progress ?? saved?.progress ?? null,
    checkpointSeq: saved?.seq ?? 0,
    result: result === undefined ? null : resultText(result),
  };
}
