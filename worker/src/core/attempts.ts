// The life of a slot as its container makes it: prepared, started, ended by itself or stopped, collected, removed.
import type { AttemptRef, JobId, StandbyId } from "@qubix/shared/domain";
import type { CheckpointRef, EndOutcome, RunSpec } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import type { Slot, SlotId, StopReason, WorkerCoreEvent } from "./model.ts";
import { leftAsAsked, moveReason, sendRequest } from "./asking.ts";
import { isExclusive, mayStart, noteOver } from "./exclusive.ts";
import { hasten, send, tell, tellStopped } from "./reports.ts";
import { pursue } from "./shipping.ts";
import { type Draft, emit, insert, liveOf, noteSent, ranMsOf, update } from "./state.ts";
import { addTick } from "./ticks.ts";

type Prepared = Extract<WorkerCoreEvent, { kind: "prepared" }>;
type Exited = Omit<Extract<WorkerCoreEvent, { kind: "exited" }>, "kind" | "slotId">;

/** Makes a slot and begins to prepare it. */
export function openSlot(
  draft: Draft,
  made: {
    readonly id: SlotId;
    readonly jobId: JobId;
    readonly run: RunSpec;
    readonly checkpoint: CheckpointRef | null;
    readonly attempt: AttemptRef | null;
    readonly standbyId: StandbyId | null;
  },
): void {
  const slot = insert(draft, {
    ...made,
    phase: "preparing",
    unpackedSeq: 0,
    committedSeq: 0,
    committedEntry: null,
    pending: null,
    stopping: null,
    end: null,
    ranMs: 0,
  });
  prepare(draft, slot);
  hasten(draft);
}

/** Asks for what is missing of a slot: image, container, checkpoint. */
export function prepare(draft: Draft, slot: Slot): void {
  const { id: slotId, jobId, run, checkpoint } = slot;
  liveOf(draft.state, slot).restoringSeq = checkpoint?.seq ?? 0;
  emit(draft, { kind: "prepare", slotId, jobId, run, checkpoint });
}

/** Unpacks the checkpoint the slot is to begin from, unless it is there or another is being unpacked. True when it is there. */
export function restore(draft: Draft, slot: Slot): boolean {
  const { checkpoint } = slot;
  const live = liveOf(draft.state, slot);
  if (live.restoringSeq !== null) return false;
  if (checkpoint === null || slot.unpackedSeq >= checkpoint.seq) return true;
  live.restoringSeq = checkpoint.seq;
  emit(draft, { kind: "restore", slotId: slot.id, jobId: slot.jobId, checkpoint });
  return false;
}

/** The container stands, with a checkpoint. A newer one may be wanted by now. */
export function notePrepared(draft: Draft, slot: Slot, event: Prepared): void {
  liveOf(draft.state, slot).restoringSeq = null;
  if (slot.phase !== "preparing" && slot.phase !== "ready") return;
  const { checkpointSeq, entry } = event;
  const imageDigest = event.imageDigest ?? slot.imageDigest;
  if (isOtherImage(slot.run, imageDigest)) return noteFailed(draft, slot, IMAGE_MOVED);
  const next = update(draft, slot, {
    ...(imageDigest === undefined ? {} : { imageDigest }),
    unpackedSeq: checkpointSeq,
    committedSeq: checkpointSeq,
    committedEntry: entry,
    phase: slot.attempt === null ? "ready" : "preparing",
  });
  const isCurrent = restore(draft, next);
  if (next.attempt === null) tell(draft, next);
  else if (isCurrent) start(draft, next);
}

/** It was prepared before the job's first attempt had decided which image the tag stands for, and the tag moved in between. */
export function isOtherImage(run: RunSpec, imageDigest: string | undefined): boolean {
  return run.imageDigest !== undefined && imageDigest !== undefined && imageDigest !== run.imageDigest;
}

export const IMAGE_MOVED: EndOutcome = {
  kind: "worker_failed",
  code: "image_pull_failed",
  message: "The image's tag was moved while the worker prepared it: this is another image than the job's.",
};

