// How long each worker may be silent, and the deadlines that notice it. A heartbeat only moves a number; the deadline looks at it when it is due.
import type { AttemptId, JobId, WorkerId } from "@qubix/shared/domain";
import type { SilenceLimits } from "./config.ts";
import type { Machine } from "./machine.ts";
import { machineLoad } from "./market.ts";
import type { AttemptRecord, JobRecord } from "./model.ts";
import type { CoreState } from "./state.ts";

/** Names of deadlines: a letter that says what is due, and the id it concerns. */
export const deadlineKey = {
  worker: (id: WorkerId) => `w:${id}`,
  queue: (id: JobId) => `q:${id}`,
  attempt: (id: AttemptId) => `a:${id}`,
  duration: (id: AttemptId) => `d:${id}`,
  stop: (id: JobId) => `s:${id}`,
  standbyRetry: (id: JobId) => `b:${id}`,
  requeue: (id: JobId) => `r:${id}`,
  idempotency: (id: string) => `i:${id}`,
  enrolment: (id: string) => `e:${id}`,
  proof: (id: WorkerId) => `p:${id}`,
  challenge: (id: WorkerId) => `c:${id}`,
} as const;

export function silenceLimits(state: CoreState, machine: Machine): SilenceLimits {
  if (machine.hotAttempts > 0) return state.config.silenceHot;
  return machineLoad(machine) > 0 ? state.config.silenceBusy : state.config.silenceIdle;
}

/** From when on silence is counted. */
export function silentSinceMs(machine: Machine): number {
  return Math.max(machine.heardMs, machine.countFromMs);
}

/** Makes sure that the worker's next possible silence is noticed in time. */
export function watch(state: CoreState, machine: Machine): void {
  const { phase } = machine.worker;
  if (phase === "offline") return;
  const limits = silenceLimits(state, machine);
  const silentMs = phase === "online" ? limits.suspectMs : limits.lostMs;
  const atMs = machine.lostAtMs ?? silentSinceMs(machine) + silentMs;
  // Whom a shorter limit makes silent all at once, or who is excused, is not judged before what waits in the sockets was read.
  const lookAtMs = atMs > state.nowMs ? atMs : state.nowMs + state.config.stallGraceMs;
  state.deadlines.setNoLater(deadlineKey.worker(machine.id), lookAtMs);
}

/** The worker is about to get its first work: until now its heartbeats came slowly, so silence is counted from here. */
export function expectBusy(state: CoreState, machine: Machine): void {
  if (machineLoad(machine) === 0) machine.countFromMs = state.nowMs;
}

/** Sets the deadline by which a running attempt has used up its job's `durationMaxS`. */
export function armDuration(state: CoreState, job: JobRecord, attempt: AttemptRecord, notBeforeMs = 0): void {
  if (attempt.startedAtMs === null) return;
  // What this container was credited for, under this and older epochs, is part of its own running time.
  const elsewhereMs = job.creditedMs - attempt.creditedMs - attempt.baseRanMs;
  const atMs = attempt.startedAtMs + job.spec.durationMaxS * 1_000 - elsewhereMs;
  state.deadlines.set(deadlineKey.duration(attempt.id), Math.max(atMs, notBeforeMs));
}
