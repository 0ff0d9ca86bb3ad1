// A folder of the agent's own that no disk holds: on a tmpfs, which a reboot empties and only swap could write out. It outlives the agent, so that one
// that is killed and started again still has what a container is about to need. A mount of our own would not do: a service's mounts are hidden
// from the Docker Engine where the service has a mount namespace of its own.
import { chmodSync, lstatSync, mkdirSync, statfsSync } from "node:fs";
import { join } from "node:path";

/** f_type of tmpfs and ramfs (linux/magic.h). */
const MEMORY_FILE_SYSTEMS: readonly number[] = [0x01021994, 0x858458f6];
/** Others on the machine. */
const OTHERS = 0o077;

/** Folders that commonly lie in memory, the most private first. /dev/shm is open to all: what is found there must be the agent's own. */
export function memoryFolderCandidates(env: Readonly<Record<string, string | undefined>>): readonly string[] {
  const own = env["XDG_RUNTIME_DIR"];
  return ["/run", ...(own === undefined ? [] : [own]), "/dev/shm"];
}

/** Makes the folder `name` (mode 0700) in the first of the candidates where that can be; undefined where in none. */
export function makeMemoryFolder(candidates: readonly string[], name: string): string | undefined {
  return candidates.map((parent) => make(parent, name)).find((folder) => folder !== undefined);
}

function make(parent: string, name: string): string | undefined {
  const folder = join(parent, name);
  try {
    if (!MEMORY_FILE_SYSTEMS.includes(statfsSync(parent).type)) return undefined;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const stat = lstatSync(folder);
    // Somebody else's folder or link of this name is a trap.
    if (!stat.isDirectory() || stat.uid !== process.geteuid?.()) return undefined;
    if ((stat.mode & OTHERS) !== 0) chmodSync(folder, 0o700);
    return MEMORY_FILE_SYSTEMS.includes(statfsSync(folder).type) ? folder : undefined;
  } catch {
    // Not there, or not to be written: another may be.
    return undefined;
  }
}
