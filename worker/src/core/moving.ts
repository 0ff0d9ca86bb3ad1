// A job that is to go elsewhere is asked to save once more (the request file and its signal), and stopped as soon as a new checkpoint stands in its folder:
// what it would compute after that would be lost.
import { moveReason, sendRequest } from "./asking.ts";
import { noteFailed, stop } from "./attempts.ts";
import type { FolderEntry, Slot, WorkerFailure } from "./model.ts";
import { tell } from "./reports.ts";
import { noteEntry } from "./shipping.ts";
import { type Draft, emit, liveOf, update } from "./state.ts";

export interface SaveWish {
  /** How long it is waited for, in milliseconds. */
  readonly answerMs: number;
  /** Stopped then all the same; else it goes on as if nobody had asked. */
  readonly force: boolean;
}

/** Asks a running container to save. One that has not started has nothing to save, and is stopped. */
export function askToSave(draft: Draft, slot: Slot, { answerMs, force }: SaveWish): void {
  if (slot.phase === "ended") return tell(draft, slot);
  if (slot.stopping !== null || slot.phase === "collecting" || slot.phase === "removing") return;
  if (slot.phase === "preparing" || slot.phase === "ready") return stop(draft, slot, moveReason(slot));
  const { asked } = slot;
  const untilMs = draft.nowMs + answerMs;
  if (asked !== undefined && asked.untilMs !== null) {
    // Asked twice: the job is not told again, and has no less time than it was given first; only a firm wish makes it firm.
    if (force && (!asked.force || untilMs < asked.untilMs)) {
      update(draft, slot, { asked: { ...asked, force, untilMs: Math.min(untilMs, asked.untilMs) } });
    }
    return;
  }
  const { newest, shipping } = liveOf(draft.state, slot);
  const before = newest?.entry ?? shipping ?? slot.pending?.entry ?? slot.committedEntry;
  const next = update(draft, slot, { asked: { n: (asked?.n ?? 0) + 1, untilMs, force, before, saved: false } });
  if (next.phase === "running") sendRequest(draft, next);
}

/** A whole checkpoint stands in the folder: shipped when it is due, and if it was asked for, the container has done what was needed. */
export function noteSaved(draft: Draft, slot: Slot, entry: FolderEntry): void {
  if (!noteEntry(draft, slot, entry)) return;
  const now = draft.state.slots.get(slot.id) ?? slot;
  const { asked } = now;
  if (asked === undefined || entry.entry === asked.before) return;
  if (asked.untilMs === null && now.stopping === null) return;
  const answered = asked.saved ? now : update(draft, now, { asked: { ...asked, saved: true } });
  if (answered.stopping === null && answered.phase === "running") stop(draft, answered, moveReason(answered));
}

export function noteUnanswered(draft: Draft, slot: Slot): void {
  const { asked } = slot;
  if (asked === undefined) return;
  if (asked.force) return stop(draft, slot, moveReason(slot));
  update(draft, slot, { asked: { ...asked, untilMs: null } });
  emit(draft, { kind: "request", slotId: slot.id, number: null });
}

/** The worker takes the slot back. What is over already, or is being stopped, ends as it was going to. */
export function reclaim(draft: Draft, slot: Slot, outcome: WorkerFailure): void {
  if (slot.attempt === null) return noteFailed(draft, slot, outcome);
  // A container that has ended needs nothing of what is taken back; its outputs are on the disk.
  if (slot.stopping !== null || ["collecting", "ended", "removing"].includes(slot.phase)) return;
  if (outcome.code === "owner_reclaimed") {
    // The card is there: the job may save on it first.
    const taken = slot.reclaim === undefined ? update(draft, slot, { reclaim: outcome }) : slot;
    return askToSave(draft, taken, { answerMs: draft.state.config.ownerWaitsMs, force: true });
  }
  stop(draft, update(draft, slot, { reclaim: outcome }), "reclaimed");
}
