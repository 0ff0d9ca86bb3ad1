// The doctor on exclusive jobs: whether a guard can run here that outlives the agent.
import { createLogger } from "@qubix/shared/runtime";
import { type Check, type CheckRun, ok, warn } from "../app/doctor/check.ts";
import { createBootClock } from "../runner/boot-clock.ts";
import { tryGuard, whyUnguarded } from "./open.ts";

const NAME = "Exclusive jobs";
const NEEDED = "root on Linux, control groups with a freezer, and a process that outlives the agent";

export const checkGuard: CheckRun = async ({ config, signal }): Promise<readonly Check[]> => {
  const why = whyUnguarded();
  if (why !== undefined) {
    return [warn(NAME, why, NEEDED, "Run qubix-worker as root on Linux; until then exclusive jobs go elsewhere")];
  }
  const ports = { clock: createBootClock(), logger: createLogger("qubix-worker", "silent") };
  try {
    await tryGuard({ ...ports, dockerSocket: config.dockerSocket }, signal);
    return [ok(NAME, "the guard runs", NEEDED)];
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    return [warn(NAME, found, NEEDED, "Mount a tmpfs at /run or /dev/shm, and allow the worker to start processes")];
  }
};
