// How long each worker may be silent, and the deadlines that notice it. A heartbeat only moves a number; the deadline looks at it when it is due.
import type { AttemptId, JobId, WorkerId } from "@qubix/shared/domain";
import { createBeats, limitsFor, noteBeat, type Rhythm, rhythmOf } from "./accrual.ts";
import type { SilenceBounds, SilenceLimits } from "./config.ts";
import type { Machine } from "./machine.ts";
import { machineLoad } from "./market.ts";
import { creditedBesideMs } from "./mirror.ts";
import type { AttemptRecord, JobRecord } from "./model.ts";
import type { CoreState } from "./state.ts";

/** Names of deadlines: a letter that says what is due, and the id it concerns. */
export const deadlineKey = {
  worker: (id: WorkerId) => `w:${id}`,
  queue: (id: JobId) => `q:${id}`,
  attempt: (id: AttemptId) => `a:${id}`,
  duration: (id: AttemptId) => `d:${id}`,
  stop: (id: JobId) => `s:${id}`,
  lease: (id: JobId) => `l:${id}`,
  standbyRetry: (id: JobId) => `b:${id}`,
  /** It is looked at who has waited long. */
  longWaits: "v:",
  requeue: (id: JobId) => `r:${id}`,
  move: (id: JobId) => `m:${id}`,
  budget: (id: JobId) => `u:${id}`,
  idempotency: (id: string) => `i:${id}`,
  enrolment: (id: string) => `e:${id}`,
  /** Pay of one hour becomes payable. */
  release: (id: string) => `y:${id}`,
  proof: (id: WorkerId) => `p:${id}`,
  challenge: (id: WorkerId) => `c:${id}`,
  chainPay: (id: JobId) => `x:${id}`,
  /** Of a mass silence; the scope is a network or the fleet. */
  massSilence: (scope: string) => `h:${scope}`,
  /** Of a rating, dispute, slash or unstake: see `case-rows.ts`. */
  case: (id: string) => `k:${id}`,
} as const;

/** After which silence the worker is suspect, and after which it is lost: by its own history, as far as what hangs on it allows. */
export function silenceLimits(state: CoreState, machine: Machine): SilenceLimits {
  const bounds = silenceBounds(state, machine);
  return bounds.accrual === undefined ? bounds : limitsFor(rhythm(machine), bounds);
}

function silenceBounds({ config }: CoreState, machine: Machine): SilenceBounds {
  if (machine.hotAttempts > 0) return config.silenceHot;
  return machineLoad(machine) > 0 ? config.silenceBusy : config.silenceIdle;
}

/** How its heartbeats come at present; `undefined` while too little is known. */
export function rhythm(machine: Machine): Rhythm | undefined {
  return machine.beats === null ? undefined : rhythmOf(machine.beats, machineLoad(machine) > 0);
}

/** A heartbeat came: one number is written. */
export function learnBeat(state: CoreState, machine: Machine): void {
  machine.beats ??= createBeats();
  noteBeat(machine.beats, state.nowMs - state.volatile.lagMs, machineLoad(machine) > 0);
}

/** From when on silence is counted. */
export function silentSinceMs(machine: Machine): number {
  return Math.max(machine.heardMs, machine.countFromMs);
}

/** Of the time since then: what we did not listen ourselves. */
export function forgivenMs({ volatile, config }: CoreState, machine: Machine): number {
  return Math.min(config.lagForgivenMsMax, volatile.lagMs - machine.heardLagMs);
}

/** For how long it has been silent while we listened. */
export function silenceMs(state: CoreState, machine: Machine): number {
  return state.nowMs - silentSinceMs(machine) - forgivenMs(state, machine);
}

/** When its silence, should it last, makes it suspect; or, once it is suspect, lost. */
export function silenceDueMs(state: CoreState, machine: Machine): number {
  const limits = silenceLimits(state, machine);
  const limitMs = machine.worker.phase === "online" ? limits.suspectMs : limits.lostMs;
  return machine.lostAtMs ?? silentSinceMs(machine) + limitMs + forgivenMs(state, machine);
}

/** Makes sure that the worker's next possible silence is noticed in time. */
export function watch(state: CoreState, machine: Machine): void {
  if (machine.worker.phase === "offline") return;
  const atMs = silenceDueMs(state, machine);
  // Whom a shorter limit makes silent all at once, or who is excused, is not judged before what waits in the sockets was read.
  const lookAtMs = atMs > state.nowMs ? atMs : state.nowMs + state.config.stallGraceMs;
  state.deadlines.setNoLater(deadlineKey.worker(machine.id), lookAtMs);
}

/** The worker is about to get its first work: until now its heartbeats came slowly, so silence is counted from here. */
export function expectBusy(state: CoreState, machine: Machine): void {
  if (machineLoad(machine) > 0) return;
  machine.countFromMs = state.nowMs;
  machine.heardLagMs = state.volatile.lagMs;
}

/** Sets the deadline by which a running attempt has used up its job's `durationMaxS`. */
export function armDuration(state: CoreState, job: JobRecord, attempt: AttemptRecord, notBeforeMs = 0): void {
  if (attempt.startedAtMs === null) return;
  // What this container was credited for, under this and older epochs, is part of its own running time.
  const elsewhereMs = creditedBesideMs(state, job, attempt) - attempt.baseRanMs;
  const atMs = attempt.startedAtMs + job.spec.durationMaxS * 1_000 - elsewhereMs;
  state.deadlines.set(deadlineKey.duration(attempt.id), Math.max(atMs, notBeforeMs));
}
