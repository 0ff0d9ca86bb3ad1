// Planned moves: the target is made ready first, then the job is asked to save and stopped, then the target goes on from exactly what it saved.
// How a move ends for the job (promotion, another place) is in `failover.ts`; this file begins moves, watches over them and lets them go.
import { type MoveEvent, moveTable, type WorkerId } from "@qubix/shared/domain";
import { isActiveAttempt, requestOf } from "./indexes.ts";
import type { Actor, CoreEvent } from "./events.ts";
import { findMoveTarget, type MoveTarget } from "./dispatch.ts";
import type { Machine } from "./machine.ts";
import { admits, isOpen } from "./market.ts";
import type { AttemptRecord, JobRecord, MoveReason, MoveRecord, StandbyRecord } from "./model.ts";
import { assignTo } from "./placing.ts";
import { rateOf } from "./resources.ts";
import { answerMsOf } from "./saving.ts";
import { deadlineKey } from "./silence.ts";
import { releaseStandby, reserveStandby } from "./standbys.ts";
import type { CoreState } from "./state.ts";
import {
  currentAttempt,
  emitJob,
  fire,
  jobOf,
  liveStandby,
  machineOf,
  patchJob,
  put,
  refOf,
  refuse,
  send,
} from "./tables.ts";

export interface MoveWish {
  readonly why: MoveReason;
  readonly to: WorkerId | null;
  /** Stopped all the same where it does not save in time. */
  readonly force: boolean;
}

/** Why a job does not move; for people, with a code. */
interface Obstacle {
  readonly status: 404 | 409;
  readonly code: "worker_not_found" | "job_not_running" | "move_not_possible";
  readonly message: string;
}

// ── Begin ──

/** `job.move`: its owner, or an admin, wants it elsewhere. */
export function moveJob(state: CoreState, event: Extract<CoreEvent, { kind: "job.move" }>): void {
  const { actor, jobId, to, force } = event;
  const job = state.rows.jobs.get(jobId);
  if (job === undefined || !mayMove(actor, job)) {
    return refuse(state, 404, "job_not_found", `There is no job ${jobId} of yours that still runs. Check the id.`);
  }
  const obstacle = obstacleOf(state, job, to) ?? beginMove(state, job, { why: "asked", to, force });
  if (obstacle !== undefined) return refuse(state, obstacle.status, obstacle.code, obstacle.message);
  state.step.reply = { kind: "job", jobId, job: jobOf(state, jobId), repeated: false };
}

function mayMove(actor: Actor, job: JobRecord): boolean {
  return actor.role === "admin" || job.accountId === actor.accountId;
}

function obstacleOf(state: CoreState, job: JobRecord, to: WorkerId | null): Obstacle | undefined {
  const attempt = currentAttempt(state, job);
  if (attempt?.phase !== "running" || job.intent !== null) {
    const message = `Job ${job.id} is ${job.phase} and has no running container to move. Wait until it runs.`;
    return { status: 409, code: "job_not_running", message };
  }
  if (job.mirror !== undefined) {
    return notPossible(`Job ${job.id} runs at two providers at once: each is replaced when it leaves, without a move.`);
  }
  if (job.move !== undefined) {
    return notPossible(`Job ${job.id} is being moved already (${job.move.phase}). See its events.`);
  }
  if ((job.movesUsed ?? 0) >= state.config.movesPerJobMax) {
    return notPossible(`Job ${job.id} was moved ${job.movesUsed} times, as often as one job may be.`);
  }
  if (to === null) return undefined;
  if (!state.ix.machines.has(to)) {
    return { status: 404, code: "worker_not_found", message: `There is no worker ${to}. See \`qubix offers\`.` };
  }
  if (to === attempt.workerId) return notPossible(`Job ${job.id} runs on worker ${to} already.`);
  return undefined;
}

function notPossible(message: string): Obstacle {
  return { status: 409, code: "move_not_possible", message };
}

/** Begins to move a job that runs. Gives the reason where no target fits, unless it leaves for a reason that waits for one. */
function beginMove(state: CoreState, job: JobRecord, wish: MoveWish): Obstacle | undefined {
  const attempt = currentAttempt(state, job);
  if (attempt === undefined) return undefined;
  const target = targetOf(state, job, attempt, wish.to);
  if (target === undefined && wish.why === "asked") {
    const where = wish.to === null ? "No other worker" : `Worker ${wish.to} does not fit: it`;
    return notPossible(
      `${where} is free, suits job ${job.id} and keeps it within priceMaxPerHour now. See \`qubix offers\`, or try again later.`,
    );
  }
  const { why, to, force } = wish;
  const { workerId } = attempt;
  const move: MoveRecord = {
    phase: moveTable.initial,
    why,
    to,
    force,
    fromWorkerId: workerId,
    requestedAtMs: state.nowMs,
    targets: 0,
  };
  const moving = patchJob(state, job, { move });
  emitJob(state, moving, "move_requested", { workerId, to, why, force }, attempt);
  state.deadlines.set(deadlineKey.move(job.id), state.nowMs + state.config.moveLookMs);
  if (target !== undefined) approach(state, moving, move, target);
  return undefined;
}

