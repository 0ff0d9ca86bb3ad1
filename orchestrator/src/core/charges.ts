// What a job has cost so far, and how much of a limit is left to each of those who work for it. Money decides in units, never in time: credited time is bounded
// by the most milliseconds that the units left can pay, so that no sum of charges ever comes to more than the cap.
import { chargeBetween, chargeFor, msWithin } from "@qubix/shared/domain";
import { egressChargeOf } from "./egress-offers.ts";
import { capOf } from "./job-cap.ts";
import { runOf } from "./mirror-state.ts";
import type { AttemptRecord, JobRecord, StandbyRecord } from "./model.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, liveStandby, machineOf, standbysOf } from "./tables.ts";

/** Micro-units that are due for certain: credited time alone. */
export function chargedSoFar(state: CoreState, job: JobRecord): bigint {
  const charges = attemptsOf(state, job.id).map((attempt) => chargeOf(attempt));
  return paid(state, job, charges) + sum(standbysOf(state, job.id).map(standbyChargeOf));
}

/**
 * Micro-units that are due if all that runs now is saved at once: what is credited, and what was worked or stood by since. Never less than
 * {@link chargedSoFar}; may come to more than the cap when a stop comes late: that is not paid.
 */
export function accruedSoFar(state: CoreState, job: JobRecord): bigint {
  const charges = attemptsOf(state, job.id).map((attempt) => accruedBy(state, job, attempt));
  const standby = liveStandby(state, job);
  const ended = sum(standbysOf(state, job.id).map(standbyChargeOf));
  return paid(state, job, charges) + ended + (standby === undefined ? 0n : standingBy(state, standby));
}

/** Of a mirror job two runs are paid: once a third was called, that one and the dearer of the others, as far as anybody can tell. */
function paid(state: CoreState, job: JobRecord, charges: readonly bigint[]): bigint {
  if (job.mirror === undefined) return sum(charges);
  const byRun: [bigint, bigint, bigint] = [0n, 0n, 0n];
  for (const [at, attempt] of attemptsOf(state, job.id).entries()) byRun[runOf(job, attempt)] += charges[at] ?? 0n;
  const [first, second, third] = byRun;
  if (job.mirror.thirdAfter === null) return first + second;
  return third + (first > second ? first : second);
}

/** All runs and standbys earn at once, micro-units an hour. */
export function accruingPerHour(state: CoreState, job: JobRecord): bigint {
  const running = attemptsOf(state, job.id).filter(({ phase }) => phase === "running");
  const standby = liveStandby(state, job);
  const stands = standby === undefined || standby.readyAtMs === null ? 0n : standby.ratePerHour;
  return sum(running.map(({ ratePerHour }) => ratePerHour)) + stands;
}

/** The most time that an attempt may be credited for, beside all others and what the job's standby has earned by now. */
export function affordableMs(state: CoreState, job: JobRecord, attempt: AttemptRecord, claimedMs: number): number {
  if (job.cap === undefined || job.mirror !== undefined) return Number.MAX_SAFE_INTEGER;
  const others = attemptsOf(state, job.id).filter(({ id }) => id !== attempt.id);
  const spent = sum(others.map((one) => chargeOf(one))) + sum(standbysOf(state, job.id).map(standbyChargeOf));
  const standby = liveStandby(state, job);
  const stands = standby === undefined ? 0n : standingBy(state, standby);
  const claims = chargeTo(attempt, Math.max(0, claimedMs));
  const left = capOf(job) - spent - egressChargeOf(attempt);
  return msOf(attempt, left - shareOf(left, stands, claims));
}

/** The same for a standby that ends now, beside what the attempt has earned by now. */
export function affordableStandbyMs(
  state: CoreState,
  job: JobRecord,
  standby: StandbyRecord,
  claimedMs: number,
): number {
  if (job.cap === undefined || job.mirror !== undefined) return Number.MAX_SAFE_INTEGER;
  const attempts = attemptsOf(state, job.id);
  const others = standbysOf(state, job.id).filter(({ id }) => id !== standby.id);
  const spent = sum(attempts.map((one) => chargeOf(one))) + sum(others.map(standbyChargeOf));
  const works = sum(attempts.map((one) => accruedBy(state, job, one) - chargeOf(one)));
  const left = capOf(job) - spent;
  return msWithin(standby.ratePerHour, shareOf(left, chargeFor(standby.ratePerHour, claimedMs), works));
}

/** What of `left` goes to a claim beside another one: all of it where both fit, else in proportion, because a stop that came late is nobody's own fault. */
function shareOf(left: bigint, claim: bigint, other: bigint): bigint {
  if (claim + other <= left) return claim;
  return (left * claim) / (claim + other);
}

/** What an attempt's credited time and egress cost. Where it took a running container over, it is billed as that container's next window: a false alarm costs nothing. */
export function chargeOf(attempt: AttemptRecord): bigint {
  return timeChargeOf(attempt) + egressChargeOf(attempt);
}

export function timeChargeOf(attempt: AttemptRecord): bigint {
  return chargeTo(attempt, attempt.creditedMs);
}

function chargeTo({ ratePerHour, baseRanMs }: AttemptRecord, creditedMs: number): bigint {
  return chargeBetween(ratePerHour, baseRanMs, baseRanMs + creditedMs);
}

/** The most time for which an attempt costs no more than this. */
function msOf({ ratePerHour, baseRanMs }: AttemptRecord, amount: bigint): number {
  return msWithin(ratePerHour, amount + chargeFor(ratePerHour, baseRanMs)) - baseRanMs;
}

function standbyChargeOf({ ratePerHour, creditedMs }: StandbyRecord): bigint {
  return chargeFor(ratePerHour, creditedMs);
}

function accruedBy(state: CoreState, job: JobRecord, attempt: AttemptRecord): bigint {
  const { creditedMs } = attempt;
  const untilMs = Math.max(creditedMs, Math.min(ranMs(state, attempt), job.spec.durationMaxS * 1_000));
  return chargeTo(attempt, untilMs) + egressChargeOf(attempt);
}

/** How long it has run under its own epoch, as far as we can tell. */
function ranMs(state: CoreState, attempt: AttemptRecord): number {
  const { phase, startedAtMs, baseRanMs, assignedAtMs, exitRanMs } = attempt;
  if (phase === "exited") return Math.min(exitRanMs ?? 0, state.nowMs - assignedAtMs) - baseRanMs;
  return phase === "running" && startedAtMs !== null ? state.nowMs - startedAtMs - baseRanMs : 0;
}

/** By now; of a worker that is not heard up to its last sign of life. */
function standingBy(state: CoreState, standby: StandbyRecord): bigint {
  if (standby.readyAtMs === null) return 0n;
  const machine = machineOf(state, standby.workerId);
  const untilMs = machine.worker.phase === "online" ? state.nowMs : Math.min(state.nowMs, machine.heardMs);
  return chargeFor(standby.ratePerHour, Math.max(0, untilMs - standby.readyAtMs));
}

function sum(amounts: readonly bigint[]): bigint {
  return amounts.reduce((all, amount) => all + amount, 0n);
}
