// The agent starts: journal and engine are compared, and what still lives is taken up again.
import { collect, end, noteExited, prepare, restore, start, stopContainer } from "./attempts.ts";
import type { ContainerFound, Slot, SlotId } from "./model.ts";
import { sendRequest } from "./asking.ts";
import { noteSaved } from "./moving.ts";
import { pursue } from "./shipping.ts";
import { type Draft, emit, liveOf, noteSent, update } from "./state.ts";

const ABSENT: ContainerFound = {
  state: "absent",
  exitCode: null,
  oomKilled: false,
  diskExceeded: false,
  ranMs: 0,
  newest: null,
};

/** Takes up every slot of the journal where the engine says it stands. */
export function boot(draft: Draft, containers: ReadonlyMap<SlotId, ContainerFound>): void {
  draft.state.apartSinceMs = draft.nowMs;
  for (const slot of draft.state.slots.values()) takeUp(draft, slot, containers.get(slot.id) ?? ABSENT);
}

function takeUp(draft: Draft, slot: Slot, found: ContainerFound): void {
  switch (slot.phase) {
    case "preparing":
      return prepare(draft, slot);
    case "ready":
      if (found.state === "created") restore(draft, slot);
      else prepare(draft, update(draft, slot, { phase: "preparing", unpackedSeq: 0 }));
      return;
    case "starting":
      if (found.state === "created") return start(draft, slot);
      if (found.state === "absent") return prepare(draft, update(draft, slot, { phase: "preparing", unpackedSeq: 0 }));
      return resume(draft, update(draft, slot, { phase: "running" }), found);
    case "running":
      return resume(draft, slot, found);
    case "collecting":
      if (slot.end === null) collect(draft, slot);
      else finish(draft, slot, found);
      return;
    case "ended":
      return;
    case "removing":
      emit(draft, { kind: "remove", slotId: slot.id });
      return;
  }
}

function resume(draft: Draft, slot: Slot, found: ContainerFound): void {
  if (found.state === "absent" || found.state === "created") {
    const message = "The container was gone when the worker's agent came back.";
    end(draft, slot, { kind: "worker_failed", code: "lost_container", message });
    return;
  }
  noteSent(draft.state, slot, found);
  if (found.newest !== null) noteSaved(draft, slot, found.newest);
  const now = draft.state.slots.get(slot.id) ?? slot;
  if (found.state === "exited") return noteExited(draft, now, found);
  liveOf(draft.state, now).runningSinceMs = draft.nowMs - found.ranMs;
  if (now.attempt !== null) emit(draft, { kind: "follow", slotId: now.id, attempt: now.attempt });
  if (now.stopping !== null) stopContainer(draft, now);
  else sendRequest(draft, now);
}

/** Only the newest checkpoint was still on its way. */
function finish(draft: Draft, slot: Slot, found: ContainerFound): void {
  noteSent(draft.state, slot, found);
  if (found.newest !== null) noteSaved(draft, slot, found.newest);
  const now = draft.state.slots.get(slot.id);
  if (now?.phase === "collecting") pursue(draft, now);
}
