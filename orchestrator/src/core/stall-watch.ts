// What comes of a stall: an attempt that gives no sign of getting on is fenced and its job goes on elsewhere from its newest checkpoint; a mere suspicion is told once.
import type { Signs } from "@qubix/shared/protocol";
import { carryOn, fenceAttempt } from "./failover.ts";
import { MS_PER_S } from "./metering.ts";
import type { AttemptRecord, JobRecord } from "./model.ts";
import { newestCheckpoint } from "./placing.ts";
import { judgeStall, type StallVerdict } from "./stalls.ts";
import type { CoreState, LiveAttempt } from "./state.ts";
import { attemptsOf, countUp, emitJob, jobOf, put } from "./tables.ts";

/** A heartbeat told of silences. */
export function onSigns(state: CoreState, attempt: AttemptRecord, live: LiveAttempt, signs: Signs): void {
  const job = jobOf(state, attempt.jobId);
  const { stallAfterS } = job.spec;
  if (stallAfterS === 0 || attempt.phase !== "running" || job.intent !== null) return;
  const verdict = judgeStall(signs, stallAfterS * MS_PER_S);
  if (verdict.kind === "fine") return;
  if (verdict.kind === "stalled") return giveUp(state, job, attempt, verdict);
  if (live.stallSuspected) return;
  report(state, job, attempt, "stall_suspected", verdict);
  live.stallSuspected = true;
}

function giveUp(state: CoreState, job: JobRecord, attempt: AttemptRecord, verdict: StallVerdict): void {
  report(state, job, attempt, "stalled", verdict);
  countUp(state, "stalls");
  const isOwn = stalledThereBefore(state, job, attempt);
  const stalled: AttemptRecord = { ...attempt, stalled: true };
  put(state, "attempts", attempt.id, stalled);
  fenceAttempt(state, stalled);
  const silent = `it gave no sign of progress (${verdict.signals.join(", ")}) for ${Math.round(verdict.silentMs / MS_PER_S)} s.`;
  carryOn(state, stalled, {
    // A job that stalls again from the same checkpoint does so by itself, wherever it runs.
    budget: isOwn ? "retries" : "failovers",
    why: "stalled",
    message: isOwn ? `It stalled again at the same place: ${silent} Its logs say how far it came.` : silent,
  });
}

function stalledThereBefore(state: CoreState, job: JobRecord, { id, fromSeq, replica }: AttemptRecord): boolean {
  if ((newestCheckpoint(job, replica)?.seq ?? 0) !== fromSeq) return false;
  return attemptsOf(state, job.id).some(
    (other) => other.id !== id && other.replica === replica && other.stalled === true && other.fromSeq === fromSeq,
  );
}

function report(
  state: CoreState,
  job: JobRecord,
  attempt: AttemptRecord,
  kind: "stalled" | "stall_suspected",
  { signals, silentMs }: StallVerdict,
): void {
  const { epoch, workerId } = attempt;
  emitJob(state, job, kind, { workerId, epoch, signals, silentMs, stallAfterS: job.spec.stallAfterS }, attempt);
}
