// How the program runs what a command line names.
import type { GlobalOptions, Handler } from "./session.ts";

/** Runs a handler with a session made from the global options. */
export type Runner = <Options>(
  handler: () => Promise<Handler<Options>>,
  args: readonly string[],
  options: Options & GlobalOptions,
  takesCommand: boolean,
) => Promise<void>;
