// The worker's data directory: who can read it, how much room it has, who the worker is, and whether an agent is at work in it.
import { existsSync } from "node:fs";
import { stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { QubixError } from "@qubix/shared/runtime";
import { askAgent } from "../../agent-socket.ts";
import { loadIdentity } from "../../identity.ts";
import { type Check, type DoctorContext, fail, ok, skip, warn } from "../check.ts";

const MIB = 1024 * 1024;
const GIB_MIB = 1024;
/** Workspaces, checkpoints and outputs of one ordinary job (diskMiB is 4096 unless it says otherwise). */
const FREE_MIB_GOOD = 20 * GIB_MIB;
const FREE_MIB_MIN = 2 * GIB_MIB;
const OTHERS_MODE = 0o077;

export async function checkDataDir({ config }: DoctorContext): Promise<readonly Check[]> {
  const { dataDir } = config;
  if (dataDir === undefined)
    return [skip("Data directory", "none was named (--data-dir)", "a folder of the worker's own")];
  if (!existsSync(dataDir)) {
    const found = `${dataDir} is not there yet`;
    return [warn("Data directory", found, "a folder of the worker's own", "enrol makes it"), await checkRoom(dataDir)];
  }
  const mode = await checkMode(dataDir);
  return [mode, await checkRoom(dataDir), checkIdentity(dataDir), await checkAgent(dataDir)];
}

async function checkMode(dataDir: string): Promise<Check> {
  const name = "Data directory";
  const needed = "a folder that only its owner can open (mode 0700)";
  const found = await stat(dataDir);
  if (!found.isDirectory()) return fail(name, `${dataDir} is no folder`, needed, "Name another with --data-dir");
  const uid = process.getuid?.();
  if (uid !== undefined && uid !== 0 && found.uid !== uid) {
    return fail(
      name,
      `${dataDir} belongs to user ${found.uid}`,
      needed,
      `Run as that user, or: chown -R ${uid} ${dataDir}`,
    );
  }
  const mode = (found.mode & 0o777).toString(8).padStart(4, "0");
  if ((found.mode & OTHERS_MODE) === 0) return ok(name, `${dataDir}, mode ${mode}`, needed);
  return warn(name, `${dataDir}, mode ${mode}`, needed, `chmod 0700 ${dataDir}`);
}

async function checkRoom(dataDir: string): Promise<Check> {
  let at = dataDir;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  const { bavail, bsize } = await statfs(at);
  const freeMiB = Math.floor((bavail * bsize) / MIB);
  const found = `${freeMiB} MiB free`;
  const needed = `${FREE_MIB_GOOD} MiB for jobs' workspaces`;
  if (freeMiB >= FREE_MIB_GOOD) return ok("Disk", found, needed);
  const remedy = "Make room, or put the data directory on a larger disk";
  return freeMiB < FREE_MIB_MIN ? fail("Disk", found, needed, remedy) : warn("Disk", found, needed, remedy);
}

function checkIdentity(dataDir: string): Check {
  const name = "Enrolment";
  const needed = "an enrolled worker with a readable key";
  try {
    const { identity } = loadIdentity(dataDir);
    return ok(name, `${identity.workerId} (${identity.name}) at ${identity.url}`, needed);
  } catch (error) {
    if (error instanceof QubixError && error.code === "not_enrolled") {
      return warn(name, "not enrolled yet", needed, `qubix-worker start --url URL --token TOKEN --data-dir ${dataDir}`);
    }
    return fail(
      name,
      error instanceof Error ? error.message : String(error),
      needed,
      "Restore the file, or enrol into a new data directory",
    );
  }
}

/** Both are fine: the doctor works beside a running agent. */
async function checkAgent(dataDir: string): Promise<Check> {
  const name = "Agent";
  try {
    const status = (await askAgent(dataDir, { command: "status" })) as {
      connected: boolean;
      slots: readonly unknown[];
    };
    const line = status.connected ? "connected" : "not connected";
    return ok(name, `running, ${line}, ${status.slots.length} at work`, "");
  } catch (error) {
    if (error instanceof QubixError && error.code === "not_running") return skip(name, "does not run now");
    return warn(
      name,
      error instanceof Error ? error.message : String(error),
      "an agent that answers",
      "Restart it; running jobs outlive that",
    );
  }
}
