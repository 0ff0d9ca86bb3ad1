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
// An idle agent is to be small: V8 does not let the space for young objects grow (10 MB less), at the price of emptying it more often.
process.getBuiltinModule("node:v8").setFlagsFromString("--semi-space-growth-factor=1");
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
