// The end of a job: its standby is released, its money settled, in the same step; then it leaves memory.
import { jobTable } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { considerCanary, onCanaryEnded } from "./canaries.ts";
import { onCheckEnded } from "./check-results.ts";
import { considerChecks } from "./checks.ts";
import { settle } from "./metering.ts";
import type { JobRecord } from "./model.ts";
import { recordCompleted } from "./reputation.ts";
import { deadlineKey } from "./silence.ts";
import { releaseStandby } from "./standbys.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, countUp, effect, emitJob, fire, patchJob } from "./tables.ts";
import { isActiveAttempt } from "./indexes.ts";

export interface JobEnd {
  readonly event: "completed" | "failed" | "cancelled";
  /** A literal for programs. */
  readonly reason: string;
  /** For people: what happened, why, what to do next. */
  readonly message: string | null;
}

/** Ends a job that has no active attempt any more. */
export function endJob(state: CoreState, job: JobRecord, end: JobEnd): void {
  const phase = fire(state, jobTable, job.phase, end.event);
  assert(phase !== undefined, `job ${job.id} ended twice`);
  assert(!attemptsOf(state, job.id).some(isActiveAttempt), `job ${job.id} ends with an active attempt`);
  let ended = releaseMirror(state, releaseStandby(state, job));
  ended = patchJob(state, ended, { phase, reason: end.reason, message: end.message, endedAtMs: state.nowMs });
  const { epoch, creditedMs, workLostMs } = ended;
  emitJob(state, ended, end.event, { reason: end.reason, message: end.message, epoch, creditedMs, workLostMs });
  const settled = settle(state, ended);
  if (end.event === "completed") recordCompleted(state, settled);
  if (ended.vaultId !== null) effect(state, { kind: "shred", vaultId: ended.vaultId });
  if (ended.check === undefined) countUp(state, COUNTERS[end.event]);
  state.deadlines.clear(deadlineKey.queue(job.id));
  state.deadlines.clear(deadlineKey.stop(job.id));
  state.deadlines.clear(deadlineKey.lease(job.id));
  state.deadlines.clear(deadlineKey.standbyRetry(job.id));
  state.deadlines.clear(deadlineKey.move(job.id));
  state.deadlines.clear(deadlineKey.budget(job.id));
  state.step.ended.push(job.id);
  if (settled.check === undefined) {
    considerChecks(state, settled);
    considerCanary(state, settled);
  } else if (settled.check.canary !== undefined) onCanaryEnded(state, settled);
  else onCheckEnded(state, settled);
}

/** What only the comparison needed: checkpoints of the second replica, and results that are not the job's. */
function releaseMirror(state: CoreState, job: JobRecord): JobRecord {
  const { mirror } = job;
  if (mirror === undefined) return job;
  const results = mirror.results.flatMap(({ outputs }) => outputs ?? []);
  const trees = [...mirror.checkpoints.map(({ tree }) => tree), ...results];
  if (trees.length > 0) effect(state, { kind: "collect", accountId: job.accountId, jobId: job.id, trees });
  return patchJob(state, job, { mirror: { ...mirror, checkpoints: [] } });
}

const COUNTERS = { completed: "jobsSucceeded", failed: "jobsFailed", cancelled: "jobsCancelled" } as const;
