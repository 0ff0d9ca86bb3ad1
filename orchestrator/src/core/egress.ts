// Which of the bytes that a worker has signed for are paid. They are the word of the one who is paid, so they are bounded: by what the job pays for at most, by
// what its budget leaves, and by what the worker's line could have carried in the time that is paid.
import { bytesOverLine, egressBytesWithin, egressChargeBetween } from "@qubix/shared/domain";
import { egressLimitOf } from "@qubix/shared/protocol";
import { armBudget } from "./budget-deadline.ts";
import { accruedSoFar } from "./charges.ts";
import { egressChargeOf } from "./egress-offers.ts";
import { capOf } from "./job-cap.ts";
import type { AttemptRecord, EgressAccount, JobRecord } from "./model.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, emitJob, noteIncident, put, refOf } from "./tables.ts";

/**
 * Pays an attempt's bytes up to a durable moment, after its time: those of the newest tick that was taken, as far as time that is paid, the job's
 * own limit and its budget allow. Never falls.
 */
export function creditEgress(state: CoreState, job: JobRecord, attempt: AttemptRecord): AttemptRecord {
  const { egress } = attempt;
  if (egress === undefined || attempt.creditedMs === 0) return attempt;
  const told = (attempt.ticks?.egressBytes ?? 0) - egress.baseBytes;
  const carried = bytesOverLine(egress.mbpsMax, attempt.baseRanMs + attempt.creditedMs) - egress.baseBytes;
  const beside = paidBytes(state, job) - egress.bytes;
  const bytesMax = egressLimitOf(job.spec)?.bytesMax ?? 0;
  const bounded = Math.min(told, carried, bytesMax - beside);
  const bytes = Math.max(egress.bytes, Math.min(bounded, affordableBytes(state, job, attempt, egress)));
  const isCut = told > carried && egress.cut !== true;
  if (bytes === egress.bytes && !isCut) return attempt;
  const next: AttemptRecord = { ...attempt, egress: { ...egress, bytes, ...(isCut ? { cut: true } : {}) } };
  put(state, "attempts", attempt.id, next);
  if (isCut) tellCut(state, job, next, { told: told + egress.baseBytes, paid: bytes + egress.baseBytes });
  if (beside + bytes === bytesMax && beside + egress.bytes < bytesMax) tellLimit(state, job, next, bytesMax);
  if (bytes > egress.bytes) armBudget(state, state.rows.jobs.get(job.id) ?? job);
  return next;
}

function paidBytes(state: CoreState, job: JobRecord): number {
  return attemptsOf(state, job.id).reduce((sum, { egress }) => sum + (egress?.bytes ?? 0), 0);
}

/** Time goes first: what was worked since the newest durable moment is not sent away. */
function affordableBytes(state: CoreState, job: JobRecord, attempt: AttemptRecord, egress: EgressAccount): number {
  if (job.cap === undefined) return Number.MAX_SAFE_INTEGER;
  const left = capOf(job) - accruedSoFar(state, job);
  const paid = egressChargeOf(attempt);
  if (left <= 0n) return egress.bytes;
  const base = egressChargeBetween(egress.pricePerGiB, 0, egress.baseBytes);
  return egressBytesWithin(egress.pricePerGiB, base + paid + left) - egress.baseBytes;
}

function tellCut(
  state: CoreState,
  job: JobRecord,
  attempt: AttemptRecord,
  { told, paid }: { readonly told: number; readonly paid: number },
): void {
  noteIncident(state, "egress_cut", refOf(attempt));
  const { epoch, workerId, egress } = attempt;
  const message = `Its worker told of ${told} bytes sent, more than its line could have carried in the time that is paid (${egress?.mbpsMax} Mbit/s at the most): they are paid only as far as that goes.`;
  emitJob(state, job, "egress_cut", { epoch, workerId, toldBytes: told, paidBytes: paid, message }, attempt);
}

function tellLimit(state: CoreState, job: JobRecord, attempt: AttemptRecord, bytesMax: number): void {
  const message = `It has sent all that egressGiBMax pays for (${job.spec.egressGiBMax} GiB). What it sends beyond is not charged; its worker may go on carrying it.`;
  emitJob(state, job, "egress_limit_reached", { epoch: attempt.epoch, bytes: bytesMax, message }, attempt);
}
