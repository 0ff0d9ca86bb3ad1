// What the orchestrator orders. Every order is idempotent: seen twice, it is answered twice and done once.
import type { AttemptRef } from "@qubix/shared/domain";
import type { OrchestratorMessage } from "@qubix/shared/protocol";
import { unreachable } from "@qubix/shared/runtime";
import { IMAGE_MOVED, isOtherImage, noteFailed, openSlot, remove, restore, start, stop } from "./attempts.ts";
import type { Slot } from "./model.ts";
import { askToSave } from "./moving.ts";
import { hasten, send, tell } from "./reports.ts";
import { attemptSlotId, standbySlotId } from "./slot-ids.ts";
import { type Draft, emit, slotOfAttempt, slotOfStandby, update } from "./state.ts";

type Order<K extends OrchestratorMessage["kind"]> = Extract<OrchestratorMessage, { kind: K }>;

/** Does what a message of the orchestrator asks. */
export function obey(draft: Draft, message: OrchestratorMessage): void {
  switch (message.kind) {
    case "assign":
      return assign(draft, message);
    case "adopt":
      return adopt(draft, message);
    case "stop":
      return onAttempt(draft, message.attempt, (slot) => {
        if (slot.phase === "ended") tell(draft, slot);
        else stop(draft, slot, message.reason);
      });
    case "save":
      return onAttempt(draft, message.attempt, (slot) => askToSave(draft, slot, message));
    case "fence": {
      const slot = slotOfAttempt(draft.state, message.attempt);
      if (slot !== undefined) remove(draft, slot);
      return;
    }
    case "prepare":
      return prepareStandby(draft, message);
    case "standby.checkpoint":
      return follow(draft, message);
    case "promote":
      return promote(draft, message);
    case "release": {
      const slot = slotOfStandby(draft.state, message.standbyId);
      // A promoted one is an attempt: only a fence takes it away.
      if (slot !== undefined && slot.attempt === null) remove(draft, slot);
      return;
    }
    // The link's own business.
    case "challenge":
    case "welcome":
    case "ack":
    case "refused":
    // The shell's own business.
    case "prove":
    case "earnings":
    case "direct.peer":
      return;
    default:
      return unreachable(message);
  }
}

function assign(draft: Draft, { attempt, run, checkpoint }: Order<"assign">): void {
  const known = slotOfAttempt(draft.state, attempt);
  if (known !== undefined) return tell(draft, known);
  if (isStale(draft, attempt)) return;
  const id = attemptSlotId(attempt);
  if (draft.state.slots.has(id)) return;
  openSlot(draft, { id, jobId: attempt.jobId, run, checkpoint, attempt, standbyId: null });
}

/** A later epoch of the same job is here already: the order was overtaken. */
function isStale(draft: Draft, ref: AttemptRef): boolean {
  for (const { attempt } of draft.state.slots.values()) {
    if (attempt?.jobId === ref.jobId && attempt.replica === ref.replica && attempt.epoch > ref.epoch) return true;
  }
  return false;
}

function adopt(draft: Draft, { attempt, from }: Order<"adopt">): void {
  const known = slotOfAttempt(draft.state, attempt);
  if (known !== undefined) return tell(draft, known);
  const slot = slotOfAttempt(draft.state, { ...attempt, epoch: from });
  if (slot === undefined || slot.phase === "removing") return reportMissing(draft, attempt);
  const next = update(draft, slot, { attempt });
  emit(draft, { kind: "relabel", slotId: slot.id, epoch: attempt.epoch });
  tell(draft, next);
}

function onAttempt(draft: Draft, ref: AttemptRef, act: (slot: Slot) => void): void {
  const slot = slotOfAttempt(draft.state, ref);
  if (slot === undefined) reportMissing(draft, ref);
  else act(slot);
}

/** An order for what is not here: the orchestrator is told, so that it does not wait. */
function reportMissing(draft: Draft, attempt: AttemptRef): void {
  send(draft, {
    kind: "ended",
    attempt,
    ranMs: 0,
    outcome: {
      kind: "worker_failed",
      code: "lost_container",
      message: "The worker has no container for this attempt.",
    },
  });
}

function prepareStandby(draft: Draft, message: Order<"prepare">): void {
  const { standbyId, jobId, run, checkpoint } = message;
  const known = slotOfStandby(draft.state, standbyId);
  if (known === undefined) {
    const id = standbySlotId(standbyId);
    openSlot(draft, { id, jobId, run, checkpoint, attempt: null, standbyId });
    return;
  }
  if (known.attempt !== null || known.phase === "removing") return;
  const { imageDigest } = run;
  const pinned =
    imageDigest === undefined || known.run.imageDigest !== undefined
      ? known
      : update(draft, known, { run: { ...known.run, imageDigest } });
  if (isOtherImage(pinned.run, pinned.imageDigest)) return noteFailed(draft, pinned, IMAGE_MOVED);
  tell(draft, pinned);
  if (checkpoint !== null) follow(draft, { kind: "standby.checkpoint", standbyId, checkpoint });
}

/** A standby follows the job's newest checkpoint. */
function follow(draft: Draft, { standbyId, checkpoint }: Order<"standby.checkpoint">): void {
  const slot = slotOfStandby(draft.state, standbyId);
  if (slot === undefined || slot.attempt !== null || slot.phase === "removing") return;
  if (checkpoint.seq <= (slot.checkpoint?.seq ?? 0)) return;
  const next = update(draft, slot, { checkpoint });
  if (next.phase === "ready") restore(draft, next);
}

/** The standby becomes the attempt: it starts at once if the newest checkpoint is in place. */
function promote(draft: Draft, { standbyId, attempt, checkpoint }: Order<"promote">): void {
  const known = slotOfAttempt(draft.state, attempt);
  if (known !== undefined) return tell(draft, known);
  const slot = slotOfStandby(draft.state, standbyId);
  if (slot === undefined || slot.phase === "removing" || slot.attempt !== null) return reportMissing(draft, attempt);
  const isReady = slot.phase === "ready";
  const wanted = (checkpoint?.seq ?? 0) > (slot.checkpoint?.seq ?? 0) ? checkpoint : slot.checkpoint;
  const next = update(draft, slot, { attempt, phase: "preparing", checkpoint: wanted });
  hasten(draft);
  if (isReady && restore(draft, next)) start(draft, next);
}
