// Control messages of workers, after the gateway has checked their shape.
import { attemptId, leaseTable, type SessionId } from "@qubix/shared/domain";
import type { WorkerMessage } from "@qubix/shared/protocol";
import { unreachable } from "@qubix/shared/runtime";
import { ack, onCheckpoint, onEnded, onExited, onStarted } from "./attempts.ts";
import { placeOnStandby } from "./failover.ts";
import { isActiveAttempt, isLiveStandby } from "./indexes.ts";
import { onStopped } from "./lease-over.ts";
import { onLog } from "./logs.ts";
import type { Machine } from "./machine.ts";
import { goOnWhenReady, leave } from "./moves.ts";
import type { AttemptRecord, StandbyRecord, TickFacts, TreeContent } from "./model.ts";
import { onCommitted, seekProof } from "./proofs.ts";
import { onHello } from "./reconcile.ts";
import { noteStep } from "./recovery.ts";
import { blame } from "./standing.ts";
import { loseStandby, noteStandbyFailure, standbyPrepared } from "./standbys.ts";
import { learnBeat } from "./silence.ts";
import { onSigns } from "./stall-watch.ts";
import type { CoreState, LiveAttempt } from "./state.ts";
import { fire, jobOf, patchJob, send } from "./tables.ts";
import { onTick } from "./ticks.ts";
import { onHeard, onOffer } from "./workers.ts";

/** What the gateway found out about a message. */
export interface MessageFacts {
  readonly content?: TreeContent;
  readonly tick?: TickFacts;
}

/** Messages of older sessions, or before the session's hello, are dropped. */
export function onMessage(
  state: CoreState,
  machine: Machine,
  sessionId: SessionId,
  message: WorkerMessage,
  { content, tick }: MessageFacts,
): void {
  if (machine.worker.sessionId !== sessionId) return;
  if (message.kind === "hello") return onHello(state, machine, sessionId, message);
  if (machine.greeted !== sessionId) return;
  onHeard(state, machine);
  switch (message.kind) {
    case "heartbeat":
      return onHeartbeat(state, machine, message);
    case "offer":
      onOffer(state, machine, message.offer);
      leave(state, machine);
      seekProof(state, machine);
      return ack(state, machine, message);
    case "started":
      return onStarted(state, machine, message);
    case "exited":
      return onExited(state, machine, message);
    case "ended":
      return onEnded(state, machine, message, content);
    case "stopped":
      return onStopped(state, machine, message);
    case "checkpoint":
      return onCheckpoint(state, machine, message, content);
    case "tick":
      return onTick(state, machine, message, tick ?? { signed: true });
    case "log":
      return onLog(state, machine, message);
    case "standby.ready":
      return onStandbyReady(state, machine, message);
    case "standby.failed":
      return onStandbyFailed(state, machine, message);
    case "proof.commit":
      onCommitted(state, machine, message.challengeId);
      return ack(state, machine, message);
    case "proof.failed":
      // Judged with the others, by who knows the challenge; what comes of it is an event of its own.
      return ack(state, machine, message);
    default:
      unreachable(message);
  }
}

type Message<Kind extends WorkerMessage["kind"]> = Extract<WorkerMessage, { kind: Kind }>;

/** Nothing durable, unless something has stalled: the leases move with it, and what it says of attempts is for people. */
function onHeartbeat(state: CoreState, machine: Machine, message: Message<"heartbeat">): void {
  learnBeat(state, machine);
  if (machine.attempts.size + machine.standbys.size > 0) fire(state, leaseTable, "active", "renewed");
  for (const entry of message.attempts ?? []) {
    const id = attemptId(entry.attempt);
    const attempt = state.rows.attempts.get(id);
    if (attempt === undefined || attempt.workerId !== machine.id || !isActiveAttempt(attempt)) {
      // It works on something that is not its any more.
      if (attempt?.phase !== "ended") send(state, machine.id, { kind: "fence", attempt: { ...entry.attempt } });
      continue;
    }
    let live = state.volatile.live.get(id);
    if (live === undefined) state.volatile.live.set(id, (live = unheard()));
    live.ranMs = entry.ranMs;
    live.progress = entry.progress;
    live.phase = entry.phase ?? null;
    live.measures = entry.measures ?? null;
    noteProgress(state, attempt, entry.progress);
    if (entry.signs !== undefined) onSigns(state, attempt, live, entry.signs);
  }
  // After the fences: what is fenced is off the worker's list when this answer extends the leases of what it listed.
  ack(state, machine, message);
  // Last: one that throws above is undone, and comes again.
  state.volatile.counters.heartbeats += 1;
}

/** Progress beyond what the newest checkpoint says is a step. */
function noteProgress(state: CoreState, attempt: AttemptRecord, progress: number | null): void {
  if (progress === null || attempt.phase !== "running") return;
  const job = jobOf(state, attempt.jobId);
  if (job.recovery === undefined || job.recovery === null || job.epoch !== attempt.epoch) return;
  if (progress > (job.checkpoints.at(-1)?.progress ?? 0)) noteStep(state, job, attempt);
}

function unheard(): LiveAttempt {
  return { ranMs: 0, progress: null, phase: null, measures: null, stallSuspected: false };
}

function onStandbyReady(state: CoreState, machine: Machine, message: Message<"standby.ready">): void {
  const standby = liveStandbyOn(state, machine, message.standbyId);
  if (standby === undefined) return refuseStandby(state, machine, message);
  ack(state, machine, message);
  standbyPrepared(state, jobOf(state, standby.jobId), standby, message.checkpointSeq);
  goOnWhenReady(state, jobOf(state, standby.jobId));
  placeOnStandby(state, jobOf(state, standby.jobId));
}

function onStandbyFailed(state: CoreState, machine: Machine, message: Message<"standby.failed">): void {
  const standby = liveStandbyOn(state, machine, message.standbyId);
  if (standby === undefined) return refuseStandby(state, machine, message);
  ack(state, machine, message);
  const job = jobOf(state, standby.jobId);
  noteStandbyFailure(state, job);
  blame(state, machine, message.code);
  const without = loseStandby(state, job, standby, "returned", message.code);
  const others = without.troubledWorkers.filter((id) => id !== machine.id);
  patchJob(state, without, {
    troubledWorkers: [...others, machine.id].slice(-state.config.troubledWorkersMax),
  });
}

function liveStandbyOn(state: CoreState, machine: Machine, id: StandbyRecord["id"]): StandbyRecord | undefined {
  const standby = state.rows.standbys.get(id);
  return standby !== undefined && standby.workerId === machine.id && isLiveStandby(standby) ? standby : undefined;
}

function refuseStandby(
  state: CoreState,
  machine: Machine,
  message: Message<"standby.ready"> | Message<"standby.failed">,
): void {
  const { standbyId } = message;
  const standby = state.rows.standbys.get(standbyId);
  // Promoted meanwhile: its readiness is no news, and it must not be released.
  if (standby?.phase === "promoted" && standby.workerId === machine.id) return ack(state, machine, message);
  send(state, machine.id, {
    kind: "refused",
    re: message.msg,
    code: "standby_over",
    message: `standby ${standbyId} is not wanted any more`,
  });
  send(state, machine.id, { kind: "release", standbyId });
}
