// What the program's exit code says; documented in `qubix --help`.
import { QubixError } from "@qubix/shared/errors";

export const EXIT_OK = 0;
/** The job did not succeed, or something else went wrong. */
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
export const EXIT_AUTH = 3;
export const EXIT_NOT_FOUND = 4;
export const EXIT_UNREACHABLE = 5;
/** A receipt does not add up. */
export const EXIT_NOT_VERIFIED = 6;
/** Detached by Ctrl-C; the shell's convention for SIGINT. */
export const EXIT_INTERRUPTED = 130;

export const EXIT_CODES_HELP = `Exit codes:
  0  done; with --wait: the job succeeded
  1  the job did not succeed, or another failure
  2  the command line or the specification is not valid
  3  no API key, an unknown one, or one that may not do this
  4  no such job, worker or file
  5  the orchestrator cannot be reached
  6  a receipt does not add up
  130  interrupted; a job that was waited for goes on`;

const CODES_USAGE: readonly string[] = ["usage", "url_invalid", "invalid_request"];
const CODES_UNREACHABLE: readonly string[] = ["cannot_connect", "request_timeout"];

/** The exit code for an error that ended a command. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof QubixError)) return EXIT_FAILED;
  if (CODES_UNREACHABLE.includes(error.code)) return EXIT_UNREACHABLE;
  if (CODES_USAGE.includes(error.code)) return EXIT_USAGE;
  if (error.status === 401 || error.status === 403) return EXIT_AUTH;
  if (error.status === 404) return EXIT_NOT_FOUND;
  return error.status === 400 ? EXIT_USAGE : EXIT_FAILED;
}

/** An error in how the program was called. */
export function usageError(message: string): QubixError {
  return new QubixError("usage", message, { category: "user" });
}