/** Moves all that runs on a machine that is to be left, and lets go of the standbys there. Cheap where there is nothing to do. */
export function leave(state: CoreState, machine: Machine): void {
  const why = leavingFor(machine);
  if (why === null) return;
  for (const id of machine.standbys) {
    const standby = state.rows.standbys.get(id);
    if (standby !== undefined) letGo(state, standby);
  }
  for (const id of machine.attempts) {
    const attempt = state.rows.attempts.get(id);
    if (attempt !== undefined) leaveWith(state, attempt, why);
  }
}

/** It stood by until now; another is sought elsewhere. */
function letGo(state: CoreState, standby: StandbyRecord): void {
  const job = jobOf(state, standby.jobId);
  emitJob(state, job, "standby_lost", { standbyId: standby.id, workerId: standby.workerId, why: "leaving" }, standby);
  releaseStandby(state, job);
}

/** An attempt that has just started, perhaps on a machine that is being left meanwhile. */
export function leaveIfLeaving(state: CoreState, attempt: AttemptRecord): void {
  const why = leavingFor(machineOf(state, attempt.workerId));
  if (why !== null) leaveWith(state, attempt, why);
}

function leaveWith(state: CoreState, attempt: AttemptRecord, why: MoveReason): void {
  const job = jobOf(state, attempt.jobId);
  if (attempt.phase !== "running" || job.intent !== null || job.move !== undefined) return;
  // The other replica works on meanwhile: nothing needs to be ready first.
  if (job.mirror !== undefined) {
    return send(state, attempt.workerId, { kind: "stop", attempt: refOf(attempt), reason: "drain" });
  }
  beginMove(state, job, { why, to: null, force: true });
}

function leavingFor({ worker }: Machine): MoveReason | null {
  return worker.offer?.leaving ?? (worker.leaving === true ? "drain" : null);
}

// ── The target ──

/** The standby it has, where that will do; else a machine to reserve; else one that takes it without a reservation, which its price cap may not allow. */
function targetOf(
  state: CoreState,
  job: JobRecord,
  attempt: AttemptRecord,
  to: WorkerId | null,
): MoveTarget | { readonly kind: "standby" } | undefined {
  const standby = liveStandby(state, job);
  if (standby !== undefined && (to === null || standby.workerId === to)) {
    const machine = machineOf(state, standby.workerId);
    if (to !== null || isOpen(machine)) return { kind: "standby" };
  }
  const among = to === null ? null : [machineOf(state, to)];
  return findMoveTarget(state, job, attempt, among);
}

function approach(
  state: CoreState,
  job: JobRecord,
  move: MoveRecord,
  target: NonNullable<ReturnType<typeof targetOf>>,
): void {
  const tried = patchJob(state, job, { move: { ...move, targets: move.targets + 1 } });
  if (target.kind === "standby") return goOnWhenReady(state, tried);
  if (target.kind === "plain") return askToSave(state, tried);
  // A standby elsewhere is of no use to this move, and a job has only one.
  const free = releaseStandby(state, tried);
  reserveStandby(state, free, target.machine.id, target.rates);
}

/** A standby became ready: the move that waited for it goes on. */
export function goOnWhenReady(state: CoreState, job: JobRecord): void {
  if (job.move?.phase !== "preparing" || job.intent !== null) return;
  if (liveStandby(state, job)?.phase === "ready") askToSave(state, job);
}

// ── Saving ──

function askToSave(state: CoreState, job: JobRecord): void {
  const { move } = job;
  const attempt = currentAttempt(state, job);
  if (move === undefined || attempt?.phase !== "running") return;
  const saving = advance(state, job, move, "ready", {});
  const to = liveStandby(state, saving)?.workerId ?? null;
  emitJob(state, saving, "moving", { workerId: attempt.workerId, to, why: move.why }, attempt);
  state.deadlines.set(deadlineKey.move(job.id), state.nowMs + answerMsOf(state, job) + state.config.stopMarginMs);
  sendSave(state, saving);
}

/** Tells the job's worker, again if need be. One that does not know the request stops it, which asks it to save as well. */
export function sendSave(state: CoreState, job: JobRecord): void {
  const { move } = job;
  const attempt = currentAttempt(state, job);
  if (move?.phase !== "saving" || job.intent !== null || attempt?.phase !== "running") return;
  const { workerId } = attempt;
  const ref = refOf(attempt);
  if (machineOf(state, workerId).features.has("moves")) {
    send(state, workerId, { kind: "save", attempt: ref, answerMs: answerMsOf(state, job), force: move.force });
  } else {
    send(state, workerId, { kind: "stop", attempt: ref, reason: "drain" });
  }
}

// ── Looking after it ──

export function onMoveDue(state: CoreState, id: JobRecord["id"]): void {
  const job = state.rows.jobs.get(id);
  const move = job?.move;
  if (job === undefined || move === undefined || job.intent !== null) return;
  const attempt = currentAttempt(state, job);
  if (attempt === undefined || !isActiveAttempt(attempt)) return;
  if (attempt.phase === "exited") return void dropMove(state, job, "finished");
  if (move.phase === "preparing") return seekTarget(state, job, move, attempt);
  if (move.phase === "saving") return lookWhetherSaved(state, job, move, attempt);
}

