// A start that fails under gVisor leaves its processes behind (sandbox, gofer, shim), each with the container's id on its command line. Only those of a
// container that was ours, and that the Engine has let go of, are ended.
import { readdir, readFile } from "node:fs/promises";
import { basename } from "node:path";

const PROGRAMS = /^(runsc(-sandbox|-gofer)?|containerd-shim(-[a-z0-9-]+)?)$/;
const CONTAINER_ID = /^[0-9a-f]{64}$/;

/** Ends what is left of this container's sandbox; returns how many processes that were. Nothing happens without /proc or the right to do so. */
export async function reapSandbox(containerId: string): Promise<number> {
  if (!CONTAINER_ID.test(containerId)) return 0;
  let ended = 0;
  for (const name of await readdir("/proc").catch(() => [])) {
    if (!/^[0-9]+$/.test(name)) continue;
    const line = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "");
    if (belongsTo(line.split("\0"), containerId) && kill(Number(name))) ended += 1;
  }
  return ended;
}

/** Pure: whether this command line is one of gVisor's or a shim's, for this container. */
export function belongsTo(argv: readonly string[], containerId: string): boolean {
  const [program = "", ...args] = argv;
  if (!PROGRAMS.test(basename(program))) return false;
  return args.some((arg) => arg.split(/[/=]/).includes(containerId));
}

function kill(pid: number): boolean {
  try {
    return process.kill(pid, "SIGKILL");
  } catch {
    return false;
  }
}
