// How the program runs what a command line names, and options that many commands take.
import type { Command } from "commander";
import type { GlobalOptions, Handler } from "./session.ts";

/** Runs a handler with a session made from the global options. */
export type Runner = <Options>(
  handler: () => Promise<Handler<Options>>,
  args: readonly string[],
  options: Options & GlobalOptions,
  takesCommand: boolean,
  /** Needs no orchestrator, and so no API key. */
  isOffline?: boolean,
) => Promise<void>;

/** The arguments that were given: those that may be left out are undefined then. */
export function given(...args: readonly (string | undefined)[]): readonly string[] {
  return args.filter((arg) => arg !== undefined);
}

/** The options of a list. */
export function withPages(command: Command, items = ""): Command {
  return command
    .option("--limit <n>", `how many${items} at most [50]`)
    .option("--cursor <cursor>", "go on after a page (its nextCursor)")
    .option("--all", "all of them");
}
