import { QubixError } from "./errors.ts";

const NODE_MAJOR = 24;

/** Throws when the running Node is not the supported line; says what to do about it. */
export function assertNodeVersion(version: string = process.versions.node): void {
  const major = Number(version.split(".")[0]);
  if (major === NODE_MAJOR) return;
  throw new QubixError(
    "node_version",
    `Qubix needs Node ${NODE_MAJOR}, but this is Node ${version}. Run it through npm (npm exec qubix …), put node_modules/.bin first on the PATH, or install Node ${NODE_MAJOR}; if npm ci was run with --ignore-scripts, run it again without.`,
    { category: "user" },
  );
}
