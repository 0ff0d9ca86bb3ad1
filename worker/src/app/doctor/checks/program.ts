// The program itself and the machine it stands on: Node, rights, cores and memory.
import { availableParallelism, totalmem } from "node:os";
import { assertNodeVersion } from "@qubix/shared/runtime";
import { type Check, type DoctorContext, fail, ok, warn } from "../check.ts";

const MIB = 1024 * 1024;
/** Below this the reserve of the machine leaves nothing that a job could use. */
const MEMORY_MIB_MIN = 1024;
const MEMORY_MIB_GOOD = 2048;

export async function checkProgram(_context: DoctorContext): Promise<readonly Check[]> {
  return [checkNode(), checkRights(), checkSize()];
}

function checkNode(): Check {
  try {
    assertNodeVersion();
    return ok("Node.js", process.versions.node, "24");
  } catch (error) {
    return fail("Node.js", process.versions.node, "24", (error as Error).message);
  }
}

/** Root is needed for what others must not be able to do: capped disks, firewall rules, secrets in memory. */
function checkRights(): Check {
  const needed = "root, for capped disks, network rules and secrets in memory";
  const uid = process.getuid?.();
  if (uid === 0) return ok("Privileges", "root", needed);
  const found = uid === undefined ? "unknown" : `user ${uid}`;
  return warn(
    "Privileges",
    found,
    needed,
    "Run qubix-worker as root (a systemd unit does): without, jobs that need these go elsewhere",
  );
}

function checkSize(): Check {
  const memoryMiB = Math.floor(totalmem() / MIB);
  const found = `${availableParallelism()} cores, ${memoryMiB} MiB memory`;
  const needed = `at least ${MEMORY_MIB_GOOD} MiB memory`;
  if (memoryMiB >= MEMORY_MIB_GOOD) return ok("Machine", found, needed);
  const remedy = "Little is left for jobs beside what the machine needs itself; add memory";
  return memoryMiB < MEMORY_MIB_MIN ? fail("Machine", found, needed, remedy) : warn("Machine", found, needed, remedy);
}
