// What the worker tells the orchestrator of itself: hello, heartbeats, and again whatever may not have arrived.
import type { JournalAttempt, JournalStandby, Signs } from "@qubix/shared/protocol";
import { heartbeatEveryMs } from "./config.ts";
import type { Slot, WorkerMessageBody } from "./model.ts";
import { signsOf } from "./signs.ts";
import { type Draft, emit, isBusy, type Live, liveOf, ranMsOf, type WorkerState } from "./state.ts";

type Hello = Extract<WorkerMessageBody, { kind: "hello" }>;
type Heartbeat = Extract<WorkerMessageBody, { kind: "heartbeat" }>;

/** What the worker has and what its journal holds, so that both sides can reconcile. */
export function helloOf(state: WorkerState, nowMs: number): Hello {
  const attempts: JournalAttempt[] = [];
  const standbys: JournalStandby[] = [];
  for (const slot of state.slots.values()) {
    if (slot.phase === "removing") continue;
    if (slot.attempt !== null) {
      attempts.push({
        attempt: slot.attempt,
        phase: journalPhase(slot),
        ranMs: slot.end?.ranMs ?? ranMsOf(state, slot, nowMs),
        checkpointSeq: slot.committedSeq,
        progress: liveOf(state, slot).progress,
      });
    } else if (slot.standbyId !== null) {
      const phase = slot.phase === "ready" ? "ready" : "preparing";
      standbys.push({ standbyId: slot.standbyId, phase, checkpointSeq: slot.unpackedSeq });
    }
  }
  return { kind: "hello", offer: state.offer, attempts, standbys };
}

/** `exited` is a success whose outputs are being collected. A failure is certain, and so `ended`, while its last checkpoint is still being shipped. */
function journalPhase(slot: Slot): JournalAttempt["phase"] {
  if (slot.phase === "running") return "running";
  if (slot.phase === "collecting") return slot.end === null ? "exited" : "ended";
  return slot.phase === "ended" ? "ended" : "preparing";
}

/** The next sign of life, with the attempts that are not over. */
export function heartbeatOf(state: WorkerState, nowMs: number): Heartbeat {
  const attempts: NonNullable<Heartbeat["attempts"]> = [];
  for (const slot of state.slots.values()) {
    if (slot.attempt === null || slot.phase === "ended" || slot.phase === "removing") continue;
    const live = liveOf(state, slot);
    attempts.push({
      attempt: slot.attempt,
      ranMs: ranMsOf(state, slot, nowMs),
      progress: live.progress,
      ...(live.measures === null ? {} : { measures: live.measures }),
      ...signsIn(slot, live, nowMs),
      phase: live.activity ?? slot.phase,
    });
  }
  return attempts.length === 0 ? { kind: "heartbeat" } : { kind: "heartbeat", attempts };
}

/** Only where the orchestrator asked for them, and of a container that is to go on. */
function signsIn({ run, phase, stopping, asked }: Slot, { signs }: Live, nowMs: number): { signs?: Signs } {
  const { stallAfterS } = run;
  const isAsked = asked !== undefined && asked.untilMs !== null;
  if (stallAfterS === undefined || phase !== "running" || stopping !== null || isAsked) return {};
  const told = signsOf(signs, nowMs, stallAfterS);
  return told === undefined ? {} : { signs: told };
}

export function beat(draft: Draft): void {
  const { state, nowMs } = draft;
  emit(draft, { kind: "send", message: heartbeatOf(state, nowMs) });
  state.heartbeatAtMs = nowMs + heartbeatEveryMs(state.config, isBusy(state));
}

/** A worker that has just become busy does not wait for an idle one's next heartbeat. */
export function hasten(draft: Draft): void {
  const { state, nowMs } = draft;
  if (state.sessionId === null) return;
  state.heartbeatAtMs = Math.min(state.heartbeatAtMs, nowMs + heartbeatEveryMs(state.config, isBusy(state)));
}

/** Sends a message if there is a session; what is lost is told again when one opens ({@link tell}). */
export function send(draft: Draft, message: WorkerMessageBody): void {
  if (draft.state.sessionId !== null) emit(draft, { kind: "send", message });
}

/** Says where a slot stands. Idempotent: said again at every new session and in answer to a repeated order. */
export function tell(draft: Draft, slot: Slot): void {
  const { attempt, end } = slot;
  if (attempt === null) {
    if (slot.phase === "ready" && slot.standbyId !== null) {
      send(draft, { kind: "standby.ready", standbyId: slot.standbyId, checkpointSeq: slot.unpackedSeq });
    }
    return;
  }
  const isExited = slot.phase === "collecting" && end === null;
  tellTicks(draft, slot);
  if (slot.phase === "running" || slot.phase === "collecting") {
    // An exit says by itself that there was a start.
    if (!isExited) {
      const { imageDigest, unpackedSeq: fromSeq } = slot;
      send(draft, { kind: "started", attempt, fromSeq, ...(imageDigest === undefined ? {} : { imageDigest }) });
    }
    tellPending(draft, slot);
  }
  if (slot.phase === "collecting" || slot.phase === "ended") tellStopped(draft, slot);
  if (isExited) send(draft, { kind: "exited", attempt, ranMs: slot.ranMs });
  if (slot.phase === "ended" && end !== null) {
    tellPending(draft, slot);
    send(draft, { kind: "ended", attempt, ranMs: end.ranMs, outcome: end.outcome });
  }
}

/** Before its end is told: what may start elsewhere then need not wait for the lease. The link signs it. */
export function tellStopped(draft: Draft, { attempt, over }: Slot): void {
  if (attempt !== null && over === true) send(draft, { kind: "stopped", attempt });
}

/** The metering ticks that wait for an answer, in order. The link signs them. */
export function tellTicks(draft: Draft, { ticks }: Slot): void {
  for (const tick of ticks?.waiting ?? []) send(draft, { kind: "tick", ...tick });
}

export function tellPending(draft: Draft, slot: Slot): void {
  if (slot.attempt === null || slot.pending === null) return;
  const { entry: _, ...checkpoint } = slot.pending;
  send(draft, { kind: "checkpoint", attempt: slot.attempt, ...checkpoint });
}
