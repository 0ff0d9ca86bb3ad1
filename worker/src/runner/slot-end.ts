// How a container's end is judged: whose doing it was. Pure.
import type { EndOutcome } from "@qubix/shared/protocol";
import type { ContainerView, EndedView } from "./containers.ts";
import type { SlotNotes } from "./slot-notes.ts";

/** The exit code of a container that SIGKILL ended. */
const KILLED = 137;
/** A shell's exit codes for a command that is not there or cannot be executed. */
const NOT_EXECUTED: readonly number[] = [126, 127];

/**
 * Why a container that is over counts as failed, before its exit code is looked at; null where the exit code tells. `view`: undefined where it is gone.
 * `execFailure`: what {@link execFailureIn} found in its output.
 */
export function failureOf(view: EndedView | undefined, execFailure: string | null): EndOutcome | null {
  if (view === undefined) {
    const message = "The container was deleted while it ran.";
    return { kind: "worker_failed", code: "lost_container", message };
  }
  const { exitCode } = view;
  if (view.endedByEngine) {
    // It was most likely taken down with the Engine: that is not the job's own failure.
    const message = `The Docker Engine went away while the container ran, and it ended with exit code ${exitCode}.`;
    return { kind: "worker_failed", code: "docker_error", message };
  }
  if (execFailure !== null && NOT_EXECUTED.includes(exitCode ?? 0)) {
    const message = `The job's command is not in the image, or cannot be executed (${execFailure}).`;
    return { kind: "failed", code: "start_failed", exitCode, message };
  }
  return null;
}

/** Killed from outside while no agent watched, and neither for its memory nor its disk: that was not the job's doing. */
export function wasKilledUnseen(view: ContainerView, notes: SlotNotes): boolean {
  return view.exitCode === KILLED && !view.oomKilled && !notes.ended && !notes.diskExceeded;
}

/**
 * The words of tini (Docker's init), which says itself when it cannot run the command, e.g. `exec /no/such/program failed: No such file or directory`;
 * null for any other line.
 */
export function execFailureIn(bytes: Buffer): string | null {
  return /^\[FATAL tini[^\]]*\] (.{1,500})/.exec(bytes.toString())?.[1] ?? null;
}
