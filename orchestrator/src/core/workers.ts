// Worker sessions: opened, heard, closed, silent, lost; and what each means for what runs there.
import { type SessionId, type WorkerEvent, type WorkerId, workerSessionTable } from "@qubix/shared/domain";
import type { WorkerOffer } from "@qubix/shared/protocol";
import { isExclusive } from "./exclusive.ts";
import { canPromote, loseAttempt, placeOnStandby } from "./failover.ts";
import type { Machine } from "./machine.ts";
import { loseStandby } from "./standbys.ts";
import type { AttemptRecord, WorkerRecord } from "./model.ts";
import { abandonChallenge } from "./proofs.ts";
import { breakBeats } from "./accrual.ts";
import { holdBack, isAwaited, isHeld, judgeSilence, leaveHold, noteReturn } from "./mass-silence.ts";
import { machineLoad } from "./market.ts";
import { blame } from "./standing.ts";
import { silenceDueMs, watch } from "./silence.ts";
import type { CoreState } from "./state.ts";
import { countUp, effect, emit, emitJob, fire, jobOf, liveStandby, put } from "./tables.ts";
import type { Deadline } from "./deadline-heap.ts";
import { deadlineKey } from "./silence.ts";

/** Authenticated. An older session of the worker is over; nothing is sent before its hello. */
export function onOpened(state: CoreState, workerId: WorkerId, sessionId: SessionId, network: string | null): void {
  const machine = state.ix.machines.get(workerId);
  if (machine === undefined) {
    return effect(state, { kind: "disconnect", workerId, sessionId, reason: "this worker is not enrolled here" });
  }
  const { worker } = machine;
  if (worker.sessionId === sessionId) return;
  machine.network = network;
  if (worker.sessionId !== null) {
    const reason = "replaced by a newer connection of the same worker";
    effect(state, { kind: "disconnect", workerId, sessionId: worker.sessionId, reason });
  }
  abandonChallenge(state, machine);
  const next = { ...worker, sessionId };
  put(state, "workers", worker.id, next);
  state.step.reply = { kind: "worker", worker: next };
}

/** Its socket closed: suspect at once. What has a ready standby is promoted, the rest waits a moment for it to come back. */
export function onClosed(state: CoreState, machine: Machine, sessionId: SessionId): void {
  const { worker } = machine;
  if (worker.sessionId !== sessionId) return;
  abandonChallenge(state, machine);
  const isBack = !isAwaited(machine);
  const phase = fire(state, workerSessionTable, worker.phase, "closed") ?? worker.phase;
  put(state, "workers", worker.id, { ...worker, phase, sessionId: null });
  machine.greeted = null;
  // Among thousands who connect at once a first try may fail: the time it has to come back after our start is not shortened by having tried.
  if (!isBack) {
    machine.lostAtMs = Math.max(machine.lostAtMs ?? 0, state.nowMs + state.config.closeGraceMs);
    return watch(state, machine);
  }
  if (phase !== "suspect" || isHeld(state, machine)) return;
  machine.cut = true;
  machine.blameless = false;
  machine.suspectAtMs ??= state.nowMs;
  machine.lostAtMs = state.nowMs + state.config.closeGraceMs;
  watch(state, machine);
  reportSuspect(state, machine, "closed");
  const promoted = attemptsOn(state, machine).filter((attempt) => promoteEarly(state, attempt));
  if (promoted.length > 0) blame(state, machine, "worker_closed");
}

/** Any sign of life of the current session. Moves numbers; a row only when the worker was suspect. */
export function onHeard(state: CoreState, machine: Machine): void {
  const { worker } = machine;
  noteHeard(state, machine);
  const phase = fire(state, workerSessionTable, worker.phase, "heard");
  if (phase === undefined || phase === worker.phase) return;
  noteBack(machine);
  machine.blameless = false;
  put(state, "workers", worker.id, { ...worker, phase });
  reportWorker(state, machine, "worker_online", {});
  watch(state, machine);
  for (const id of machine.standbys) {
    const standby = state.rows.standbys.get(id);
    if (standby !== undefined) placeOnStandby(state, jobOf(state, standby.jobId));
  }
}

