// What the commands of `qubix-worker` share: flags, output, failures.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { CommanderError, InvalidArgumentError } from "commander";
import { QubixError } from "@qubix/shared/runtime";

export const EXIT_FAILURE = 1;
export const EXIT_USAGE = 2;

export interface CommonFlags {
  readonly dataDir?: string;
  readonly json?: boolean;
}

export function dataDirOf(flags: CommonFlags): string {
  const dir = flags.dataDir ?? process.env["QUBIX_DATA_DIR"];
  if (dir !== undefined) return resolve(dir);
  throw new QubixError("usage", "--data-dir is missing: where this worker keeps its key and journal", {
    category: "user",
  });
}

export function parseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol)) {
    throw new InvalidArgumentError(`"${text}" is no URL such as https://qubix.example or http://127.0.0.1:7070`);
  }
  return url.origin;
}

/** A day at most: whoever has longer has no need of a deadline. */
const SECONDS_MAX = 86_400;

export function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > SECONDS_MAX) {
    throw new InvalidArgumentError(`"${text}" is no number of seconds from 1 to ${SECONDS_MAX}`);
  }
  return seconds;
}

/** For a flag that may be given several times. */
export function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

export function agentVersion(): string {
  const file = new URL("../../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

/** Says what went wrong, in one line unless it is a fault of the program; returns the exit code. */
export function reportFailure(error: unknown): number {
  // Commander has said it, and help is no failure.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  process.stderr.write(`qubix-worker: ${failureText(error)}\n`);
  return error instanceof QubixError && ["usage", "config_invalid"].includes(error.code) ? EXIT_USAGE : EXIT_FAILURE;
}

function failureText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isFileError = (error as NodeJS.ErrnoException).path !== undefined;
  return error instanceof QubixError || isFileError ? error.message : (error.stack ?? error.message);
}
