// What an Engine must bring before any job runs on it: a filter of system calls. Its own default is used for every container, so one that has it turned off
// would run strangers' code without.
import { QubixError } from "@qubix/shared/runtime";

/** Throws `engine_unsafe` where the Engine runs containers without a seccomp filter. `options`: SecurityOptions of what it says of itself. */
export function assertSeccomp(options: readonly string[] | undefined): void {
  const seccomp = options?.find((option) => option.startsWith("name=seccomp"));
  if (seccomp !== undefined && !seccomp.includes("profile=unconfined")) return;
  const why = seccomp === undefined ? "has no seccomp filter" : "has its seccomp filter turned off";
  throw new QubixError(
    "engine_unsafe",
    `The Docker Engine ${why}, and strangers' jobs do not run without. Remove "seccomp-profile": "unconfined" from daemon.json (or use a kernel with CONFIG_SECCOMP_FILTER), restart Docker, and see: qubix-worker doctor`,
    { category: "provider" },
  );
}
