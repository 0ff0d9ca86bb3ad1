// The wait of an `exclusive` job ends: by time, or sooner by its worker's signed word that the container is over. Then it goes on as any interrupted job does.
import { attemptId, type JobId } from "@qubix/shared/domain";
import type { WorkerMessage } from "@qubix/shared/protocol";
import { ack } from "./attempts.ts";
import { canPromote, promote } from "./failover.ts";
import { leaseOverAtMs } from "./lease-wait.ts";
import type { Machine } from "./machine.ts";
import type { JobRecord } from "./model.ts";
import { placeAsAsked } from "./moves.ts";
import { newestCheckpoint, reportMatched } from "./placing.ts";
import { armQueue } from "./queue-deadline.ts";
import { deadlineKey } from "./silence.ts";
import { loseStandby } from "./standbys.ts";
import type { CoreState } from "./state.ts";
import { currentAttempt, emitJob, liveStandby, patchJob, put } from "./tables.ts";

/** Its time may be over. */
export function onLeaseDue(state: CoreState, id: JobId): void {
  const job = state.rows.jobs.get(id);
  const wait = job?.leaseWait ?? null;
  if (job?.phase !== "queued" || wait === null) return;
  const atMs = leaseOverAtMs(state, wait);
  if (state.nowMs < atMs) return state.deadlines.set(deadlineKey.lease(id), atMs);
  goOn(state, job, "time");
}

/** The gateway has verified the signature. It is kept with the attempt, whatever became of that. */
export function onStopped(
  state: CoreState,
  machine: Machine,
  message: Extract<WorkerMessage, { kind: "stopped" }>,
): void {
  ack(state, machine, message);
  const attempt = state.rows.attempts.get(attemptId(message.attempt));
  if (attempt === undefined || attempt.workerId !== machine.id || attempt.stopped !== undefined) return;
  put(state, "attempts", attempt.id, { ...attempt, stopped: message.signature });
  const job = state.rows.jobs.get(attempt.jobId);
  if (job?.phase === "queued" && job.leaseWait?.epoch === attempt.epoch) goOn(state, job, "stopped");
}

/** Promotes the standby that stood by all the while, else looks for a place. `queueS` counts from here. */
function goOn(state: CoreState, job: JobRecord, by: "time" | "stopped"): void {
  const gone = currentAttempt(state, job);
  const why = job.leaseWait?.why ?? "";
  state.deadlines.clear(deadlineKey.lease(job.id));
  const next = patchJob(state, job, { leaseWait: null, queuedAtMs: state.nowMs });
  armQueue(state, next);
  const fromSeq = newestCheckpoint(next)?.seq ?? 0;
  emitJob(state, next, "lease_over", { epoch: next.epoch, workerId: gone?.workerId ?? null, by, fromSeq }, gone);
  state.volatile.dispatchPending = true;
  const standby = liveStandby(state, next);
  if (standby?.phase !== "ready") return placeAsAsked(state, next.id);
  if (!canPromote(state, standby)) return void loseStandby(state, next, standby, "revoked", "not_heard");
  const workLostMs = gone?.workLostMs ?? 0;
  reportMatched(state, promote(state, next, standby, "placed", { why, workLostMs, from: gone ?? null }));
}
