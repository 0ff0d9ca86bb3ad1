#!/usr/bin/env node
// Starts `qubix`. Runs on any Node, to be able to say which one is needed; everything else is loaded after that.
var major = Number(process.versions.node.split(".")[0]);
if (major !== 24) {
  process.stderr.write(
    "error: qubix needs Node 24, but this is Node " +
      process.versions.node +
      ".\n  Run it through npm (npm exec qubix), put node_modules/.bin first on the PATH, or install Node 24;" +
      " if npm ci was run with --ignore-scripts, run it again without.\n",
  );
  process.exit(1);
}
import("../dist/cli/main.js").catch(function (error) {
  if (error && error.code === "ERR_MODULE_NOT_FOUND") {
    process.stderr.write(
      "error: qubix is not built, or not installed wholly.\n  Run `npm ci && npm run build` first. (" +
        error.message +
        ")\n",
    );
  } else {
    process.stderr.write("error: " + (error && error.stack ? error.stack : String(error)) + "\n");
  }
  process.exit(1);
});
