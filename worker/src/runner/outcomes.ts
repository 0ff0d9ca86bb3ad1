// What went wrong in a slot, in the protocol's words: whose fault it is decides whether it costs a retry or a failover.
import type { EndOutcome } from "@qubix/shared/protocol";
import { QubixError, unreachable } from "@qubix/shared/runtime";
import type { ContainerProblem } from "./container-problem.ts";
import type { ImageProblem } from "./images/problem.ts";

/** What the protocol allows for a message. */
const MESSAGE_LENGTH_MAX = 2000;

type WorkerFault = Extract<EndOutcome, { kind: "worker_failed" }>["code"];

export function imageOutcome(problem: ImageProblem): EndOutcome {
  const message = clip(problem.message);
  switch (problem.code) {
    case "image_not_found":
      return { kind: "failed", code: "image_not_found", exitCode: null, message };
    case "image_invalid":
      return { kind: "failed", code: "start_failed", exitCode: null, message };
    case "image_pull_failed":
      return { kind: "worker_failed", code: "image_pull_failed", message };
    default:
      return unreachable(problem.code);
  }
}

export function problemOutcome(problem: ContainerProblem): EndOutcome {
  const message = clip(problem.message);
  return problem.code === "start_failed"
    ? { kind: "failed", code: "start_failed", exitCode: null, message }
    : { kind: "worker_failed", code: problem.code, message };
}

/** Errors that are told as what they are, wherever they came up. */
const OWN_CODES = ["isolation_failed", "checkpoint_damaged", "guard_failed"] as const satisfies readonly WorkerFault[];

export function outcomeOfError(fallback: WorkerFault, error: unknown): EndOutcome {
  const code = error instanceof QubixError ? (OWN_CODES.find((own) => own === error.code) ?? fallback) : fallback;
  return { kind: "worker_failed", code, message: clip(toldAbroad(error)) };
}

/** The consumer reads it: an error of the file system goes without the provider's paths, which stand in the worker's log. */
function toldAbroad(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { path, syscall, code } = error as NodeJS.ErrnoException;
  return path === undefined ? error.message : `the worker's disk: ${syscall ?? "access"} failed (${code ?? "unknown"})`;
}

function clip(text: string): string {
  return text.slice(0, MESSAGE_LENGTH_MAX);
}

/** The job wrote what no worker could ship, or its consumer has no room left for it. */
export function isJobsOwn(error: unknown): error is QubixError {
  return error instanceof QubixError && JOBS_OWN.includes(error.code);
}
const JOBS_OWN: readonly string[] = ["tree_too_large", "tree_misnamed", "output_exceeded", "storage_quota"];

export const SECRETS_LOST: EndOutcome = {
  kind: "worker_failed",
  code: "secrets_lost",
  message:
    "The job's secrets could not be opened on this worker, or went with a restart of the machine. The job was not run without them.",
};
/** A checkpoint that was shipped from a disk of this size fits; one of a job whose disk was larger may not. */
export const DOES_NOT_FIT: EndOutcome = {
  kind: "failed",
  code: "disk_exceeded",
  exitCode: null,
  message: "The checkpoint to begin from does not fit into the job's diskMiB; ask for more disk.",
};
