// `qubix` as a function: arguments in, exit code out.
import { CommanderError } from "commander";
import { EXIT_OK, EXIT_USAGE, exitCodeOf, usageError } from "./exit-codes.ts";
import type { Io } from "./io.ts";
import { createProgram, type Runner } from "./program.ts";
import type { GlobalOptions } from "./session.ts";

export { colorsFor } from "./colors.ts";
export { createTimelineFormatter, isStory, type TimelineFormatter } from "./format/timeline.ts";
export type { Io, TextStream } from "./io.ts";

const VERSION = "0.1.0";

/** Runs the program with these arguments (without `node` and the script). Never throws: what went wrong is on `stderr`. */
export async function runCli(argv: readonly string[], io: Io): Promise<number> {
  const { before, rest } = splitCommand(argv);
  let code = EXIT_OK;
  const run: Runner = async (handler, args, options, takesCommand, isOffline) => {
    if (rest !== null && !takesCommand) throw usageError("Only `run` and `quote` take a command after `--`.");
    const [{ createSession }, handle] = await Promise.all([import("./session.ts"), handler()]);
    const session = createSession(io, globals, rest, isOffline);
    try {
      code = await handle(session, args, options);
    } finally {
      session.client.close();
    }
  };
  const program = createProgram(VERSION, run);
  let globals: GlobalOptions = {};
  program.hook("preAction", (_program, command) => {
    globals = command.optsWithGlobals<GlobalOptions>();
  });
  for (const command of allCommands(program)) {
    command.exitOverride().configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  }
  try {
    await program.parseAsync([...before], { from: "user" });
    return code;
  } catch (error) {
    // Commander has said what is wrong, or shown the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    await report(error, io, globals);
    return exitCodeOf(error);
  }
}

function allCommands(command: ReturnType<typeof createProgram>): ReturnType<typeof createProgram>[] {
  return [command, ...command.commands.flatMap((child) => allCommands(child))];
}

/** What stands after the first `--` is the job's command and no business of the parser's. */
function splitCommand(argv: readonly string[]): { before: readonly string[]; rest: readonly string[] | null } {
  const at = argv.indexOf("--");
  return at < 0 ? { before: argv, rest: null } : { before: argv.slice(0, at), rest: argv.slice(at + 1) };
}

async function report(error: unknown, io: Io, globals: GlobalOptions): Promise<void> {
  const { errorJson, formatError } = await import("./format/error.ts");
  if (globals.json === true) {
    io.stderr.write(`${JSON.stringify(errorJson(error))}\n`);
    return;
  }
  const { colorsFor } = await import("./colors.ts");
  const colors = colorsFor(io.env, io.stderr.isTTY === true, globals.color !== false);
  io.stderr.write(`${formatError(error, colors)}\n`);
}
