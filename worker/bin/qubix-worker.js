#!/usr/bin/env node
// Starts the built program. The version is looked at first, in words that any Node understands: newer syntax lies behind it.
var major = Number(process.versions.node.split(".")[0]);
if (major !== 24) {
  process.stderr.write(
    "qubix-worker: Qubix needs Node 24, but this is Node " +
      process.versions.node +
      ". Run it through npm (npm exec qubix-worker), put node_modules/.bin first on the PATH, or install Node 24.\n",
  );
  process.exit(1);
}
if (process.argv[2] === "start") becomeSmall();
import("../dist/app/main.js").then(
  function (program) {
    return program.main(process.argv.slice(2)).then(function (code) {
      process.exitCode = code;
    });
  },
  function (error) {
    process.stderr.write("qubix-worker: it is not built yet (npm run build): " + error.message + "\n");
    process.exit(1);
  },
);

// An idle agent is to be small (figures: bench/RESULTS.md). V8 keeps less code and does not let the space for young objects grow, at the
// price of emptying it more often. The C library gives blocks of 32 KiB and more back at once instead of keeping what a transfer
// once needed: it reads that only when a process begins, so this one begins again in its own place, with the same id.
function becomeSmall() {
  var v8 = process.getBuiltinModule("node:v8");
  v8.setFlagsFromString("--semi-space-growth-factor=1");
  v8.setFlagsFromString("--optimize-for-size");
  // Read when a thread begins: with so little code kept, one that makes checkpoints would clear its few MB up again and again (up to a tenth of a save's CPU).
  v8.setFlagsFromString("--initial-heap-size=64");
  var setting = "MALLOC_MMAP_THRESHOLD_";
  if (process.platform !== "linux" || process.env[setting] !== undefined) return;
  var environment = Object.assign({}, process.env);
  environment[setting] = "32768";
  process.execve(process.execPath, [process.argv0].concat(process.execArgv, process.argv.slice(1)), environment);
}
