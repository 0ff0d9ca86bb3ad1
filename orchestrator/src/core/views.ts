// A job as the HTTP API shows it.
import type { Currency } from "@qubix/shared/domain";
import { type JobView, showSealed, toWireMoney } from "@qubix/shared/protocol";
import { accruedSoFar } from "./charges.ts";
import { capOf } from "./job-cap.ts";
import { egressChargeOf } from "./egress-offers.ts";
import { chargedParts, type ChargedPart, grossParts, type Payee } from "./price-parts.ts";
import type { AttemptRecord, CheckOf, JobRecord, StandbyRecord, VerificationRecord } from "./model.ts";
import { isActiveAttempt } from "./indexes.ts";
import { bothWork, leadingAttempt } from "./mirror.ts";
import { verificationView } from "./check-views.ts";
import { mirrorView } from "./mirror-views.ts";
import { leaseOverAtMs } from "./lease-wait.ts";
import { behind } from "./standbys.ts";
import type { CoreState } from "./state.ts";
import { workAtRiskMs } from "./work-at-risk.ts";

/** A job with what belongs to it, from memory or from the store. */
export interface JobRows {
  readonly job: JobRecord;
  readonly attempts: readonly AttemptRecord[];
  readonly standbys: readonly StandbyRecord[];
  /** How its result is checked; missing where it is not. */
  readonly verification?: VerificationRecord | undefined;
}

/** The wire shape of a job. `state`: for what only heartbeats say of a live one. `checks`: for runs that check it. `wallOf`: from the orchestrator's clock to RFC 3339. */
export function jobView(
  state: CoreState | null,
  rows: JobRows,
  wallOf: (clockMs: number) => string,
  checks: CoreState | null = state,
): JobView {
  const { job, attempts, standbys } = rows;
  const { currency } = job;
  const current = leadingAttempt(attempts);
  const mirror = mirrorView(state, job, attempts);
  const verification = verificationView(checks, job, rows.verification, wallOf);
  const checkpoint = job.checkpoints.at(-1);
  const standby = standbys.find(({ id }) => id === job.standbyId);
  return {
    id: job.id,
    name: job.spec.name ?? null,
    accountId: job.accountId,
    phase: job.phase,
    reason: job.reason,
    message: job.message,
    spec: specView(job),
    imageDigest: job.imageDigest,
    fromCheckpoint: job.fromCheckpoint,
    epoch: current?.epoch ?? job.epoch,
    workerId: current?.workerId ?? null,
    progress: progressOf(state, job, current),
    retriesUsed: job.retriesUsed,
    failoversUsed: job.failoversUsed,
    movesUsed: job.movesUsed ?? 0,
    move: moveView(job, standby),
    creditedMs: job.creditedMs,
    checkpoint:
      checkpoint === undefined
        ? null
        : {
            seq: checkpoint.seq,
            epoch: checkpoint.epoch,
            bytes: checkpoint.tree.bytes,
            bytesMoved: checkpoint.tree.bytesMoved,
            committedAt: wallOf(checkpoint.committedAtMs),
            ageMs: state === null ? null : Math.max(0, state.nowMs - checkpoint.committedAtMs),
            shipMs: checkpoint.shipMs ?? null,
          },
    checkpointIntervalS: job.checkpointIntervalS ?? job.spec.checkpoint.intervalS,
    workAtRiskMs:
      state === null || current === undefined || !isActiveAttempt(current) || bothWork(attempts)
        ? 0
        : workAtRiskMs(state, job, current),
    standby: standby === undefined ? null : standbyView(job, standby, state?.nowMs ?? standby.reservedAtMs),
    ...(mirror === undefined ? {} : { mirror }),
    ...(verification === undefined ? {} : { verification }),
    ...(job.check === undefined ? {} : checkView(job.check)),
    leaseWait: leaseWaitView(state, job, wallOf),
    attempts: attempts.map((attempt) => attemptView(job, attempt, currency)),
    outputs: job.outputs === null ? null : { files: job.outputs.files, bytes: job.outputs.bytes },
    workLostMs: job.workLostMs,
    budget: budgetView(state, job),
    settlement: settlementView(job, [...attempts, ...standbys]),
    createdAt: wallOf(job.createdAtMs),
    startedAt: job.startedAtMs === null ? null : wallOf(job.startedAtMs),
    endedAt: job.endedAtMs === null ? null : wallOf(job.endedAtMs),
  };
}

function checkView({ of, canary }: CheckOf): Pick<JobView, "checkOf" | "canary"> {
  return canary === undefined ? { checkOf: of } : { canary: canary.name };
}

/** Of the running attempt, else of the newest checkpoint; `null` for a job that does not tell. */
function progressOf(state: CoreState | null, job: JobRecord, current: AttemptRecord | undefined): number | null {
  if (job.phase === "succeeded") return 1;
  const saved = job.checkpoints.at(-1)?.progress ?? null;
  if (state === null || current === undefined) return saved;
  return state.volatile.live.get(current.id)?.progress ?? saved;
}

