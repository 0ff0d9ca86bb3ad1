// Whether exclusive jobs can be guarded on this machine, and the guard for an agent where they can.
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Logger, MonotonicClock } from "@qubix/shared/runtime";
import { makeMemoryFolder, memoryFolderCandidates } from "../secrets/memory-folder.ts";
import { createGuard, type Guard } from "./guard.ts";

export interface GuardInput {
  readonly workerId: string;
  readonly dataDir: string;
  readonly dockerSocket: string;
  readonly clock: MonotonicClock;
  readonly logger: Logger;
}

const FREEZERS = ["/sys/fs/cgroup/freezer", "/sys/fs/cgroup/cgroup.controllers"];

/** What is missing, for people; undefined where nothing is. */
export function whyUnguarded(): string | undefined {
  if (process.platform !== "linux")
    return `this is ${process.platform}, and only Linux can freeze a container's processes`;
  if (process.geteuid?.() !== 0) return "the worker is not root, and could not kill what the guard froze";
  if (!FREEZERS.some((path) => existsSync(path))) return "the kernel shows no control groups that can be frozen";
  return undefined;
}

/** Null where exclusive jobs cannot be taken. Nothing is started yet. */
export function openGuard({ workerId, dataDir, dockerSocket, clock, logger }: GuardInput): Guard | null {
  const folder = whyUnguarded() === undefined ? guardFolder(workerId) : undefined;
  if (folder === undefined) return null;
  return createGuard({ clock, logger }, { folder, dockerSocket, record: join(dataDir, "guard.log") });
}

/** In memory: a full or slow disk must not keep a lease from being renewed. */
function guardFolder(name: string): string | undefined {
  return makeMemoryFolder(memoryFolderCandidates(process.env), `qubix-guard-${name}`);
}

/** Starts a guard with nothing to do, and ends it again. Throws `guard_failed` where it does not run. */
export async function tryGuard(input: Omit<GuardInput, "workerId" | "dataDir">, signal: AbortSignal): Promise<void> {
  const folder = guardFolder(`try-${process.pid}`);
  if (folder === undefined) throw new Error("no folder lies in memory (a tmpfs at /run or /dev/shm)");
  const guard = createGuard(input, { folder, dockerSocket: input.dockerSocket, record: join(folder, "guard.log") });
  try {
    await guard.check(signal);
  } finally {
    guard.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
