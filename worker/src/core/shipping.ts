// Checkpoints on their way out: one entry at a time, the newest first, spaced by the job's interval; the last one before an end at once.
import { assert } from "@qubix/shared/runtime";
import type { FolderEntry, Slot, WorkerCoreEvent } from "./model.ts";
import { type Draft, emit, liveOf, update, type WorkerState } from "./state.ts";
import { tell, tellPending, tellTicks } from "./reports.ts";
import { outcomeOf } from "./asking.ts";
import { noteSave } from "./signs.ts";
import { nextStretch, spacingNote } from "./spacing.ts";
import { addTick } from "./ticks.ts";

type Shipped = Extract<WorkerCoreEvent, { kind: "shipped" }>;

/** Ships the newest uncommitted entry if one is due; ends a collecting attempt that has nothing left to ship. */
export function pursue(draft: Draft, slot: Slot): void {
  const { state, nowMs } = draft;
  const atMs = shipAtMs(state, slot);
  if (atMs !== null && nowMs >= atMs) {
    ship(draft, slot);
  } else if (slot.phase === "collecting" && slot.end !== null && !awaitsCheckpoint(state, slot)) {
    const { ranMs, outcome } = slot.end;
    const ended = update(draft, slot, { phase: "ended", end: { ranMs, outcome: outcomeOf(state, slot, outcome) } });
    tell(draft, addTick(draft, ended, "end", ranMs));
  }
}

/** When the newest entry is to be shipped; null while there is nothing to ship, one is under way, or no session. */
export function shipAtMs(state: WorkerState, slot: Slot): number | null {
  const live = liveOf(state, slot);
  if (state.sessionId === null || live.newest === null || live.shipping !== null || slot.pending !== null) return null;
  if (slot.phase === "running" && slot.stopping === null) {
    const spacedMs =
      live.lastShipStartMs === null ? 0 : live.lastShipStartMs + slot.run.checkpointIntervalS * 1000 * live.stretch;
    return Math.max(spacedMs, live.shipAgainMs);
  }
  return isLastChance(state, slot) ? live.shipAgainMs : null;
}

/** The container was stopped or failed, and its newest entry is still worth keeping. */
function isLastChance(state: WorkerState, slot: Slot): boolean {
  if (slot.phase !== "collecting" || slot.end === null) return false;
  return liveOf(state, slot).shipFailures < state.config.shipTriesAtEndMax;
}

function awaitsCheckpoint(state: WorkerState, slot: Slot): boolean {
  const live = liveOf(state, slot);
  return slot.pending !== null || live.shipping !== null || (live.newest !== null && isLastChance(state, slot));
}

function ship(draft: Draft, slot: Slot): void {
  const live = liveOf(draft.state, slot);
  const newest = live.newest;
  assert(newest !== null, "nothing to ship");
  live.shipping = newest.entry;
  live.shippingSentBytes = newest.sentBytes ?? null;
  live.lastShipStartMs = draft.nowMs;
  live.shipCut = false;
  const { entry, ranMs, progress } = newest;
  emit(draft, { kind: "ship", slotId: slot.id, jobId: slot.jobId, entry, ranMs, progress });
}

/** A newer whole entry stands in the folder; false where it is known already. */
export function noteEntry(draft: Draft, slot: Slot, newest: FolderEntry): boolean {
  const live = liveOf(draft.state, slot);
  const isOld = newest.entry === slot.committedEntry || newest.entry === slot.pending?.entry;
  if (isOld || newest.entry === live.shipping) return false;
  const { entry, ranMs, progress, sentBytes } = newest;
  live.newest = { entry, ranMs, progress, ...(sentBytes === undefined ? {} : { sentBytes }) };
  if (newest.progress !== null) live.progress = newest.progress;
  live.signs = noteSave(live.signs, draft.nowMs);
  pursue(draft, slot);
  return true;
}

/** All chunks are stored: the checkpoint waits to be committed. */
export function noteShipped(draft: Draft, slot: Slot, event: Shipped): void {
  const live = liveOf(draft.state, slot);
  if (live.shipping !== event.entry) return;
  live.shipping = null;
  if (live.newest?.entry === event.entry) live.newest = null;
  if (slot.phase !== "running" && slot.phase !== "collecting") return;
  const { entry, tree, ranMs, progress } = event;
  const shipMs = live.lastShipStartMs === null ? 0 : draft.nowMs - live.lastShipStartMs;
  space(draft, slot, shipMs);
  const { checkpointIntervalS } = slot.run;
  const parentSeq = slot.committedSeq;
  const pending = {
    seq: parentSeq + 1,
    parentSeq,
    tree,
    ranMs,
    progress,
    entry,
    shipMs,
    ...(live.stretch === 1 ? {} : { intervalS: checkpointIntervalS * live.stretch }),
  };
  const ticked = addTick(draft, update(draft, slot, { pending }), "checkpoint", ranMs, live.shippingSentBytes);
  tellTicks(draft, ticked);
  tellPending(draft, ticked);
}

/** Takes checkpoints further apart, or closer again, by how long this one took. */
function space(draft: Draft, slot: Slot, shipMs: number): void {
  const live = liveOf(draft.state, slot);
  if (slot.phase !== "running" || live.shipCut) return;
  const askedS = slot.run.checkpointIntervalS;
  const before = live.stretch;
  live.stretch = nextStretch(askedS * 1_000, before, shipMs, live.newest !== null);
  if (live.stretch === before) return;
  emit(draft, { kind: "note", slotId: slot.id, text: spacingNote(askedS, before, live.stretch, shipMs) });
}

export function noteShipFailed(draft: Draft, slot: Slot, entry: string): void {
  const live = liveOf(draft.state, slot);
  if (live.shipping !== entry) return;
  live.shipping = null;
  live.shipAgainMs = draft.nowMs + draft.state.config.shipRetryMs;
  // A cut line is no reason to give the last checkpoint up; a refusing store is.
  if (slot.phase === "collecting" && draft.state.sessionId !== null) live.shipFailures += 1;
  pursue(draft, slot);
}

/** The orchestrator's answer to a checkpoint: durable, so the next one builds on it. */
export function noteCommitted(draft: Draft, slot: Slot, seq: number): void {
  const { pending } = slot;
  if (pending === null || pending.seq !== seq) return;
  const next = update(draft, slot, { pending: null, committedSeq: seq, committedEntry: pending.entry });
  emit(draft, { kind: "committed", slotId: slot.id, entry: pending.entry });
  pursue(draft, next);
}

/** The orchestrator will never take this one; the next entry is another try. */
export function noteCheckpointRefused(draft: Draft, slot: Slot, seq: number): void {
  if (slot.pending?.seq !== seq) return;
  pursue(draft, update(draft, slot, { pending: null }));
}
