// Whose a process on a card is: the agent's own, a Qubix job's, or somebody else's.
import { readFile } from "node:fs/promises";

export interface OwnerPorts {
  /** Full ids of the containers of any Qubix worker on this Engine: several agents may share it. */
  containerIds(): Promise<ReadonlySet<string>>;
  readonly agentPid: number;
  readonly proc?: string;
}

/** A family tree is this deep at most. */
const PARENTS_MAX = 64;

/** Of these processes, those that are neither below the agent nor in a container of a Qubix worker. One that is gone is nobody's. Throws where the Engine cannot be asked. */
export async function foreignOf(pids: readonly number[], ports: OwnerPorts): Promise<ReadonlySet<number>> {
  const foreign = new Set<number>();
  let ours: ReadonlySet<string> | null = null;
  for (const pid of new Set(pids)) {
    const groups = await readProc(ports, pid, "cgroup");
    if (groups === undefined || (await isBelow(ports, pid))) continue;
    const ids = containersIn(groups);
    if (ids.length > 0) ours ??= await ports.containerIds();
    if (!ids.some((id) => ours?.has(id))) foreign.add(pid);
  }
  return foreign;
}

/** The ids of containers in the lines of `/proc/PID/cgroup`, as every kind of Engine and control group writes them: 64 hexadecimal digits. */
export function containersIn(cgroup: string): readonly string[] {
  return cgroup.match(/(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g) ?? [];
}

/** Whether the process is the agent or one that it started. */
async function isBelow(ports: OwnerPorts, pid: number): Promise<boolean> {
  let at = pid;
  for (let depth = 0; depth < PARENTS_MAX && at > 1; depth += 1) {
    if (at === ports.agentPid) return true;
    at = parentIn((await readProc(ports, at, "stat")) ?? "");
  }
  return false;
}

/** The fourth field of `/proc/PID/stat`; the second is a name in parentheses that may hold anything. */
function parentIn(stat: string): number {
  const [, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(parent ?? 0);
}

async function readProc({ proc }: OwnerPorts, pid: number, file: string): Promise<string | undefined> {
  try {
    return await readFile(`${proc ?? "/proc"}/${pid}/${file}`, "utf8");
  } catch {
    return undefined;
  }
}