function seekTarget(state: CoreState, job: JobRecord, move: MoveRecord, attempt: AttemptRecord): void {
  const { movePrepareMsMax, moveTargetsMax, moveLookMs } = state.config;
  state.deadlines.set(deadlineKey.move(job.id), state.nowMs + moveLookMs);
  if (liveStandby(state, job) !== undefined) {
    if (state.nowMs - move.requestedAtMs >= movePrepareMsMax && !move.force) dropMove(state, job, "target_not_ready");
    else goOnWhenReady(state, job);
    return;
  }
  if (move.targets >= moveTargetsMax && !move.force) return void dropMove(state, job, "no_target");
  const target = targetOf(state, job, attempt, move.to);
  if (target !== undefined) return approach(state, job, move, target);
  if (!move.force) dropMove(state, job, "no_target");
}

/** While it ships what it saved there is nothing to decide; a container that runs on has not answered. */
function lookWhetherSaved(state: CoreState, job: JobRecord, move: MoveRecord, attempt: AttemptRecord): void {
  const saysRunning = state.volatile.live.get(attempt.id)?.phase === "running";
  if (saysRunning && !move.force) return void dropMove(state, job, "not_saved");
  state.deadlines.set(deadlineKey.move(job.id), state.nowMs + state.config.stopMarginMs);
}

/** After a start of ours. */
export function armMove(state: CoreState, job: JobRecord, notBeforeMs: number): void {
  if (job.move === undefined) return;
  const waitMs = job.move.phase === "saving" ? answerMsOf(state, job) + state.config.stopMarginMs : 0;
  state.deadlines.set(deadlineKey.move(job.id), notBeforeMs + waitMs);
}

// ── The end of a move ──

/** The move is over without it. A target that was reserved for it alone is let go, unless it is about to be promoted. */
export function dropMove(state: CoreState, job: JobRecord, why: string, keepsTarget = false): JobRecord {
  const { move } = job;
  if (move === undefined) return job;
  const { fromWorkerId, phase } = move;
  const without = advance(state, job, move, "dropped", {});
  state.deadlines.clear(deadlineKey.move(job.id));
  emitJob(state, without, "move_dropped", { why, phase, workerId: fromWorkerId });
  return keepsTarget || job.spec.standby === "hot" ? without : releaseStandby(state, without);
}

/** The container has ended in good order: from here on the job waits for its successor to run. One that its worker began by itself is noted, too. */
export function noteMoveStopped(
  state: CoreState,
  job: JobRecord,
  gone: AttemptRecord,
  what: { readonly why: MoveReason; readonly stoppedAtMs: number; readonly workLostMs: number },
): JobRecord {
  const { why, stoppedAtMs, workLostMs } = what;
  const move: MoveRecord = job.move ?? {
    phase: moveTable.initial,
    why,
    to: null,
    force: true,
    fromWorkerId: gone.workerId,
    requestedAtMs: state.nowMs,
    targets: 0,
  };
  state.deadlines.clear(deadlineKey.move(job.id));
  return advance(state, job, move, "stopped", { stoppedAtMs, workLostMs });
}

/** The successor runs. */
export function finishMove(state: CoreState, job: JobRecord, attempt: AttemptRecord): JobRecord {
  const { move } = job;
  if (move?.phase !== "placing") return job;
  const moved = advance(state, job, move, "started", {});
  const { epoch, workerId, fromSeq } = attempt;
  const { why, fromWorkerId, workLostMs = 0, stoppedAtMs = state.nowMs } = move;
  const downtimeMs = Math.max(0, state.nowMs - stoppedAtMs);
  emitJob(state, moved, "moved", { epoch, workerId, fromWorkerId, fromSeq, why, workLostMs, downtimeMs }, attempt);
  return job.spec.standby === "hot" ? moved : releaseStandby(state, moved);
}

/** Places a job that waits after its move began on the machine that was asked for, if that still takes it. */
export function placeAsAsked(state: CoreState, jobId: JobRecord["id"]): void {
  const job = state.rows.jobs.get(jobId);
  const to = job?.move?.to ?? null;
  if (job?.phase !== "queued" || to === null || job.standbyId !== null) return;
  const machine = machineOf(state, to);
  const request = requestOf(job);
  const { offer } = machine.worker;
  if (offer === null || !admits(machine, request)) return;
  const rate = rateOf(offer, request.needs, request.currency);
  if (rate !== null) assignTo(state, job, to, rate);
}

function advance(
  state: CoreState,
  job: JobRecord,
  move: MoveRecord,
  event: MoveEvent,
  patch: Partial<MoveRecord>,
): JobRecord {
  const phase = fire(state, moveTable, move.phase, event) ?? move.phase;
  if (!moveTable.final.includes(phase)) return patchJob(state, job, { move: { ...move, ...patch, phase } });
  const { move: _, ...rest } = job;
  put(state, "jobs", job.id, rest);
  return rest;
}
