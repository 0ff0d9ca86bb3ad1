// What the worker's core remembers: the journal's slots, and beside each what a restart may forget.
import type { AttemptRef, SessionId, StandbyId } from "@qubix/shared/domain";
import type { WorkerOffer } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import type { WorkerConfig } from "./config.ts";
import type { EntryKey, FolderEntry, Measures, Slot, SlotId, SlotPut, WorkerEffect } from "./model.ts";
import type { SignTracker } from "./signs.ts";

/** What is known of a slot and not journaled. */
export interface Live {
  /** The clock's time at which the container's time was zero; null while it does not run. */
  runningSinceMs: number | null;
  progress: number | null;
  measures: Measures | null;
  activity: string | null;
  /** Bytes that the container sent over its network, so far; null where nothing was told of it. It never falls. */
  sentBytes: number | null;
  /** The newest whole entry that is not committed. */
  newest: FolderEntry | null;
  /** The entry that is being uploaded. */
  shipping: EntryKey | null;
  /** What the container had sent when that entry was seen; null where nothing was told of it. */
  shippingSentBytes: number | null;
  lastShipStartMs: number | null;
  /** The session closed while it was being shipped: how long that took says nothing of the line's speed. */
  shipCut: boolean;
  /** How many of the asked intervals lie between two checkpoints; see `spacing.ts`. */
  stretch: number;
  /** No shipping before this, after a failed one. */
  shipAgainMs: number;
  /** Failed shippings since the container ended. */
  shipFailures: number;
  /** The checkpoint that is being unpacked. */
  restoringSeq: number | null;
  /** Until when the container of an exclusive slot may run, as far as this life of the agent knows. */
  leaseUntilMs: number | null;
  /** All is in place, and the start waits for a lease. */
  startWaits: boolean;
  /** When a container that is being stopped is taken for ended though it is not; null for never. */
  giveUpAtMs: number | null;
  /** What the container shows of getting on; null before the first look. */
  signs: SignTracker | null;
}

export interface WorkerState {
  readonly config: WorkerConfig;
  offer: WorkerOffer;
  readonly slots: Map<SlotId, Slot>;
  readonly live: Map<SlotId, Live>;
  sessionId: SessionId | null;
  /** Since when there is no session; null before the first event. */
  apartSinceMs: number | null;
  contactLossS: number;
  heartbeatAtMs: number;
}

/** The state with which an agent starts; `slots` come from its journal. The first event must be `boot`. */
export function createWorkerState(input: {
  readonly slots: readonly Slot[];
  readonly offer: WorkerOffer;
  readonly config: WorkerConfig;
}): WorkerState {
  return {
    config: input.config,
    offer: input.offer,
    slots: new Map(input.slots.map((slot) => [slot.id, slot])),
    live: new Map(input.slots.map((slot) => [slot.id, newLive()])),
    sessionId: null,
    apartSinceMs: null,
    contactLossS: input.config.contactLossS,
    heartbeatAtMs: 0,
  };
}

export function newLive(): Live {
  return {
    runningSinceMs: null,
    progress: null,
    measures: null,
    activity: null,
    sentBytes: null,
    newest: null,
    shipping: null,
    shippingSentBytes: null,
    lastShipStartMs: null,
    shipCut: false,
    stretch: 1,
    shipAgainMs: 0,
    shipFailures: 0,
    restoringSeq: null,
    leaseUntilMs: null,
    startWaits: false,
    giveUpAtMs: null,
    signs: null,
  };
}

/** One step in the making: the state moves at once, puts and effects gather. */
export interface Draft {
  readonly state: WorkerState;
  readonly nowMs: number;
  readonly puts: Map<SlotId, SlotPut>;
  readonly effects: WorkerEffect[];
}

export function emit(draft: Draft, effect: WorkerEffect): void {
  draft.effects.push(effect);
}

/** Replaces parts of a slot's row; returns the new one. */
export function update(draft: Draft, slot: Slot, patch: Partial<Slot>): Slot {
  const next = { ...slot, ...patch };
  draft.state.slots.set(slot.id, next);
  draft.puts.set(slot.id, { id: slot.id, slot: next });
  return next;
}

export function insert(draft: Draft, slot: Slot): Slot {
  assert(!draft.state.slots.has(slot.id), `slot ${slot.id} exists already`);
  draft.state.live.set(slot.id, newLive());
  return update(draft, slot, {});
}

export function forget(draft: Draft, slot: Slot): void {
  draft.state.slots.delete(slot.id);
  draft.state.live.delete(slot.id);
  draft.puts.set(slot.id, { id: slot.id, slot: null });
}

export function liveOf(state: WorkerState, slot: Slot): Live {
  const live = state.live.get(slot.id);
  assert(live !== undefined, () => `slot ${slot.id} has no live part`);
  return live;
}

/** Container time now, in milliseconds. */
export function ranMsOf(state: WorkerState, slot: Slot, nowMs: number): number {
  const since = liveOf(state, slot).runningSinceMs;
  return since === null ? slot.ranMs : Math.max(slot.ranMs, nowMs - since);
}

export function sameAttempt(a: AttemptRef, b: AttemptRef): boolean {
  return a.jobId === b.jobId && a.replica === b.replica && a.epoch === b.epoch;
}

export function slotOfAttempt(state: WorkerState, ref: AttemptRef): Slot | undefined {
  for (const slot of state.slots.values()) {
    if (slot.attempt !== null && sameAttempt(slot.attempt, ref)) return slot;
  }
  return undefined;
}

/** The runner told how much the container has sent. */
export function noteSent(state: WorkerState, slot: Slot, { sentBytes }: { readonly sentBytes?: number }): void {
  const live = liveOf(state, slot);
  if (sentBytes !== undefined) live.sentBytes = Math.max(live.sentBytes ?? 0, sentBytes);
}

/** The slot made for a standby, also after its promotion. */
export function slotOfStandby(state: WorkerState, id: StandbyId): Slot | undefined {
  for (const slot of state.slots.values()) if (slot.standbyId === id) return slot;
  return undefined;
}

/** Whether heartbeats must come often. */
export function isBusy(state: WorkerState): boolean {
  for (const slot of state.slots.values()) if (slot.phase !== "removing") return true;
  return false;
}
