// The worker's core: one event in, rows to journal and effects out. No clock, no I/O; the caller gives the time.
import { unreachable } from "@qubix/shared/runtime";
import { end, giveUp, noteExited, noteFailed, notePrepared, noteStarted, remove, start, stop } from "./attempts.ts";
import { boot } from "./boot.ts";
import { noteAnswered, tellRemoved } from "./exclusive.ts";
import type { Slot, SlotId, WorkerCoreEvent, WorkerMessageBody, WorkerStep } from "./model.ts";
import { answerDueAtMs } from "./asking.ts";
import { askToSave, noteSaved, noteUnanswered, reclaim } from "./moving.ts";
import { obey } from "./orders.ts";
import { beat, helloOf, send, tell } from "./reports.ts";
import { noteLook } from "./signs.ts";
import { noteTickAnswered } from "./ticks.ts";
import { noteCheckpointRefused, noteCommitted, noteShipFailed, noteShipped, pursue, shipAtMs } from "./shipping.ts";
import { type Draft, emit, forget, liveOf, noteSent, slotOfAttempt, type WorkerState } from "./state.ts";

/** What the protocol allows for `phase` in a heartbeat. */
const ACTIVITY_LENGTH_MAX = 40;

/**
 * Advances the state by one event. `nowMs`: whole milliseconds on the machine's boot-time clock.
 * The caller journals `puts` durably before it carries out `effects`, in order.
 */
export function step(state: WorkerState, nowMs: number, event: WorkerCoreEvent): WorkerStep {
  const draft: Draft = { state, nowMs, puts: new Map(), effects: [] };
  apply(draft, event);
  return { puts: [...draft.puts.values()], effects: draft.effects };
}

/** When `timer` is to be given next; null for never. */
export function nextDeadlineMs(state: WorkerState): number | null {
  let next = state.sessionId === null ? contactLossAtMs(state) : state.heartbeatAtMs;
  for (const slot of state.slots.values()) {
    for (const atMs of [shipAtMs(state, slot), liveOf(state, slot).giveUpAtMs, answerDueAtMs(slot)]) {
      if (atMs !== null && (next === null || atMs < next)) next = atMs;
    }
  }
  return next;
}

function apply(draft: Draft, event: WorkerCoreEvent): void {
  const { state } = draft;
  if ("slotId" in event) {
    const slot = state.slots.get(event.slotId);
    if (slot !== undefined) applyToSlot(draft, slot, event);
    return;
  }
  switch (event.kind) {
    case "boot":
      return boot(draft, event.containers);
    case "opened":
      state.sessionId = event.sessionId;
      state.contactLossS = event.contactLossS;
      state.apartSinceMs = null;
      return greet(draft);
    case "closed":
      state.sessionId = null;
      state.apartSinceMs ??= draft.nowMs;
      for (const live of state.live.values()) live.shipCut = true;
      return;
    case "message":
      return obey(draft, event.message);
    case "acknowledged":
      return noteAnswer(draft, event.message, true);
    case "refused":
      if (event.message.kind === "tick") return noteTickAnswered(draft, event.message, event.head);
      return noteAnswer(draft, event.message, false);
    case "answered":
      for (const slot of noteAnswered(draft, event)) start(draft, slot);
      return;
    case "offer":
      state.offer = event.offer;
      return send(draft, { kind: "offer", offer: event.offer });
    case "timer":
      return noteTimer(draft);
    default:
      return unreachable(event);
  }
}

type SlotEvent = Extract<WorkerCoreEvent, { readonly slotId: SlotId }>;

function applyToSlot(draft: Draft, slot: Slot, event: SlotEvent): void {
  switch (event.kind) {
    case "prepared":
      return notePrepared(draft, slot, event);
    case "started":
      return noteStarted(draft, slot);
    case "exited":
      return noteExited(draft, slot, event);
    case "failed":
      return noteFailed(draft, slot, event.outcome);
    case "reclaim":
      return reclaim(draft, slot, event.outcome);
    case "leave":
      if (slot.attempt !== null) askToSave(draft, slot, { answerMs: event.answerMs, force: true });
      return;
    case "removed":
      if (slot.phase !== "removing") return;
      tellRemoved(draft, slot);
      return forget(draft, slot);
    case "entry":
      return noteSaved(draft, slot, event);
    case "shipped":
      return noteShipped(draft, slot, event);
    case "shipFailed":
      return noteShipFailed(draft, slot, event.entry);
    case "outputs":
      if (slot.phase !== "collecting" || slot.end !== null) return;
      return end(draft, slot, { kind: "succeeded", outputs: event.tree });
    case "measured": {
      const live = liveOf(draft.state, slot);
      if (live.runningSinceMs !== null) live.runningSinceMs = draft.nowMs - event.ranMs;
      if (event.progress !== null) live.progress = event.progress;
      noteSent(draft.state, slot, event);
      live.measures = event.measures ?? null;
      live.activity = event.activity?.slice(0, ACTIVITY_LENGTH_MAX) ?? null;
      if (event.look !== undefined) live.signs = noteLook(live.signs, draft.nowMs, event.look);
      return;
    }
    default:
      return unreachable(event);
  }
}

