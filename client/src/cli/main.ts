// Entry of the `qubix` program.
import { EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK } from "./exit-codes.ts";
import { runCli } from "./index.ts";

// `qubix jobs | head`: whoever reads has seen enough.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? EXIT_OK : EXIT_FAILED));
}

const interrupts: (() => void)[] = [];
process.on("SIGINT", () => {
  const handler = interrupts.pop();
  // Nobody wants to know, or it is the second time.
  if (handler === undefined) process.exit(EXIT_INTERRUPTED);
  handler();
});

process.exitCode = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  onInterrupt: (handler) => {
    interrupts.push(handler);
    return () => {
      const at = interrupts.indexOf(handler);
      if (at >= 0) interrupts.splice(at, 1);
    };
  },
});