/** It said hello: online, with what it offers now. Reconciling is the caller's. */
export function onGreeted(state: CoreState, machine: Machine, sessionId: SessionId, offer: WorkerOffer): void {
  const { worker } = machine;
  const phase = fire(state, workerSessionTable, worker.phase, "opened") ?? worker.phase;
  noteReturn(state, machine);
  greet(state, machine, sessionId);
  noteHeard(state, machine);
  machine.countFromMs = state.nowMs;
  if (machine.beats !== null) breakBeats(machine.beats);
  noteBack(machine);
  const next: WorkerRecord = { ...worker, phase, offer: settledOffer(worker.offer, offer) };
  if (next.phase !== worker.phase || next.offer !== worker.offer) put(state, "workers", worker.id, next);
  if (next.phase !== worker.phase) reportWorker(state, machine, "worker_online", {});
  if (next.offer !== worker.offer) reportOffer(state, machine);
  watch(state, machine);
}

function noteHeard(state: CoreState, machine: Machine): void {
  machine.heardMs = state.nowMs;
  machine.heardLagMs = state.volatile.lagMs;
  machine.excused = false;
  leaveHold(state, machine);
}

/** It is neither suspect nor awaited any more. */
function noteBack(machine: Machine): void {
  machine.lostAtMs = null;
  machine.suspectAtMs = null;
  machine.cut = false;
}

/** Undone with the step: a session whose hello was not reconciled gets no answer, and so comes back with another. */
function greet(state: CoreState, machine: Machine, sessionId: SessionId): void {
  const before = machine.greeted;
  state.step.undo.push(() => {
    machine.greeted = before;
  });
  machine.greeted = sessionId;
}

/** What it offers changed. */
export function onOffer(state: CoreState, machine: Machine, offer: WorkerOffer): void {
  const { worker } = machine;
  const next = settledOffer(worker.offer, offer);
  if (next === worker.offer) return;
  put(state, "workers", worker.id, { ...worker, offer: next });
  reportOffer(state, machine);
  if (offer.draining && worker.offer?.draining !== true) reportWorker(state, machine, "worker_draining", {});
}

/** After a start of ours: no session is left, and whoever was there has a whole lease to come back. */
export function onRestart(state: CoreState, machine: Machine): void {
  const { worker } = machine;
  machine.greeted = null;
  if (worker.phase === "offline" && worker.sessionId === null) return;
  const phase = fire(state, workerSessionTable, worker.phase, "silent") ?? worker.phase;
  if (phase !== worker.phase || worker.sessionId !== null) {
    put(state, "workers", worker.id, { ...worker, phase, sessionId: null });
  }
  if (phase !== "suspect") return;
  machine.suspectAtMs ??= state.nowMs;
  machine.blameless = true;
  machine.lostAtMs = state.nowMs + state.config.restartGraceMs;
  state.deadlines.set(deadlineKey.worker(worker.id), machine.lostAtMs);
}

/** The worker's silence may have lasted long enough. */
export function onSilenceDue(state: CoreState, machine: Machine, due: Deadline): void {
  const { phase } = machine.worker;
  if (phase === "offline") return;
  const atMs = silenceDueMs(state, machine);
  if (state.nowMs < atMs) return state.deadlines.set(due.key, atMs);
  const { stallLateMs, stallGraceMs } = state.config;
  const late = state.nowMs - Math.max(atMs, due.atMs) > stallLateMs;
  // What was due at the very end of a stall is not late, and yet nothing was read.
  const isUnread = late || state.nowMs < state.volatile.stalledUntilMs + stallGraceMs;
  if (isUnread && !machine.excused) {
    // We were not listening ourselves: read what waits in the sockets before judging.
    machine.excused = true;
    return state.deadlines.set(due.key, state.nowMs + stallGraceMs);
  }
  if (phase === "online") return becomeSuspect(state, machine);
  if (!holdBack(state, machine)) expire(state, machine);
}

function becomeSuspect(state: CoreState, machine: Machine): void {
  const { worker } = machine;
  const phase = fire(state, workerSessionTable, worker.phase, "silent") ?? worker.phase;
  put(state, "workers", worker.id, { ...worker, phase });
  machine.suspectAtMs = state.nowMs;
  machine.blameless = isHeld(state, machine);
  reportSuspect(state, machine, "silent");
  judgeSilence(state, machine);
  watch(state, machine);
}