export function start(draft: Draft, slot: Slot): void {
  assert(slot.attempt !== null, `slot ${slot.id} has nothing to start for`);
  if (!mayStart(draft, slot)) return void update(draft, slot, { phase: "preparing" });
  update(draft, slot, { phase: "starting" });
  emit(draft, { kind: "start", slotId: slot.id, attempt: slot.attempt });
}

export function noteStarted(draft: Draft, slot: Slot): void {
  if (slot.phase !== "starting") return;
  liveOf(draft.state, slot).runningSinceMs = draft.nowMs;
  const next = update(draft, slot, { phase: "running" });
  tell(draft, next);
  if (next.stopping !== null) stopContainer(draft, next);
  else sendRequest(draft, next);
}

/** Stops an attempt wherever it stands. Its end is reported when it has come. */
export function stop(draft: Draft, slot: Slot, reason: StopReason): void {
  if (slot.stopping !== null || slot.phase === "ended" || slot.phase === "removing") return;
  if (slot.phase === "preparing" || slot.phase === "ready") {
    const stopped = update(draft, slot, { stopping: reason });
    end(draft, stopped, stoppedOutcome(stopped));
    return;
  }
  if (slot.phase === "collecting") {
    // The container is over. Outputs on their way are given up only for a reason of the job's owner.
    if (slot.end !== null || reason === "contact_loss" || reason === "drain") return;
    const stopped = update(draft, slot, { stopping: reason });
    end(draft, stopped, stoppedOutcome(stopped));
    return;
  }
  const next = update(draft, slot, { stopping: reason });
  if (next.phase === "running") stopContainer(draft, next);
}

export function stopContainer(draft: Draft, slot: Slot): void {
  const { stopGraceS, network } = slot.run;
  emit(draft, { kind: "stop", slotId: slot.id, graceS: stopGraceS });
  // Processes that hang in a driver whose card is gone cannot be killed, and the job must not wait for them. One that may have effects outside does.
  if (slot.reclaim?.code !== "gpu_lost" || network === "egress" || isExclusive(slot)) return;
  liveOf(draft.state, slot).giveUpAtMs = draft.nowMs + stopGraceS * 1000 + draft.state.config.unkillableMs;
}

/** The container does not die: its attempt ends as if it had. The runner goes on trying to remove it. */
export function giveUp(draft: Draft, slot: Slot): void {
  const ranMs = ranMsOf(draft.state, slot, draft.nowMs);
  noteExited(draft, slot, { exitCode: null, oomKilled: false, diskExceeded: false, ranMs });
}

/** The container is over: by its own success its outputs are collected, else its newest checkpoint is shipped and the end told. */
export function noteExited(draft: Draft, before: Slot, exit: Exited): void {
  if (before.phase !== "starting" && before.phase !== "running") return;
  const slot = noteOver(draft, before);
  noteSent(draft.state, slot, exit);
  const ranMs = Math.max(slot.ranMs, exit.ranMs);
  const live = liveOf(draft.state, slot);
  live.runningSinceMs = null;
  live.giveUpAtMs = null;
  if (leftAsAsked(slot) && exit.exitCode !== 0 && !exit.oomKilled && !exit.diskExceeded) {
    const left = update(draft, slot, { stopping: moveReason(slot) });
    return noteExited(draft, left, exit);
  }
  const { stopping } = slot;
  if (stopping === "contact_loss") {
    end(draft, update(draft, slot, { ranMs }), stoppedOutcome(slot));
  } else if (stopping === null && exit.exitCode === 0 && !exit.diskExceeded) {
    const next = addTick(draft, update(draft, slot, { phase: "collecting", ranMs }), "exit", ranMs);
    tell(draft, next);
    collect(draft, next);
  } else {
    const outcome = stopping === null ? failureOf(exit) : stoppedOutcome(slot);
    const next = update(draft, slot, { phase: "collecting", ranMs, end: { ranMs, outcome } });
    tellStopped(draft, next);
    pursue(draft, next);
  }
}

export function collect(draft: Draft, slot: Slot): void {
  emit(draft, { kind: "collect", slotId: slot.id, jobId: slot.jobId });
}

