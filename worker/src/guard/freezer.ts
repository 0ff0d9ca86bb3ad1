// The kernel's own way to hold a container: the freezer of its control group, under version 1 and 2, and SIGKILL to all that is in it. For when the Engine does
// not answer; and for the end of a frozen container, whose processes must not run another instruction: the Engine would kill its first process, thaw the
// rest, and leave it to chance what those do before they die.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const CGROUPS = "/sys/fs/cgroup";
/** Freezing waits for every process to come to a stop; one in an uninterruptible call takes longer, and does nothing meanwhile that it had not begun. */
const FREEZE_TIMEOUT_MS = 500;
const FREEZE_POLL_MS = 10;

/** The folder of a container's control group that has the freezer; undefined where there is none. `pid`: of one of its processes, 0 for unknown. */
export function cgroupOf(containerId: string, pid: number): string | undefined {
  return [...cgroupsOfProcess(containerId, pid), ...usualCgroups(containerId)].find(hasFreezer);
}

/** True when all of it has come to a stop. */
export async function freeze(cgroup: string): Promise<boolean> {
  const untilMs = performance.now() + FREEZE_TIMEOUT_MS;
  for (;;) {
    // Under version 1 a group that could not be frozen at once is asked again.
    if (!write(cgroup, true)) return false;
    if (isFrozen(cgroup)) return true;
    if (performance.now() > untilMs) return false;
    await new Promise((resolve) => setTimeout(resolve, FREEZE_POLL_MS));
  }
}

export function thaw(cgroup: string): boolean {
  return write(cgroup, false);
}

export function isFrozen(cgroup: string): boolean {
  const v1 = read(join(cgroup, "freezer.state"));
  if (v1 !== undefined) return v1.trim() === "FROZEN";
  return /^frozen 1$/m.test(read(join(cgroup, "cgroup.events")) ?? "");
}

/** SIGKILL to every process in it. Frozen ones die before they run on. True when each could be signalled, or was gone. */
export function killAll(cgroup: string): boolean {
  let all = true;
  for (const pid of processesIn(cgroup)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") all = false;
    }
  }
  return all;
}

/** A signal to one process, if it is one of the group's: frozen ones get it when they run on. */
export function signalIn(cgroup: string, pid: number, signal: NodeJS.Signals): void {
  if (!processesIn(cgroup).includes(pid)) return;
  try {
    process.kill(pid, signal);
  } catch {
    // It has just ended, or belongs to somebody whom this process may not signal.
  }
}

export function processesIn(cgroup: string): readonly number[] {
  const own = (read(join(cgroup, "cgroup.procs")) ?? "").split("\n").map(Number);
  return [...own.filter((pid) => pid > 0), ...below(cgroup).flatMap(processesIn)];
}

function below(cgroup: string): readonly string[] {
  try {
    const entries = readdirSync(cgroup, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(cgroup, name));
  } catch {
    return [];
  }
}

/** Only groups that bear the container's name: a number may belong to another process by now. */
function cgroupsOfProcess(containerId: string, pid: number): readonly string[] {
  const lines = pid === 0 ? [] : (read(`/proc/${pid}/cgroup`) ?? "").split("\n");
  return lines.flatMap((line) => {
    const [, controllers = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (!path.includes(containerId)) return [];
    if (controllers === "") return [join(CGROUPS, path)];
    return controllers.split(",").includes("freezer") ? [join(CGROUPS, controllers, path)] : [];
  });
}

/** Where the Engine puts them, with its two drivers. */
function usualCgroups(containerId: string): readonly string[] {
  const paths = [`docker/${containerId}`, `system.slice/docker-${containerId}.scope`];
  return paths.flatMap((path) => [join(CGROUPS, "freezer", path), join(CGROUPS, path)]);
}

function hasFreezer(cgroup: string): boolean {
  return existsSync(join(cgroup, "freezer.state")) || existsSync(join(cgroup, "cgroup.freeze"));
}

function write(cgroup: string, frozen: boolean): boolean {
  try {
    const v1 = join(cgroup, "freezer.state");
    if (existsSync(v1)) writeFileSync(v1, frozen ? "FROZEN" : "THAWED");
    else writeFileSync(join(cgroup, "cgroup.freeze"), frozen ? "1" : "0");
    return true;
  } catch {
    return false;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