/** As it was written, with every default filled in; of what is kept sealed the names. */
function specView({ spec, currency }: JobRecord): Record<string, unknown> {
  const { priceMaxPerHour, budgetMax, egressPriceMaxPerGiB: egressMax } = spec;
  return {
    ...showSealed(spec),
    priceMaxPerHour: toWireMoney(priceMaxPerHour.amount, currency),
    ...(budgetMax === undefined ? {} : { budgetMax: toWireMoney(budgetMax.amount, currency) }),
    ...(egressMax === undefined ? {} : { egressPriceMaxPerGiB: toWireMoney(egressMax.amount, currency) }),
  };
}

function attemptView(job: JobRecord, attempt: AttemptRecord, currency: Currency): JobView["attempts"][number] {
  const { epoch, replica, workerId, providerId, phase, creditedMs, outcome } = attempt;
  const exitCode = outcome?.kind === "failed" ? outcome.exitCode : outcome?.kind === "succeeded" ? 0 : null;
  return {
    epoch,
    replica,
    workerId,
    providerId,
    phase,
    ratePerHour: toWireMoney(attempt.ratePerHour, currency),
    parts: partsView(chargedParts(job, attempt), currency),
    ...egressView(attempt, currency),
    creditedMs,
    fromCheckpointSeq: attempt.fromSeq,
    exitCode,
    ...(attempt.isRefused === undefined ? {} : { refused: true }),
  };
}

function moveView({ move, endedAtMs }: JobRecord, standby: StandbyRecord | undefined): JobView["move"] {
  if (move === undefined || endedAtMs !== null) return null;
  const { phase, why, fromWorkerId, to } = move;
  return { phase, why, fromWorkerId, toWorkerId: to ?? standby?.workerId ?? null };
}

function standbyView(job: JobRecord, standby: StandbyRecord, nowMs: number): NonNullable<JobView["standby"]> {
  const { id, workerId, providerId, phase, creditedMs, checkpointSeq } = standby;
  const ratePerHour = toWireMoney(standby.ratePerHour, job.currency);
  const lag = behind(job, standby, nowMs);
  const parts = partsView(chargedParts(job, standby), job.currency);
  return { id, workerId, providerId, phase, ratePerHour, parts, creditedMs, checkpointSeq, ...lag };
}

function leaseWaitView(
  state: CoreState | null,
  { leaseWait: wait = null }: JobRecord,
  wallOf: (clockMs: number) => string,
): JobView["leaseWait"] {
  if (wait === null) return null;
  const untilMs = state === null ? wait.untilMs : leaseOverAtMs(state, wait);
  return { workerId: wait.workerId, epoch: wait.epoch, until: wallOf(untilMs) };
}

function budgetView(state: CoreState | null, job: JobRecord): JobView["budget"] {
  const { cap, currency, settlement } = job;
  if (cap === undefined) return null;
  const used = settlement.gross ?? (state === null ? 0n : usedOf(state, job));
  const money = (amount: bigint) => toWireMoney(amount, currency);
  return { cap: money(cap.amount), source: cap.source, used: money(used), warned: cap.phase !== "open" };
}

/** What runs on beyond the cap while it is being stopped costs nothing. */
function usedOf(state: CoreState, job: JobRecord): bigint {
  const used = accruedSoFar(state, job);
  return used < capOf(job) ? used : capOf(job);
}

function partsView(
  parts: readonly ChargedPart[],
  currency: Currency,
): NonNullable<JobView["attempts"][number]["parts"]> {
  const money = (amount: bigint) => toWireMoney(amount, currency);
  return parts.map(({ name, ratePerHour, charge }) => ({
    part: name,
    ratePerHour: money(ratePerHour),
    charge: money(charge),
  }));
}

function egressView(attempt: AttemptRecord, currency: Currency): Pick<JobView["attempts"][number], "egress"> {
  const { egress } = attempt;
  if (egress === undefined) return {};
  const money = (amount: bigint) => toWireMoney(amount, currency);
  return {
    egress: { pricePerGiB: money(egress.pricePerGiB), bytes: egress.bytes, charge: money(egressChargeOf(attempt)) },
  };
}

function settlementView(job: JobRecord, payees: readonly Payee[]): JobView["settlement"] {
  const { settlement, currency } = job;
  const { phase, hold, gross, lines } = settlement;
  return {
    phase,
    hold: toWireMoney(hold, currency),
    gross: gross === null ? null : toWireMoney(gross, currency),
    ...(gross === null
      ? {}
      : {
          parts: grossParts(job, payees, gross).map(({ name, amount }) => ({
            part: name,
            amount: toWireMoney(amount, currency),
          })),
        }),
    lines: lines.map(({ account, role, amount, ms, workerId }) => ({
      account,
      role,
      amount: toWireMoney(amount, currency),
      ...(ms === undefined ? {} : { ms }),
      ...(workerId === undefined ? {} : { workerId }),
    })),
  };
}