function stoppedOutcome({ stopping, reclaim: reclaimed }: Slot): EndOutcome {
  if (stopping === "reclaimed" && reclaimed !== undefined) return reclaimed;
  if (stopping !== "contact_loss") return { kind: "stopped" };
  return {
    kind: "worker_failed",
    code: "contact_loss",
    message: "The worker was out of contact for longer than it may work alone, so it stopped the job.",
  };
}

function failureOf(exit: Exited): EndOutcome {
  const { exitCode } = exit;
  if (exit.diskExceeded) {
    const message = "The job filled its disk (diskMiB); ask for more disk or write less.";
    return { kind: "failed", code: "disk_exceeded", exitCode, message };
  }
  if (exit.oomKilled) {
    const message = "The job used more than its memoryMiB and was killed; ask for more memory or use less.";
    return { kind: "failed", code: "oom", exitCode, message };
  }
  const message = `The job's program ended with exit code ${exitCode ?? "unknown"}; see its logs.`;
  return { kind: "failed", code: "exit_code", exitCode, message };
}

/** The attempt is over with this outcome; it is told until it is acknowledged. */
export function end(draft: Draft, before: Slot, outcome: EndOutcome): void {
  const slot = before.phase === "preparing" || before.phase === "ready" ? noteOver(draft, before) : before;
  const ranMs = ranMsOf(draft.state, slot, draft.nowMs);
  liveOf(draft.state, slot).runningSinceMs = null;
  const ended = update(draft, slot, { phase: "ended", ranMs, end: { ranMs, outcome } });
  tell(draft, addTick(draft, ended, "end", ranMs));
}

/** Something the runner was asked for did not work. */
export function noteFailed(draft: Draft, slot: Slot, outcome: EndOutcome): void {
  if (slot.phase === "ended" || slot.phase === "removing") return;
  if (isOvertaken(draft, slot, outcome)) return fetchNewer(draft, slot);
  if (slot.attempt === null) {
    assert(slot.standbyId !== null, `slot ${slot.id} is neither attempt nor standby`);
    const { code, message } = failureText(outcome);
    send(draft, { kind: "standby.failed", standbyId: slot.standbyId, code, message });
    remove(draft, slot);
    return;
  }
  // An end that is already certain is told as it was; one that was asked for is no failure.
  if (slot.end !== null) pursue(draft, slot);
  else if (slot.stopping !== null) end(draft, slot, stoppedOutcome(slot));
  else end(draft, slot, outcome);
}

/** What it was fetching is perhaps no longer kept, because the job has newer ones. */
function isOvertaken(draft: Draft, slot: Slot, outcome: EndOutcome): boolean {
  if (slot.phase !== "preparing" && slot.phase !== "ready") return false;
  if (outcome.kind !== "worker_failed") return false;
  if (outcome.code !== "restore_failed" && outcome.code !== "checkpoint_damaged") return false;
  const restoringSeq = liveOf(draft.state, slot).restoringSeq ?? 0;
  return restoringSeq > 0 && (slot.checkpoint?.seq ?? 0) > restoringSeq;
}

/** Goes on with the newest. Each try needs a newer one, so this ends. */
function fetchNewer(draft: Draft, slot: Slot): void {
  liveOf(draft.state, slot).restoringSeq = null;
  // What was unpacked before may be half replaced.
  const next = update(draft, slot, { unpackedSeq: 0 });
  if (next.phase === "preparing") prepare(draft, next);
  else restore(draft, next);
}

function failureText(outcome: EndOutcome): { readonly code: string; readonly message: string } {
  if (outcome.kind === "failed" || outcome.kind === "worker_failed") return outcome;
  return { code: outcome.kind, message: "The standby could not be prepared." };
}

/** Nobody needs the slot any more. */
export function remove(draft: Draft, slot: Slot): void {
  if (slot.phase === "removing") return;
  liveOf(draft.state, slot).runningSinceMs = null;
  update(draft, slot, { phase: "removing", pending: null });
  emit(draft, { kind: "remove", slotId: slot.id });
}
