#!/usr/bin/env node
// Starts the orchestrator. Plain JavaScript that an old Node can read too: it says what is wrong before anything newer is loaded.
var needed = 24;
if (Number(process.versions.node.split(".")[0]) !== needed) {
  process.stderr.write(
    "qubix-orchestrator needs Node " +
      needed +
      ", but this is Node " +
      process.versions.node +
      ". Run it through npm (npm exec qubix-orchestrator), put node_modules/.bin first on the PATH, or install Node " +
      needed +
      ".\n",
  );
  process.exitCode = 1;
} else {
  import("../dist/app/main.js").then(
    function (main) {
      return main.runCli(process.argv);
    },
    function (error) {
      var missing = error && error.code === "ERR_MODULE_NOT_FOUND";
      process.stderr.write(
        missing
          ? "qubix-orchestrator is not built, or a package is missing. Run `npm ci` and `npm run build` in the repository.\n" +
              error.message +
              "\n"
          : String((error && error.stack) || error) + "\n",
      );
      process.exitCode = 1;
    },
  );
}