/** A session is open: hello, then everything that may not have arrived. */
function greet(draft: Draft): void {
  const { state, nowMs } = draft;
  emit(draft, { kind: "send", message: helloOf(state, nowMs) });
  for (const slot of state.slots.values()) {
    tell(draft, slot);
    pursue(draft, slot);
  }
  // Hello is a sign of life too, but it carries no measures: the first heartbeat follows at once.
  beat(draft);
}

/** The orchestrator has answered a message of ours. Matched by what it named, since an epoch may have changed meanwhile. */
function noteAnswer(draft: Draft, message: WorkerMessageBody, accepted: boolean): void {
  if (message.kind === "tick") return noteTickAnswered(draft, message, undefined);
  if (message.kind !== "ended" && message.kind !== "checkpoint") return;
  const slot = slotOfAttempt(draft.state, message.attempt) ?? (accepted ? ownerOfOlder(draft, message) : undefined);
  if (slot === undefined) return;
  // An end that is refused is as over as one that is accepted: nobody waits for it.
  if (message.kind === "ended") {
    if (slot.phase === "ended") remove(draft, slot);
  } else if (accepted) {
    noteCommitted(draft, slot, message.seq);
  } else {
    noteCheckpointRefused(draft, slot, message.seq);
  }
}

/** A checkpoint that was accepted under an older epoch of a container that goes on under a later one. */
function ownerOfOlder(draft: Draft, message: WorkerMessageBody): Slot | undefined {
  if (message.kind !== "checkpoint") return undefined;
  const { jobId, replica, epoch } = message.attempt;
  for (const slot of draft.state.slots.values()) {
    const { attempt, pending } = slot;
    if (attempt?.jobId !== jobId || attempt.replica !== replica || attempt.epoch < epoch) continue;
    if (pending?.tree.manifestCid === message.tree.manifestCid) return slot;
  }
  return undefined;
}

function noteTimer(draft: Draft): void {
  const { state, nowMs } = draft;
  for (const slot of state.slots.values()) {
    const atMs = shipAtMs(state, slot);
    if (atMs !== null && nowMs >= atMs) pursue(draft, slot);
    const due = answerDueAtMs(slot);
    if (due !== null && nowMs >= due) noteUnanswered(draft, state.slots.get(slot.id) ?? slot);
    const { giveUpAtMs } = liveOf(state, slot);
    if (giveUpAtMs !== null && nowMs >= giveUpAtMs) giveUp(draft, state.slots.get(slot.id) ?? slot);
  }
  if (state.sessionId !== null) {
    if (nowMs >= state.heartbeatAtMs) beat(draft);
    return;
  }
  const lostAtMs = contactLossAtMs(state);
  if (lostAtMs !== null && nowMs >= lostAtMs) loseContact(draft);
}

/** When work without a session stops; null when nothing works. */
function contactLossAtMs(state: WorkerState): number | null {
  if (state.apartSinceMs === null) return null;
  for (const slot of state.slots.values()) {
    if (worksAlone(slot)) return state.apartSinceMs + state.contactLossS * 1000;
  }
  return null;
}

function worksAlone(slot: Slot): boolean {
  if (slot.attempt === null) return slot.phase !== "removing";
  return slot.stopping === null && ["preparing", "starting", "running"].includes(slot.phase);
}

function loseContact(draft: Draft): void {
  for (const slot of draft.state.slots.values()) {
    if (!worksAlone(slot)) continue;
    // A standby that nobody can promote only takes room; the orchestrator has long given it up.
    if (slot.attempt === null) remove(draft, slot);
    else stop(draft, slot, "contact_loss");
  }
}
