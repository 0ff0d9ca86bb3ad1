// What `qubix-worker doctor` looks at. Each area of the worker exports a function of type CheckRun beside its own code; checks.ts lists them all.
import type { Engine } from "../../runner/engine.ts";
import type { StartConfig } from "../config.ts";

/**
 * `ok`: good. `warn`: works, but something is lost by it (a feature, speed, safety margin). `fail`: the worker cannot do its work until it is mended.
 * `skip`: not to be told here, or not asked for; `found` says why.
 */
export type CheckStatus = "ok" | "warn" | "fail" | "skip";

/** One line of the report. Words for people: `found` what is there, `needed` what is asked for, `remedy` what to do or type ("" where nothing is to be done). */
export interface Check {
  /** A few words, e.g. `Docker Engine`; stable, programs read it with --json. */
  readonly name: string;
  readonly status: CheckStatus;
  readonly found: string;
  readonly needed: string;
  readonly remedy: string;
}

export type DoctorConfig = Omit<StartConfig, "dataDir"> & { readonly dataDir?: string | undefined };

/** What a check may look at. It must leave the machine as it was, also when it fails or is aborted, and must work while an agent runs and before enrolment. */
export interface DoctorContext {
  /** The settings of `start`, from flags, variables and file; `dataDir` may be missing, or not exist yet. */
  readonly config: DoctorConfig;
  readonly engine: Engine;
  /** Aborted when the check's time is up. */
  readonly signal: AbortSignal;
}

/**
 * Looks at one area. Returns its lines, in the order in which they are to be read. A throw, or no answer within {@link CHECK_TIMEOUT_MS}, becomes a
 * line `fail` with the error's message: expected faults are better told as lines with a remedy.
 */
export type CheckRun = (context: DoctorContext) => Promise<readonly Check[]>;

/** An area with the name that stands for it where it could not answer. */
export interface CheckArea {
  readonly name: string;
  readonly run: CheckRun;
}

/** A hanging driver or daemon must not hold up the report: the slowest honest self-test (a sandboxed container) takes a few seconds. */
export const CHECK_TIMEOUT_MS = 45_000;

export function ok(name: string, found: string, needed: string): Check {
  return { name, status: "ok", found, needed, remedy: "" };
}

export function warn(name: string, found: string, needed: string, remedy: string): Check {
  return { name, status: "warn", found, needed, remedy };
}

export function fail(name: string, found: string, needed: string, remedy: string): Check {
  return { name, status: "fail", found, needed, remedy };
}

export function skip(name: string, why: string, needed = ""): Check {
  return { name, status: "skip", found: why, needed, remedy: "" };
}