/** Given up: whatever it had is lost. Should it be alive after all, its next hello sorts that out. */
function expire(state: CoreState, machine: Machine): void {
  const { worker } = machine;
  const event: WorkerEvent = "expired";
  const phase = fire(state, workerSessionTable, worker.phase, event) ?? worker.phase;
  if (worker.sessionId !== null) {
    effect(state, {
      kind: "disconnect",
      workerId: worker.id,
      sessionId: worker.sessionId,
      reason: "not heard for too long",
    });
  }
  put(state, "workers", worker.id, { ...worker, phase, sessionId: null });
  if (machineLoad(machine) > 0) blame(state, machine, "worker_lost");
  else if (!worker.draining && worker.offer?.draining !== true) blame(state, machine, "worker_gone");
  abandonChallenge(state, machine);
  machine.greeted = null;
  machine.lostAtMs = null;
  leaveHold(state, machine);
  countUp(state, "workersLost");
  reportWorker(state, machine, "worker_lost", { silentMs: state.nowMs - machine.heardMs });
  for (const id of machine.standbys) {
    const standby = state.rows.standbys.get(id);
    if (standby !== undefined) loseStandby(state, jobOf(state, standby.jobId), standby, "expired", "worker_lost");
  }
  for (const attempt of attemptsOn(state, machine)) {
    const { epoch, workerId } = attempt;
    const silentMs = state.nowMs - machine.heardMs;
    emitJob(state, jobOf(state, attempt.jobId), "lost", { workerId, epoch, silentMs }, attempt);
    loseAttempt(state, attempt, "expired", {
      budget: "failovers",
      why: "worker_lost",
      message: `worker ${worker.id} was not heard any more.`,
    });
  }
  machine.suspectAtMs = null;
}

/** On a mere suspicion only what costs little to undo: a standby that is ready takes over. */
function promoteEarly(state: CoreState, attempt: AttemptRecord): boolean {
  const job = jobOf(state, attempt.jobId);
  // Nobody may start before the lease is over: given up later, the attempt may still come back and simply go on.
  if (isExclusive(job)) return false;
  if (job.intent !== null || job.failoversUsed >= job.spec.failoversMax) return false;
  const standby = liveStandby(state, job);
  if (standby === undefined || !canPromote(state, standby)) return false;
  loseAttempt(state, attempt, "revoked", {
    budget: "failovers",
    why: "worker_closed",
    message: `the connection to worker ${attempt.workerId} closed.`,
  });
  return true;
}

export function attemptsOn(state: CoreState, machine: Machine): readonly AttemptRecord[] {
  return [...machine.attempts].flatMap((id) => state.rows.attempts.get(id) ?? []);
}

function reportSuspect(state: CoreState, machine: Machine, why: "closed" | "silent"): void {
  const silentMs = state.nowMs - machine.heardMs;
  reportWorker(state, machine, "worker_suspect", { why, silentMs });
  for (const attempt of attemptsOn(state, machine)) {
    const { epoch, workerId } = attempt;
    emitJob(state, jobOf(state, attempt.jobId), "suspect", { workerId, epoch, why, silentMs }, attempt);
  }
}

export function reportWorker(
  state: CoreState,
  machine: Machine,
  kind: string,
  data: Readonly<Record<string, unknown>>,
): void {
  const { id, providerId, name } = machine.worker;
  emit(state, { channel: "workers", kind, providerId, workerId: id, data: { name, ...data } });
}

function reportOffer(state: CoreState, machine: Machine): void {
  const { id, providerId } = machine.worker;
  emit(state, { channel: "offers", kind: "offer_changed", providerId, workerId: id });
}

/** The new offer, each GPU in it once; the old one where both say the same, so that a reconnect writes nothing. */
function settledOffer(before: WorkerOffer | null, said: WorkerOffer): WorkerOffer {
  const seen = new Set<string>();
  const gpus = said.gpus.filter(({ uuid }) => !seen.has(uuid) && seen.add(uuid));
  const offer = gpus.length === said.gpus.length ? said : { ...said, gpus };
  if (before === null || before === offer) return offer;
  return offerText(before) === offerText(offer) ? before : offer;
}

function offerText(offer: WorkerOffer): string {
  return JSON.stringify(offer, (_key, value: unknown) => (typeof value === "bigint" ? value.toString() : value));
}
