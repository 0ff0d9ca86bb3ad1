// `hello`: what the worker has against what we believe it has. Both sides agree afterwards: what is missing is sent again or given up, what is
// stale is fenced, and what was given up too early goes on.
import { attemptId, type SessionId } from "@qubix/shared/domain";
import type { JournalAttempt, JournalStandby, WorkerMessage } from "@qubix/shared/protocol";
import { ack, sendStop } from "./attempts.ts";
import { introduceAll } from "./direct.ts";
import { tellEarnings } from "./earnings.ts";
import { canUndo, loseAttempt, placeOnStandby, promotedStandbyOn, undo } from "./failover.ts";
import { isActiveAttempt, isLiveStandby } from "./indexes.ts";
import type { Machine } from "./machine.ts";
import type { AttemptRecord, StandbyRecord } from "./model.ts";
import { goOnWhenReady, leave, sendSave } from "./moves.ts";
import { newestCheckpoint, sendAssign, sendPromote } from "./placing.ts";
import { greetProver } from "./proofs.ts";
import { loseStandby, sendPrepare, sendStandbyCheckpoint, standbyPrepared } from "./standbys.ts";
import { blame } from "./standing.ts";
import type { CoreState } from "./state.ts";
import { jobOf, refOf, send } from "./tables.ts";
import { attemptsOn, onGreeted } from "./workers.ts";

type Hello = Extract<WorkerMessage, { kind: "hello" }>;

export function onHello(state: CoreState, machine: Machine, sessionId: SessionId, hello: Hello): void {
  onGreeted(state, machine, sessionId, hello.offer);
  ack(state, machine, hello);
  tellEarnings(state, machine);
  const journal = new Map(hello.attempts.map((entry) => [attemptId(entry.attempt), entry]));
  const standbys = new Map(hello.standbys.map((entry) => [entry.standbyId, entry]));
  // Fences first, so that the machine is free for what may be sent after them.
  for (const entry of hello.attempts) judgeListed(state, machine, entry);
  for (const entry of hello.standbys) judgeListedStandby(state, machine, entry);
  for (const attempt of attemptsOn(state, machine)) {
    if (journal.has(attempt.id)) resume(state, attempt);
    else judgeMissing(state, machine, attempt, journal, standbys);
  }
  for (const id of machine.standbys) {
    const standby = state.rows.standbys.get(id);
    if (standby !== undefined && isLiveStandby(standby)) reconcileStandby(state, standby, standbys.get(id));
  }
  // What it came back to was still part of why it was away.
  machine.blameless = false;
  leave(state, machine);
  introduceAll(state, machine);
  // Last: what runs on is not to be disturbed.
  greetProver(state, machine);
}

/** It has an attempt that we do not count as active: it goes on if it may, else it is fenced. */
function judgeListed(state: CoreState, machine: Machine, entry: JournalAttempt): void {
  const attempt = state.rows.attempts.get(attemptId(entry.attempt));
  if (attempt !== undefined && attempt.workerId === machine.id) {
    if (isActiveAttempt(attempt)) return;
    const job = jobOf(state, attempt.jobId);
    // Told to adopt below, where the new attempt is found to be missing.
    if (goesOn(entry) && canUndo(state, job, attempt)) return undo(state, job, attempt);
    if (adoptedOn(state, machine, attempt) !== undefined) return;
  }
  // An end that waits to be acknowledged is sent again by the worker itself, and answered then.
  if (entry.phase !== "ended") send(state, machine.id, { kind: "fence", attempt: { ...entry.attempt } });
}

/** Still works, or has its result at hand. To bring back one that ended otherwise would only have it fail again, at the cost of a retry. */
function goesOn({ phase }: JournalAttempt): boolean {
  return phase === "running" || phase === "exited";
}

/** The active attempt that was told to adopt this one. */
function adoptedOn(state: CoreState, machine: Machine, old: AttemptRecord): AttemptRecord | undefined {
  return attemptsOn(state, machine).find(
    ({ jobId, replica, adoptedEpoch }) => jobId === old.jobId && replica === old.replica && adoptedEpoch === old.epoch,
  );
}

function judgeListedStandby(state: CoreState, machine: Machine, entry: JournalStandby): void {
  const standby = state.rows.standbys.get(entry.standbyId);
  if (standby !== undefined && standby.workerId === machine.id) {
    if (isLiveStandby(standby)) return;
    // Promoted, and the word of it did not arrive: it is said again below.
    if (standby.phase === "promoted" && attemptsOn(state, machine).some(({ jobId }) => jobId === standby.jobId)) return;
  }
  send(state, machine.id, { kind: "release", standbyId: entry.standbyId });
}

/** Both have it: it goes on. A stop or a request to save that may have been missed is said again. */
function resume(state: CoreState, attempt: AttemptRecord): void {
  sendStop(state, jobOf(state, attempt.jobId));
  sendSave(state, jobOf(state, attempt.jobId));
}

/** We count on it, and the worker does not have it: the word of it was lost on the way, or its container is gone. */
function judgeMissing(
  state: CoreState,
  machine: Machine,
  attempt: AttemptRecord,
  journal: ReadonlyMap<string, JournalAttempt>,
  standbys: ReadonlyMap<string, JournalStandby>,
): void {
  const job = jobOf(state, attempt.jobId);
  if (attempt.adoptedEpoch !== 0) {
    const from = journal.get(attemptId({ ...refOf(attempt), epoch: attempt.adoptedEpoch }));
    if (from !== undefined) {
      send(state, machine.id, { kind: "adopt", attempt: refOf(attempt), from: attempt.adoptedEpoch });
      return sendStop(state, job);
    }
  }
  if (attempt.phase === "assigned" && job.intent === null) {
    const standby = promotedStandbyOn(state, job, machine);
    if (standby !== undefined && standbys.has(standby.id)) return sendPromote(state, job, attempt, standby);
    return sendAssign(state, job, attempt);
  }
  loseAttempt(state, attempt, "revoked", GONE);
  blame(state, machine, GONE.why);
}

const GONE = {
  budget: "failovers",
  why: "lost_container",
  message: "its worker came back without its container.",
} as const;

function reconcileStandby(state: CoreState, standby: StandbyRecord, entry: JournalStandby | undefined): void {
  const job = jobOf(state, standby.jobId);
  if (entry === undefined || (standby.phase === "ready" && entry.phase === "preparing")) {
    if (standby.phase === "preparing") return sendPrepare(state, job, standby);
    loseStandby(state, job, standby, "revoked", "lost_container");
    return;
  }
  const newest = newestCheckpoint(job)?.seq ?? 0;
  if (entry.checkpointSeq < newest) sendStandbyCheckpoint(state, job);
  if (entry.phase === "ready") standbyPrepared(state, job, standby, entry.checkpointSeq);
  goOnWhenReady(state, jobOf(state, standby.jobId));
  placeOnStandby(state, jobOf(state, standby.jobId));
}
